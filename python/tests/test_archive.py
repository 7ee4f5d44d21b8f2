"""Archives: written whole or not at all, read exactly, refused when damaged.

The first half needs no server; the second moves whole indexes.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

import pychassis
from pychassis import (
    ChassisError,
    DimensionMismatchError,
    IndexOptions,
    InvalidPathError,
    VectorIndex,
    _archive,
    _container,
)
from pychassis._container import ArchiveSource, replace_file, write_archive
from pychassis.exceptions import FileFormatError, StorageFullError

Matrix = npt.NDArray[np.float32]

ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)
IDS = np.array([0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
DOCUMENTS = ['{"n": 1e400}', None, '{"t": "é\\n"}', *[None] * 6, '{"x": 1.10}']


def blocks_of(size: int) -> Iterator[tuple[Any, Any, Any]]:
    for first in range(0, len(ROWS), size):
        part = slice(first, first + size)
        yield IDS[part], ROWS[part], DOCUMENTS[part]


def write(path: Path, **parameters: Any) -> Path:
    with replace_file(path) as stream:
        write_archive(stream, blocks_of(4), ROWS.shape, parameters, path.parent)
    return path


def contents(source: ArchiveSource) -> tuple[list[int], Matrix, list[str | None]]:
    blocks = list(source.raw_blocks(3))
    return (
        [int(number) for block in blocks for number in block[0]],
        np.concatenate([block[1] for block in blocks]),
        [document for block in blocks for document in block[2]],
    )


# ---------------------------------------------------------------- the container


def test_what_is_written_is_read_exactly(tmp_path: Path) -> None:
    source = ArchiveSource(write(tmp_path / "a.zip", next_id=60))
    assert source.check() == 10
    assert (source.count, source.dimensions) == (10, 3)
    assert source.index["next_id"] == 60
    ids, vectors, documents = contents(source)
    assert ids == IDS.tolist()
    assert np.array_equal(vectors, ROWS)
    assert documents == DOCUMENTS


def test_blocks_have_metadata_as_python_values(tmp_path: Path) -> None:
    first, second = ArchiveSource(write(tmp_path / "a.zip")).blocks(6)
    assert first.metadata is not None
    assert second.metadata is not None
    assert first.metadata[2] == {"t": "é\n"}
    assert second.metadata[3] == {"x": 1.1}


def test_numpy_and_unzip_read_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.chassis.zip")
    with np.load(path) as archive:
        assert np.array_equal(archive["vectors"], ROWS)
        assert np.array_equal(archive["ids"], IDS)
    with zipfile.ZipFile(path) as plain:
        assert plain.testzip() is None
        kinds = {info.compress_type for info in plain.infolist()}
        index = json.loads(plain.read("index.json"))
        lines = plain.read("metadata.jsonl").decode().splitlines()
    assert kinds == {zipfile.ZIP_STORED}
    assert index["format"] == "pgchassis"
    assert [None if line == "null" else line for line in lines] == DOCUMENTS


def test_equal_contents_make_equal_files(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.zip"), write(tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()


def test_zip64_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = write(tmp_path / "small.zip")
    monkeypatch.setattr(_container, "ZIP64_FROM", 0)
    large = write(tmp_path / "large.zip")
    # The 20-byte record of 8-byte sizes, once in front of each member.
    assert small.read_bytes().count(b"\x01\x00\x10\x00") == 0
    assert large.read_bytes().count(b"\x01\x00\x10\x00") == 4
    assert ArchiveSource(large).check() == 10
    with np.load(large) as archive:
        assert np.array_equal(archive["vectors"], ROWS)


def test_every_damaged_byte_of_the_contents_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip")
    sound = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        spans = [
            (info.header_offset + 30 + len(info.filename), info.file_size)
            for info in archive.infolist()
        ]
    damaged = tmp_path / "b.zip"
    places = [place for start, size in spans for place in range(start, start + size)]
    for place in places[::7]:
        data = bytearray(sound)
        data[place] ^= 0x10
        damaged.write_bytes(data)
        with pytest.raises(FileFormatError, match="b.zip"):
            ArchiveSource(damaged).check()


def test_every_truncation_is_found(tmp_path: Path) -> None:
    sound = write(tmp_path / "a.zip").read_bytes()
    cut = tmp_path / "b.zip"
    for length in range(0, len(sound), 13):
        cut.write_bytes(sound[:length])
        with pytest.raises(FileFormatError):
            _archive.open_file(cut, "archive").check()


def rewrite(path: Path, changes: Mapping[str, bytes | None]) -> Path:
    """The archive with other members, sound as a zip."""
    result = path.with_name("rewritten.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            content = changes.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return result


def change_index(path: Path, **changes: Any) -> Path:
    with zipfile.ZipFile(path) as archive:
        index = {**json.loads(archive.read("index.json")), **changes}
    return rewrite(path, {"index.json": json.dumps(index).encode()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "no archive of an index"),
        ({"version": 2}, "format version 2, this program knows 1"),
        ({"members": {}}, "index.json is incomplete"),
        ({"count": -1}, "index.json is incomplete"),
        ({"dimensions": None}, "index.json is incomplete"),
        ({"dimensions": 0}, "0 dimensions"),
        ({"count": 9}, "vectors.npy is float32[10, 3], not <f4[9, 3]"),
    ],
)
def test_an_index_json_that_does_not_fit(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = change_index(write(tmp_path / "a.zip"), **changes)
    with pytest.raises(FileFormatError) as caught:
        ArchiveSource(path).check()
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", None])
def test_an_index_json_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = rewrite(write(tmp_path / "a.zip"), {"index.json": content})
    with pytest.raises(FileFormatError):
        ArchiveSource(path)


@pytest.mark.parametrize("name", _container.MEMBERS)
def test_a_member_that_is_missing_or_other(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.zip")
    with pytest.raises(FileFormatError, match=name):
        ArchiveSource(rewrite(path, {name: None}))
    with zipfile.ZipFile(path) as archive:
        content = archive.read(name)
    other = rewrite(path, {name: content[:-1] + bytes([content[-1] ^ 1])})
    with pytest.raises(FileFormatError, match=f"checksum of {name}"):
        ArchiveSource(other).check()


@pytest.mark.parametrize("line", [b"3\n", b"{\n", b"\xff\n", b""])
def test_metadata_lines_that_are_none(tmp_path: Path, line: bytes) -> None:
    import hashlib

    path = write(tmp_path / "a.zip")
    with zipfile.ZipFile(path) as archive:
        index = json.loads(archive.read("index.json"))
        lines = archive.read("metadata.jsonl").splitlines(keepends=True)
    content = b"".join([*lines[:-1], line])
    index["members"]["metadata.jsonl"] = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    changed = {"metadata.jsonl": content, "index.json": json.dumps(index).encode()}
    with pytest.raises(FileFormatError, match="row 9"):
        ArchiveSource(rewrite(path, changed)).check()


def test_metadata_that_are_no_object_are_not_archived(tmp_path: Path) -> None:
    blocks = [(IDS[:1], ROWS[:1], ["[1, 2]"])]
    with (
        pytest.raises(ChassisError, match="no JSON object"),
        replace_file(tmp_path / "a.zip") as stream,
    ):
        write_archive(stream, blocks, (1, 3), {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_of_another_size_is_a_defect(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="10 rows, not 11"),
        replace_file(tmp_path / "a.zip") as stream,
    ):
        write_archive(stream, blocks_of(5), (11, 3), {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_writing_takes_little_memory(tmp_path: Path) -> None:
    """16 MB of vectors, and the rest, in under 4 MB."""
    rows = np.zeros((1000, 100), np.float32)

    def blocks() -> Iterator[tuple[Any, Any, Any]]:
        for number in range(40):
            ids = np.arange(number * 1000, number * 1000 + 1000)
            yield ids, rows, ['{"text": "something"}'] * 1000

    path = tmp_path / "a.zip"
    tracemalloc.start()
    with replace_file(path) as stream:
        write_archive(stream, blocks(), (40_000, 100), {}, tmp_path)
    _, peak_written = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert ArchiveSource(path).check() == 40_000
    _, peak_read = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_written < 4 << 20
    assert peak_read < 8 << 20


# ------------------------------------------------------------- replacing a file


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with replace_file(path) as stream:
        stream.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replace_file(path) as stream:
        stream.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_has_the_mode_the_umask_asks_for(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            with replace_file(tmp_path / f"x{mask}") as stream:
                stream.write(b"x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / f"x{mask}").stat().st_mode) == mode


def test_the_file_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("fsync directory" if is_directory else "fsync file")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with replace_file(tmp_path / "x") as stream:
        stream.write(b"x")
    assert calls == ["fsync file", "replace", "fsync directory"]


# -------------------------------------------------------------- whole indexes


@pytest.fixture
def filled(index: VectorIndex) -> VectorIndex:
    index.add_batch(
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]],
        metadata=[{"n": 1}, None, {"deep": {"list": [1, "é", None]}}, {"n": 2}],
    )
    index.delete([1, 3])
    return index


def test_save_and_load(
    filled: VectorIndex, new_path: Callable[[], Path], tmp_path: Path
) -> None:
    filled.save(tmp_path / "a.zip")
    with VectorIndex.load(tmp_path / "a.zip", new_path()) as copy:
        assert len(copy) == 2
        assert copy.dimensions == 3
        assert list(copy) == [0, 2]
        assert copy.get(2).tolist() == [0, 0, 1]
        assert copy.metadata(2) == {"deep": {"list": [1, "é", None]}}
        assert [hit.id for hit in copy.search([0, 0, 1], k=1)] == [2]
        # Ids that were given out before the export are not given out again.
        assert copy.add([1, 2, 3]) == 4


def test_options_and_metric_are_kept(
    new_path: Callable[[], Path], tmp_path: Path
) -> None:
    options = IndexOptions(
        max_connections=8, ef_construction=50, ef_search=77, metric="cosine"
    )
    with VectorIndex(new_path(), 2, options) as index:
        index.add([3, 4])
        index.save(tmp_path / "a.zip")
    with VectorIndex.load(tmp_path / "a.zip", new_path()) as copy:
        assert copy.options == options
        assert copy.metric == "cosine"
    other = IndexOptions(ef_search=5, metric="l1")
    with VectorIndex.load(tmp_path / "a.zip", new_path(), options=other) as copy:
        assert copy.options.ef_search == 5
        assert copy.metric == "l1"


def test_an_empty_index(
    index: VectorIndex, new_path: Callable[[], Path], tmp_path: Path
) -> None:
    index.save(tmp_path / "a.zip")
    with VectorIndex.load(tmp_path / "a.zip", new_path()) as copy:
        assert copy.is_empty()
        assert copy.dimensions == 3
        assert copy.add([1, 2, 3]) == 0


def test_numbers_that_no_float_holds_survive(
    index: VectorIndex, new_path: Callable[[], Path], tmp_path: Path
) -> None:
    index.add([1, 2, 3], metadata={"n": 1})
    index.flush()
    exact = '{"n": 1.10, "m": 1' + "0" * 400 + "}"
    with index.connection() as connection:
        connection.execute(
            psycopg.sql.SQL("UPDATE {} SET metadata = %s::jsonb").format(
                psycopg.sql.SQL(index.table)
            ),
            [exact],
        )
        connection.commit()
    index.save(tmp_path / "a.zip")
    with VectorIndex.load(tmp_path / "a.zip", new_path()) as copy:
        with copy.connection() as connection:
            row = connection.execute(
                psycopg.sql.SQL(
                    "SELECT metadata = %s::jsonb, metadata::text FROM {}"
                ).format(psycopg.sql.SQL(copy.table)),
                [exact],
            ).fetchone()
    assert row is not None
    assert row[0] is True
    assert '"n": 1.10' in row[1]


def test_an_export_is_one_snapshot(
    index: VectorIndex, path: Path, tmp_path: Path
) -> None:
    """What other writers do after it has begun is not in it."""
    index.add_batch(np.ones((9000, 3), np.float32))
    index.flush()
    begun = threading.Event()

    def meanwhile(done: int, total: int) -> None:
        if not begun.is_set():
            begun.set()
            index.delete(range(5000, 9000))
            index.add([7, 7, 7])
            index.flush()

    index.save(tmp_path / "a.zip", progress=meanwhile)
    assert begun.is_set()
    with np.load(tmp_path / "a.zip") as archive:
        assert archive["ids"].tolist() == list(range(9000))
        assert np.array_equal(archive["vectors"], np.ones((9000, 3)))


def test_progress_is_reported_up_to_the_end(
    index: VectorIndex, new_path: Callable[[], Path], tmp_path: Path
) -> None:
    index.add_batch(np.ones((9000, 3), np.float32))
    said: list[tuple[int, int]] = []
    report: Any = lambda done, total: said.append((done, total))  # noqa: E731
    index.save(tmp_path / "a.zip", progress=report)
    assert said[-1] == (9000, 9000)
    assert [done for done, _ in said] == sorted({done for done, _ in said})
    said.clear()
    VectorIndex.load(tmp_path / "a.zip", new_path(), progress=report).close()
    assert said[-1] == (9000, 9000)


def test_progress_bars_go_to_standard_error(
    filled: VectorIndex, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filled.save(tmp_path / "a.zip", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "vectors" in err


def test_saving_twice_replaces_the_archive(filled: VectorIndex, tmp_path: Path) -> None:
    filled.save(tmp_path / "a.zip")
    filled.add([5, 5, 5])
    filled.save(tmp_path / "a.zip")
    with np.load(tmp_path / "a.zip") as archive:
        assert archive["ids"].tolist() == [0, 2, 4]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


def test_saving_through_a_symbolic_link_keeps_the_link(
    filled: VectorIndex, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a.zip")
    filled.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert _container.is_archive(tmp_path / "a.zip")


def test_an_index_is_not_overwritten_by_an_archive(
    filled: VectorIndex, path: Path, tmp_path: Path
) -> None:
    before = path.read_bytes()
    with pytest.raises(InvalidPathError, match="an index lives there"):
        filled.save(path)
    assert path.read_bytes() == before
    original = tmp_path / "old.chassis"
    original.write_bytes(b"CHASSIS\0" + bytes(4088))
    with pytest.raises(InvalidPathError, match="an index lives there"):
        filled.save(original)
    assert len(original.read_bytes()) == 4096


def test_places_where_no_archive_can_be(filled: VectorIndex, tmp_path: Path) -> None:
    with pytest.raises(InvalidPathError, match="directory"):
        filled.save(tmp_path)
    with pytest.raises(InvalidPathError, match="No such file") as caught:
        filled.save(tmp_path / "missing" / "a.zip")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_full_disk(filled: VectorIndex) -> None:
    """/dev/full fails every write; the file beside it cannot even be made."""
    with pytest.raises(StorageFullError) as caught:
        with _archive._explained("write the archive x"):
            with open("/dev/full", "wb", buffering=0) as stream:
                stream.write(b"x")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_damaged_archive_creates_nothing(
    filled: VectorIndex, new_path: Callable[[], Path], tmp_path: Path
) -> None:
    filled.save(tmp_path / "a.zip")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[175] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    target = new_path()
    with pytest.raises(FileFormatError, match="damaged"):
        VectorIndex.load(tmp_path / "a.zip", target)
    assert not target.exists()
    with pytest.raises(pychassis.IndexNotFoundError):
        VectorIndex.open(target)


def test_options_that_are_not_valid_create_nothing(
    filled: VectorIndex, new_path: Callable[[], Path], tmp_path: Path
) -> None:
    filled.save(tmp_path / "a.zip")
    path = change_index(tmp_path / "a.zip", options={"max_connections": "many"})
    target = new_path()
    with pytest.raises(FileFormatError, match="options that are not valid"):
        VectorIndex.load(path, target)
    assert not target.exists()


def test_an_import_that_fails_half_way_leaves_no_index(
    index: VectorIndex, new_path: Callable[[], Path], tmp_path: Path
) -> None:
    index.add_batch(np.ones((9000, 3), np.float32))
    index.save(tmp_path / "a.zip")
    target = new_path()

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        VectorIndex.load(tmp_path / "a.zip", target, progress=fail)
    with pytest.raises(pychassis.IndexNotFoundError):
        VectorIndex.open(target)
    VectorIndex.load(tmp_path / "a.zip", target).close()


def test_an_index_that_exists_is_not_overwritten(
    filled: VectorIndex, path: Path, tmp_path: Path
) -> None:
    filled.save(tmp_path / "a.zip")
    with pytest.raises(ChassisError, match="exists"):
        VectorIndex.load(tmp_path / "a.zip", path)
    assert list(filled) == [0, 2]


def test_appending(filled: VectorIndex, path: Path, tmp_path: Path) -> None:
    filled.save(tmp_path / "a.zip")
    filled.flush()
    with pytest.raises(ValueError, match="id"):
        VectorIndex.load(tmp_path / "a.zip", path, append=True)
    assert list(filled) == [0, 2]
    VectorIndex.load(tmp_path / "a.zip", path, append=True, new_ids=True).close()
    assert list(filled) == [0, 2, 4, 5]
    assert filled.metadata(4) == {"n": 1}
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    VectorIndex.load(tmp_path / "x.npy", path, append=True).close()
    assert list(filled) == [0, 2, 4, 5, 6, 7]


def test_appending_other_dimensions(
    filled: VectorIndex, path: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 4)))
    with pytest.raises(DimensionMismatchError, match="4 dimensions"):
        VectorIndex.load(tmp_path / "x.npy", path, append=True)
    assert list(filled) == [0, 2]


def test_importing_other_formats(new_path: Callable[[], Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", vectors=np.eye(3), ids=np.array([7, 3, 5]))
    with VectorIndex.load(tmp_path / "x.npz", new_path()) as index:
        assert list(index) == [3, 5, 7]
        assert index.get(7).tolist() == [1, 0, 0]
        assert index.add([1, 1, 1]) == 8
    lines = '{"vector": [1, 2], "metadata": {"n": 1}}\n{"vector": [3, 4]}\n'
    (tmp_path / "x.jsonl").write_text(lines)
    with VectorIndex.load(tmp_path / "x.jsonl", new_path()) as index:
        assert index.metadata(0) == {"n": 1}
        assert index.metadata(1) is None


def test_the_original_engine_s_file_becomes_an_index(
    new_path: Callable[[], Path], tmp_path: Path
) -> None:
    rows = np.eye(4, dtype="<f4")
    head = b"CHASSIS\0" + np.array([1, 4], "<u4").tobytes()
    head += np.array([4], "<u8").tobytes()
    (tmp_path / "old.chassis").write_bytes(head.ljust(4096, b"\0") + rows.tobytes())
    with VectorIndex.load(tmp_path / "old.chassis", new_path()) as index:
        assert len(index) == 4
        assert [hit.id for hit in index.search(rows[2], k=1)] == [2]


def test_a_file_that_is_not_there(new_path: Callable[[], Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidPathError, match="No such file"):
        VectorIndex.load(tmp_path / "missing.zip", new_path())


def test_moving_to_another_server(
    filled: VectorIndex, server: str, tmp_path: Path
) -> None:
    filled.save(tmp_path / "a.zip")
    with VectorIndex.load(tmp_path / "a.zip", "moved", connection=server) as copy:
        assert list(copy) == [0, 2]
        copy.save(tmp_path / "b.zip")
        copy.drop()
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    assert contents(ArchiveSource(first))[2] == contents(ArchiveSource(second))[2]
    assert np.array_equal(
        contents(ArchiveSource(first))[1], contents(ArchiveSource(second))[1]
    )


def test_an_attached_table_is_archived_too(
    database: str, new_path: Callable[[], Path], tmp_path: Path
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION chassis")
        connection.execute("CREATE TABLE items (number int PRIMARY KEY, v vector(2))")
        connection.execute("INSERT INTO items VALUES (7, '[1,2]'), (9, '[3,4]')")
    attached = VectorIndex.attach(database, "items", "v", "number")
    with attached as index:
        index.save(tmp_path / "a.zip")
    with VectorIndex.load(tmp_path / "a.zip", new_path()) as copy:
        assert list(copy) == [7, 9]
        assert copy.get(9).tolist() == [3, 4]
        assert copy.add([5, 6]) == 10


def test_a_killed_export_leaves_the_old_archive(
    filled: VectorIndex, path: Path, tmp_path: Path
) -> None:
    filled.save(tmp_path / "a.zip")
    filled.flush()
    before = (tmp_path / "a.zip").read_bytes()
    code = (
        "import os, sys, pychassis\n"
        "index = pychassis.VectorIndex.open(sys.argv[1])\n"
        "index.save(sys.argv[2], progress=lambda done, total: os._exit(9))\n"
    )
    arguments = [sys.executable, "-c", code, str(path), str(tmp_path / "a.zip")]
    assert subprocess.run(arguments, check=False).returncode == 9
    assert (tmp_path / "a.zip").read_bytes() == before


def test_without_tqdm_there_is_no_bar(
    filled: VectorIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules: Any = sys.modules
    monkeypatch.setitem(modules, "tqdm", None)
    filled.save(tmp_path / "a.zip", progress=True)
    shutil.copy(tmp_path / "a.zip", tmp_path / "b.zip")
    assert ArchiveSource(tmp_path / "b.zip").check() == 2
