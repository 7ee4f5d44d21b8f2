"""Files of vectors are read exactly, in blocks, and refused when damaged.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pychassis._formats import Source, open_source
from pychassis.exceptions import FileFormatError

Matrix = npt.NDArray[np.float32]


@pytest.fixture
def matrix() -> Matrix:
    return np.random.default_rng(7).standard_normal((10, 3)).astype(np.float32)


def read(source: Source, rows: int = 4) -> Matrix:
    """All vectors of a source; the blocks are as large as asked."""
    blocks = [block.vectors for block in source.blocks(rows)]
    assert all(block.dtype == np.float32 for block in blocks)
    assert all(1 <= len(block) <= rows for block in blocks)
    return np.concatenate([np.empty((0, source.dimensions), np.float32), *blocks])


def read_ids(source: Source) -> list[int] | None:
    found = [block.ids for block in source.blocks(4)]
    if all(ids is None for ids in found):
        return None
    return [int(number) for ids in found if ids is not None for number in ids]


def write_vecs(path: Path, rows: npt.NDArray[Any], dtype: str) -> None:
    width = rows.shape[1]
    with path.open("wb") as stream:
        for row in rows:
            stream.write(struct.pack("<i", width) + row.astype(dtype).tobytes())


def write_fbin(path: Path, rows: Matrix) -> None:
    path.write_bytes(struct.pack("<II", *rows.shape) + rows.astype("<f4").tobytes())


def write_lines(path: Path, *rows: object) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def original(
    rows: Matrix,
    *,
    graph: int | None = None,
    nodes: int | None = None,
    magic: bytes = b"CHASSIS\0",
    version: int = 1,
) -> bytes:
    """A file as the original engine lays it out, with or without a graph."""
    count, dimensions = rows.shape
    head = magic + struct.pack("<IIQ", version, dimensions, count)
    if graph is not None:
        head += b"CHLAYOUT" + struct.pack("<I4xQ", 1, graph)
    data = head.ljust(4096, b"\0") + rows.astype("<f4").tobytes()
    if graph is None or nodes is None:
        return data
    header = b"HNSW" + struct.pack("<IQQIHHB", 1, 0, nodes, 0, 16, 32, 16)
    return data.ljust(graph, b"\0") + header.ljust(64, b"\0") + bytes(2192 * nodes)


# ------------------------------------------------------------------ what is read


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "i1", "<u2", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_number_type(
    tmp_path: Path, matrix: Matrix, dtype: str, order: Any
) -> None:
    stored = (matrix * 10).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", stored)
    source = open_source(tmp_path / "x.npy")
    assert (source.dimensions, source.count, source.check()) == (3, 10, 10)
    assert np.array_equal(read(source), stored.astype(np.float32))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_ids(
    tmp_path: Path, matrix: Matrix, save: Callable[..., None]
) -> None:
    ids = np.arange(10, dtype=np.int32)[::-1]
    save(tmp_path / "x.npz", vectors=matrix, ids=ids, other=np.ones((2, 2)))
    source = open_source(tmp_path / "x.npz")
    assert source.check() == 10
    assert np.array_equal(read(source), matrix)
    assert read_ids(source) == ids.tolist()


def test_npz_with_one_matrix_of_any_name(tmp_path: Path, matrix: Matrix) -> None:
    np.savez(tmp_path / "x.npz", train=matrix, labels=np.arange(10))
    source = open_source(tmp_path / "x.npz")
    assert np.array_equal(read(source), matrix)
    assert read_ids(source) is None


def test_fvecs(tmp_path: Path, matrix: Matrix) -> None:
    write_vecs(tmp_path / "x.fvecs", matrix, "<f4")
    source = open_source(tmp_path / "x.fvecs")
    assert source.check() == 10
    assert np.array_equal(read(source), matrix)


def test_bvecs(tmp_path: Path) -> None:
    rows = np.arange(30).reshape(10, 3)
    write_vecs(tmp_path / "x.bvecs", rows, "u1")
    source = open_source(tmp_path / "x.bvecs")
    assert source.check() == 10
    assert np.array_equal(read(source), rows)


def test_fbin(tmp_path: Path, matrix: Matrix) -> None:
    write_fbin(tmp_path / "x.fbin", matrix)
    source = open_source(tmp_path / "x.fbin")
    assert source.check() == 10
    assert np.array_equal(read(source), matrix)


def test_lines_of_plain_vectors(tmp_path: Path, matrix: Matrix) -> None:
    write_lines(tmp_path / "x.ndjson", *matrix.tolist())
    source = open_source(tmp_path / "x.ndjson")
    assert source.count is None
    assert source.check() == 10
    assert source.count == 10
    assert np.array_equal(read(source), matrix)
    assert read_ids(source) is None


@pytest.mark.parametrize("name", ["vector", "embedding", "values"])
def test_lines_of_objects(tmp_path: Path, matrix: Matrix, name: str) -> None:
    extra = [{"n": row} if row % 2 else None for row in range(10)]
    rows = [
        {name: vector, "id": 100 - row, "metadata": extra[row]}
        for row, vector in enumerate(matrix.tolist())
    ]
    write_lines(tmp_path / "x.jsonl", *rows)
    source = open_source(tmp_path / "x.jsonl")
    assert source.check() == 10
    assert np.array_equal(read(source), matrix)
    assert read_ids(source) == [100 - row for row in range(10)]
    found = [block.metadata for block in source.blocks(5)]
    assert found == [extra[:5], extra[5:]]


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("\n[1, 2]\n  \n[3, 4]")
    source = open_source(tmp_path / "x.jsonl")
    assert source.check() == 2
    assert read(source).tolist() == [[1, 2], [3, 4]]


def test_an_array_without_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.empty((0, 5)))
    source = open_source(tmp_path / "x.npy")
    assert (source.dimensions, source.check()) == (5, 0)


def test_what_a_file_begins_with_counts_more_than_its_name(
    tmp_path: Path, matrix: Matrix
) -> None:
    with (tmp_path / "x.fbin").open("wb") as stream:
        np.save(stream, matrix)
    assert np.array_equal(read(open_source(tmp_path / "x.fbin")), matrix)


def test_a_format_that_is_named_counts_more_than_both(
    tmp_path: Path, matrix: Matrix
) -> None:
    write_fbin(tmp_path / "x.data", matrix)
    assert np.array_equal(read(open_source(tmp_path / "x.data", "fbin")), matrix)


# ------------------------------------------------------------ the original engine


def test_a_file_of_the_original_engine(tmp_path: Path, matrix: Matrix) -> None:
    (tmp_path / "x.chassis").write_bytes(original(matrix, graph=8192, nodes=10))
    source = open_source(tmp_path / "x.chassis")
    assert source.check() == 10
    assert np.array_equal(read(source), matrix)


def test_the_original_engine_drops_a_vector_without_a_node(
    tmp_path: Path, matrix: Matrix
) -> None:
    (tmp_path / "x").write_bytes(original(matrix, graph=8192, nodes=9))
    assert np.array_equal(read(open_source(tmp_path / "x")), matrix[:9])


def test_an_original_file_without_a_graph(tmp_path: Path, matrix: Matrix) -> None:
    (tmp_path / "x").write_bytes(original(matrix))
    assert np.array_equal(read(open_source(tmp_path / "x")), matrix)


def test_an_original_file_with_its_graph_at_one_gigabyte(
    tmp_path: Path, matrix: Matrix
) -> None:
    path = tmp_path / "x.chassis"
    path.write_bytes(original(matrix))
    with path.open("r+b") as stream:
        # A hole in the file, as the first versions left one.
        stream.seek(1 << 30)
        stream.write(b"HNSW" + struct.pack("<IQQ", 1, 0, 8).ljust(60, b"\0"))
    assert np.array_equal(read(open_source(path)), matrix[:8])


def test_an_empty_original_file(tmp_path: Path) -> None:
    empty = np.empty((0, 3), np.float32)
    (tmp_path / "x").write_bytes(original(empty, graph=4096, nodes=0))
    assert open_source(tmp_path / "x").check() == 0


# ------------------------------------------------------------- what is not read


def save_object(path: Path) -> None:
    np.save(path, np.array([[{}, 1]], dtype=object), allow_pickle=True)


def cut(path: Path, by: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def damaged_files(directory: Path) -> dict[str, Path]:
    """Name the damage; the file whose path is returned has it."""
    rows = np.arange(30, dtype=np.float32).reshape(10, 3)
    found: dict[str, Path] = {}

    def add(damage: str, name: str, content: bytes | str) -> Path:
        # A digit first, because files must not overwrite each other.
        path = directory / f"{len(found)}{name}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        found[damage] = path
        return path

    def npy(damage: str, array: npt.NDArray[Any]) -> Path:
        path = add(damage, "x.npy", b"")
        np.save(path, array)
        return path

    def npz(damage: str, **arrays: npt.NDArray[Any]) -> Path:
        path = add(damage, "x.npz", b"")
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return path

    cut(npy("cut off", rows))
    add("header", "x.npy", b"\x93NUMPY\x01\x00\x05\x00{'a'}")
    npy("shape", np.arange(3.0))
    npy("not numbers", np.array([["a", "b"]]))
    npy("holds complex128, not numbers", np.ones((2, 2), complex))
    npy("0 dimensions", np.empty((3, 0)))
    npy("16001 dimensions", np.empty((0, 16001)))
    npy("NaN or a number that float32", np.array([[1.0, 2], [1e39, 2]]))
    npy("row 1 of file", np.array([[1.0, 2], [np.nan, 2]]))
    save_object(add("Python objects", "x.npy", b""))
    cut(npz("damaged or cut off", vectors=rows), 30)
    npz("needs an array named vectors: it has a, b", a=rows, b=rows)
    npz("needs an array named vectors: it has none")
    npz("stored by columns", vectors=np.asfortranarray(rows))
    npz("not 10 integers", vectors=rows, ids=np.arange(9))
    npz("integers, one for each", vectors=rows, ids=np.arange(10.0))
    npz("id 4 more than once", vectors=rows, ids=np.array([*range(9), 4]))
    npz("negative id -1", vectors=rows, ids=np.arange(10) - 1)
    flip(npz("vectors.npy in file", vectors=rows), rows[5].tobytes())
    add("it has no first row", "x.fvecs", b"")
    add("no whole number of rows", "x.fvecs", struct.pack("<ifff", 3, 1, 2, 3) + b"x")
    add("-1 dimensions", "x.fvecs", struct.pack("<if", -1, 1))
    mixed = struct.pack("<iff", 2, 1, 2) + struct.pack("<iff", 3, 1, 2)
    add("row 1 of", "x.fvecs", mixed)
    add("it has no header", "x.fbin", b"1234")
    add("its header says 32", "x.fbin", struct.pack("<II", 2, 3) + bytes(20))
    add("is empty: it has no first row", "x.jsonl", "\n")
    add("is not JSON", "x.jsonl", "[1, 2\n")
    add("is neither an array nor an object", "x.jsonl", '{"id": 1}\n')
    add("nor an object with an array", "x.jsonl", "3\n")
    add("neither an array", "x.jsonl", '{"vector": [1], "values": [1]}\n')
    add("line 2 of file", "x.jsonl", "[1, 2]\n[1]\n")
    add("has a vector that is not all numbers", "x.jsonl", '[1, "2"]\n')
    add("not all numbers", "x.jsonl", "[true, 2]\n")
    add("number out of range", "x.jsonl", f"[1{'0' * 400}]\n")
    add("NaN or", "x.jsonl", "[NaN]\n")
    add("either all rows have an id or none", "x.jsonl", '{"vector":[1],"id":1}\n[1]')
    add("id is an integer from 0, not -1", "x.jsonl", '{"vector":[1],"id":-1}')
    add("not True", "x.jsonl", '{"vector":[1],"id":true}')
    add("metadata is an object, not 3", "x.jsonl", '{"vector":[1],"metadata":3}')
    add("is no known format".replace("is no", "of no"), "x.txt", "hello")
    add("its header is incomplete", "x.chassis", b"CHASSIS\0")
    add("format 2, 3 dimensions", "x", original(rows, version=2))
    add("damaged header: format 1, 5000", "x", original(np.empty((0, 5000), "f4")))
    add("its graph has 11 nodes", "x", original(rows, graph=8192, nodes=11))
    add("10 vectors do not fit", "x", original(rows)[:-4])
    add("is not one of the original engine", "x.chassis", b"{}")
    return found


def flip(path: Path, inside: bytes) -> None:
    """Change one byte of what a zip member holds."""
    data = bytearray(path.read_bytes())
    data[data.index(inside)] ^= 1
    path.write_bytes(data)


def test_damaged_files_are_refused_and_named(tmp_path: Path) -> None:
    for damage, path in damaged_files(tmp_path).items():
        with pytest.raises(FileFormatError) as caught:
            open_source(path).check()
        assert damage in str(caught.value)
        assert str(path) in str(caught.value)


def test_an_empty_file_of_unknown_name(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(FileFormatError, match="known: npy, npz, fvecs"):
        open_source(tmp_path / "x")


def test_a_file_that_loses_its_end_while_it_is_read(
    tmp_path: Path, matrix: Matrix
) -> None:
    write_fbin(tmp_path / "x.fbin", matrix)
    source = open_source(tmp_path / "x.fbin")
    cut(tmp_path / "x.fbin")
    with pytest.raises(FileFormatError, match="cut off while read"):
        source.check()


def test_an_array_shorter_than_its_header_in_a_sound_zip(
    tmp_path: Path, matrix: Matrix
) -> None:
    np.save(tmp_path / "v.npy", matrix)
    cut(tmp_path / "v.npy")
    for extra in (b"", b"xx"):
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            content = (tmp_path / "v.npy").read_bytes() + extra
            archive.writestr("vectors.npy", content)
        with pytest.raises(FileFormatError, match="not as long as its header says"):
            open_source(tmp_path / "x.npz").check()


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    """64 MB of vectors, in each format that has blocks, in under 8 MB."""
    rows = np.zeros((160_000, 100), np.float32)
    np.savez(tmp_path / "x.npz", vectors=rows, ids=np.arange(len(rows)))
    write_fbin(tmp_path / "x.fbin", rows)
    np.save(tmp_path / "x.npy", rows)
    del rows
    for name in ("x.npz", "x.fbin", "x.npy"):
        tracemalloc.start()
        assert open_source(tmp_path / name).check() == 160_000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20, name
