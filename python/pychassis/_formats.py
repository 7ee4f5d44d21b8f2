"""Reads vectors from files, a block at a time.

Separate because it knows files and arrays only: no index, no server.  Every
format becomes a ``Source``: its dimensions, its number of rows, and an iterator
of blocks that may be started again, so that a file can be checked from end to
end before the first row is stored.  Memory is bounded by the block, not by the
file.

==========  ==============================================================
.npy        a two-dimensional array of numbers
.npz        ``vectors`` (or the only array with two dimensions), ``ids``
.fvecs      per row an int32, the dimensions, then float32 values
.bvecs      per row an int32, the dimensions, then uint8 values
.fbin       uint32 rows, uint32 dimensions, then float32 values
.jsonl      per line a vector, or an object with ``vector``, ``id``, ``metadata``
.chassis    the original engine's file: see ``OriginalSource``
==========  ==============================================================

The archives that ``save`` writes are a format of their own, in ``_container``.
All integers and floats are little-endian.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .exceptions import FileFormatError

__all__ = ["Block", "Source", "open_source", "read_npy_header"]

BLOCK_ROWS = 4096

# The extension's type has no room for more (and the original engine for less).
MAX_DIMENSIONS = 16000


class Block(NamedTuple):
    """Some rows: ids and metadata are None where the format has none."""

    ids: npt.NDArray[np.int64] | None
    vectors: npt.NDArray[np.float32]
    metadata: list[dict[str, Any] | None] | None


class Source(ABC):
    """A file of vectors whose header has been read and found sound."""

    def __init__(self, path: Path, dimensions: int, count: int | None) -> None:
        """``count`` is None where only reading the file tells."""
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise FileFormatError(
                f"file {path} has vectors of {dimensions} dimensions "
                f"(allowed: 1 to {MAX_DIMENSIONS})"
            )
        self.path = path
        self.dimensions = dimensions
        self.count = count

    @abstractmethod
    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """Yield the file's rows from the beginning, at most ``rows`` at a time."""

    def check(self) -> int:
        """Read the whole file, raise if anything is wrong, return the rows."""
        seen, last, ascending = 0, -1, True
        for block in self.blocks():
            self._check_finite(block.vectors, seen)
            if block.ids is not None and len(block.ids):
                self._check_not_negative(block.ids)
                rises = bool(block.ids[0] > last and (np.diff(block.ids) > 0).all())
                ascending, last = ascending and rises, int(block.ids[-1])
            seen += len(block.vectors)
        if self.count is not None and self.count != seen:
            raise FileFormatError(
                f"file {self.path} has {seen} rows, but says {self.count}"
            )
        if not ascending:
            self._check_unique()
        self.count = seen
        return seen

    def _check_finite(self, vectors: npt.NDArray[np.float32], first: int) -> None:
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise FileFormatError(
                f"row {first + int(np.argmin(finite))} of file {self.path} "
                "contains NaN or a number that float32 cannot hold"
            )

    def _check_not_negative(self, ids: npt.NDArray[np.int64]) -> None:
        if ids.min() < 0:
            raise FileFormatError(f"file {self.path} has the negative id {ids.min()}")

    def _check_unique(self) -> None:
        """Find an id that occurs twice; only ids out of order cost this memory."""
        found = [block.ids for block in self.blocks() if block.ids is not None]
        values, counts = np.unique(np.concatenate(found), return_counts=True)
        if counts.max() > 1:
            raise FileFormatError(
                f"file {self.path} has the id {values[counts.argmax()]} more than once"
            )


# --------------------------------------------------------------- NumPy's arrays


def read_npy_header(
    stream: IO[bytes], name: str
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, Fortran order and type of the array that begins here."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{name} has a damaged header: {error}") from error
    if dtype.hasobject:
        raise FileFormatError(f"{name} holds Python objects, not numbers")
    return shape, fortran, dtype


def _check_matrix(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    if len(shape) != 2:
        raise FileFormatError(
            f"{name} is an array of shape {shape}, not (rows, dimensions)"
        )
    if dtype.kind not in "fiu":
        raise FileFormatError(f"{name} holds {dtype}, not numbers")


def _to_float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    # Overflow becomes infinity here, which check() reports with its row.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


class NpySource(Source):
    """An array in a file of its own, read through the page cache."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            shape, _, dtype = read_npy_header(stream, f"file {path}")
            _check_matrix(shape, dtype, f"file {path}")
            needed = stream.tell() + shape[0] * shape[1] * dtype.itemsize
        _check_size(path, needed)
        super().__init__(path, shape[1], shape[0])

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        if self.count == 0:
            return
        array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        for first in range(0, len(array), rows):
            yield Block(None, _to_float32(array[first : first + rows]), None)


class NpzSource(Source):
    """Arrays in a zip file, compressed or not; read as streams, never whole."""

    def __init__(self, path: Path) -> None:
        with _open_zip(path) as archive:
            self.members = [n for n in archive.namelist() if n.endswith(".npy")]
            self.vectors = self._find_vectors(archive, path)
            shape, _, _ = self._header(archive, self.vectors, path)
            self.ids = "ids.npy" if "ids.npy" in self.members else None
            if self.ids is not None:
                self._check_ids(archive, path, shape[0])
        super().__init__(path, shape[1], shape[0])

    @staticmethod
    def _header(
        archive: zipfile.ZipFile, member: str, path: Path
    ) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        with archive.open(member) as stream:
            return read_npy_header(stream, f"{member} in file {path}")

    def _find_vectors(self, archive: zipfile.ZipFile, path: Path) -> str:
        """Return the member to import; reject what cannot be read by rows."""
        found = [
            name
            for name in self.members
            if len(self._header(archive, name, path)[0]) == 2
        ]
        if "vectors.npy" in self.members:
            found = ["vectors.npy"]
        if len(found) != 1:
            raise FileFormatError(
                f"file {path} needs an array named vectors: it has "
                f"{', '.join(name[:-4] for name in self.members) or 'none'}"
            )
        shape, fortran, dtype = self._header(archive, found[0], path)
        _check_matrix(shape, dtype, f"{found[0]} in file {path}")
        if fortran and min(shape) > 1:
            raise FileFormatError(
                f"{found[0]} in file {path} is stored by columns; "
                "save it with np.ascontiguousarray"
            )
        return found[0]

    def _check_ids(self, archive: zipfile.ZipFile, path: Path, rows: int) -> None:
        shape, _, dtype = self._header(archive, "ids.npy", path)
        if shape != (rows,) or dtype.kind not in "iu":
            raise FileFormatError(
                f"ids.npy in file {path} is {dtype}{list(shape)}, "
                f"not {rows} integers, one for each vector"
            )

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        with _open_zip(self.path) as archive:
            vectors = _MemberReader(archive, self.vectors, self.path)
            ids = self.ids and _MemberReader(archive, self.ids, self.path)
            while len(block := vectors.read(rows)):
                numbers = ids.read(len(block)).astype(np.int64) if ids else None
                yield Block(numbers, _to_float32(block), None)


class _MemberReader:
    """Reads one array of a zip file by rows."""

    def __init__(self, archive: zipfile.ZipFile, member: str, path: Path) -> None:
        self.name = f"{member} in file {path}"
        self.stream = archive.open(member)
        shape, _, self.dtype = read_npy_header(self.stream, self.name)
        self.left, self.tail = shape[0], shape[1:]

    def read(self, rows: int) -> npt.NDArray[Any]:
        rows = min(rows, self.left)
        size = rows * int(np.prod(self.tail, dtype=np.int64)) * self.dtype.itemsize
        data = read_member(self.stream, size, self.name)
        self.left -= rows
        if self.left == 0:
            # The checksum is compared when the end is reached, not before.
            read_member(self.stream, 0, self.name, last=True)
        return np.frombuffer(data, self.dtype).reshape(rows, *self.tail)


def read_member(
    stream: IO[bytes], size: int, name: str, *, last: bool = False
) -> bytes:
    """Read exactly ``size`` bytes of a zip member; with ``last``, nothing follows."""
    try:
        data = stream.read(size) if size else b""
        rest = stream.read(1) if last else b""
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise FileFormatError(f"{name} is damaged: {error}") from error
    if len(data) != size or rest:
        raise FileFormatError(f"{name} is not as long as its header says")
    return data


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise FileFormatError(f"file {path} is damaged or cut off: {error}") from error


def _check_size(path: Path, needed: int) -> None:
    size = os.path.getsize(path)
    if size != needed:
        raise FileFormatError(
            f"file {path} is damaged or cut off: it has {size} bytes, "
            f"its header says {needed}"
        )


# -------------------------------------------------------- rows of a fixed width


class VecsSource(Source):
    """.fvecs and .bvecs: each row repeats the number of dimensions."""

    def __init__(self, path: Path, value: str) -> None:
        with path.open("rb") as stream:
            head = stream.read(4)
        if len(head) < 4:
            raise FileFormatError(f"file {path} is empty: it has no first row")
        (dimensions,) = struct.unpack("<i", head)
        size = os.path.getsize(path)
        self.row = np.dtype([("d", "<i4"), ("v", value, (max(dimensions, 1),))])
        if dimensions >= 1 and size % self.row.itemsize:
            raise FileFormatError(
                f"file {path} is damaged or cut off: {size} bytes are no whole "
                f"number of rows of {dimensions} dimensions"
            )
        super().__init__(path, dimensions, size // self.row.itemsize)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        done = 0
        with self.path.open("rb") as stream:
            while data := stream.read(rows * self.row.itemsize):
                block = np.frombuffer(data, self.row)
                wrong = block["d"] != self.dimensions
                if wrong.any():
                    row = int(np.argmax(wrong))
                    raise FileFormatError(
                        f"row {done + row} of file {self.path} has {block['d'][row]} "
                        f"dimensions, the first has {self.dimensions}"
                    )
                done += len(block)
                yield Block(None, _to_float32(block["v"]), None)


class PlainSource(Source):
    """Rows of float32 without a gap, behind a header of any kind."""

    def __init__(self, path: Path, dimensions: int, count: int, offset: int) -> None:
        super().__init__(path, dimensions, count)
        self.offset = offset
        self.rows = count

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        width = 4 * self.dimensions
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            for first in range(0, self.rows, rows):
                size = min(rows, self.rows - first) * width
                data = stream.read(size)
                if len(data) != size:
                    raise FileFormatError(f"file {self.path} was cut off while read")
                block = np.frombuffer(data, "<f4").reshape(-1, self.dimensions)
                yield Block(None, _to_float32(block), None)


def open_fbin(path: Path) -> Source:
    with path.open("rb") as stream:
        head = stream.read(8)
    if len(head) < 8:
        raise FileFormatError(f"file {path} is cut off: it has no header")
    count, dimensions = struct.unpack("<II", head)
    _check_size(path, 8 + 4 * count * dimensions)
    return PlainSource(path, dimensions, count, 8)


# ------------------------------------------------------------- the original file

ORIGINAL_MAGIC = b"CHASSIS\0"
_ORIGINAL_HEADER = struct.Struct("<8sIIQ8sI4xQ")
_ORIGINAL_SIZE = 4096
_ORIGINAL_MAX_DIMENSIONS = 4096
_LAYOUT_MAGIC = b"CHLAYOUT"
_GRAPH_HEADER = struct.Struct("<4sIQQ")
_GRAPH_MAGIC = b"HNSW"
# Where files without the layout record have their graph: at 1 GiB.
_OLD_GRAPH_OFFSET = 1 << 30


def open_original(path: Path) -> Source:
    """Open a file of the original engine, version 1.

    A page of header (magic, version, dimensions, count of vectors; the place of
    the graph in a record of its own, missing in old files), then the vectors,
    then the graph, whose header counts the nodes.  A crash in ``add`` leaves a
    vector without a node: the engine drops it when it opens the file, and so
    do we.
    """
    with path.open("rb") as stream:
        head = stream.read(_ORIGINAL_SIZE)
        if not head.startswith(ORIGINAL_MAGIC):
            raise FileFormatError(
                f"file {path} is not one of the original engine; if it is the path "
                "of an index, export that and import the archive"
            )
        if len(head) < _ORIGINAL_SIZE:
            raise FileFormatError(f"file {path} is cut off: its header is incomplete")
        fields = _ORIGINAL_HEADER.unpack_from(head)
        _, version, dimensions, count, layout, layout_version, graph = fields
        if version != 1 or not 1 <= dimensions <= _ORIGINAL_MAX_DIMENSIONS:
            raise FileFormatError(
                f"file {path} has a damaged header: format {version}, "
                f"{dimensions} dimensions"
            )
        if (layout, layout_version) != (_LAYOUT_MAGIC, 1) or graph == 0:
            graph = _OLD_GRAPH_OFFSET
        stream.seek(graph)
        nodes = _count_nodes(stream.read(_GRAPH_HEADER.size))
    if nodes is not None and nodes > count:
        raise FileFormatError(
            f"file {path} is damaged: its graph has {nodes} nodes, "
            f"but there are {count} vectors"
        )
    rows = count if nodes is None else nodes
    if os.path.getsize(path) < _ORIGINAL_SIZE + 4 * rows * dimensions:
        raise FileFormatError(f"file {path} is cut off: {rows} vectors do not fit")
    return PlainSource(path, dimensions, rows, _ORIGINAL_SIZE)


def _count_nodes(head: bytes) -> int | None:
    """Return the nodes in a graph's header, None if it is none."""
    if len(head) < _GRAPH_HEADER.size:
        return None
    magic, version, _, nodes = _GRAPH_HEADER.unpack(head)
    return int(nodes) if magic == _GRAPH_MAGIC and version == 1 else None


# ---------------------------------------------------------------------- .jsonl

_VECTOR_NAMES = ("vector", "embedding", "values")


class JsonLinesSource(Source):
    """One vector, or one object with a vector, on each line."""

    def __init__(self, path: Path) -> None:
        self.with_ids: bool | None = None
        dimensions = 0
        for _, vector, number, _ in self._rows(path):
            dimensions, self.with_ids = len(vector), number is not None
            break
        else:
            raise FileFormatError(f"file {path} is empty: it has no first row")
        super().__init__(path, dimensions, None)

    def _rows(
        self, path: Path
    ) -> Iterator[tuple[int, list[Any], int | None, dict[str, Any] | None]]:
        with path.open("rb") as stream:
            for place, line in enumerate(stream, 1):
                if line.strip():
                    yield (place, *_parse_line(line, f"line {place} of file {path}"))

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        vectors: list[npt.NDArray[np.float32]] = []
        ids: list[int] = []
        metadata: list[dict[str, Any] | None] = []
        for place, values, number, extra in self._rows(self.path):
            name = f"line {place} of file {self.path}"
            vectors.append(self._vector(values, name))
            if (number is not None) != self.with_ids:
                raise FileFormatError(f"{name}: either all rows have an id or none")
            if number is not None:
                ids.append(number)
            metadata.append(extra)
            if len(vectors) == rows:
                yield self._block(vectors, ids, metadata)
                vectors, ids, metadata = [], [], []
        if vectors:
            yield self._block(vectors, ids, metadata)

    def _vector(self, values: list[Any], name: str) -> npt.NDArray[np.float32]:
        if len(values) != self.dimensions:
            raise FileFormatError(
                f"{name} has {len(values)} dimensions, the first has {self.dimensions}"
            )
        # Not np.array(values, float32): that takes "1" and True for numbers.
        if not all(type(value) in (int, float) for value in values):
            raise FileFormatError(f"{name} has a vector that is not all numbers")
        try:
            return _to_float32(np.array(values, dtype=np.float64))
        except OverflowError:
            raise FileFormatError(f"{name} has a number out of range") from None

    def _block(
        self,
        vectors: list[npt.NDArray[np.float32]],
        ids: list[int],
        metadata: list[dict[str, Any] | None],
    ) -> Block:
        numbers = np.array(ids, dtype=np.int64) if self.with_ids else None
        some = any(extra is not None for extra in metadata)
        return Block(numbers, np.stack(vectors), metadata if some else None)


def _parse_line(
    line: bytes, name: str
) -> tuple[list[Any], int | None, dict[str, Any] | None]:
    """Return vector, id and metadata of one line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{name} is not JSON: {error}") from error
    if isinstance(row, list):
        return row, None, None
    names = [key for key in _VECTOR_NAMES if isinstance(row, dict) and key in row]
    if len(names) != 1 or not isinstance(row[names[0]], list):
        raise FileFormatError(
            f"{name} is neither an array nor an object with an array "
            f"{' or '.join(_VECTOR_NAMES)}"
        )
    number, metadata = row.get("id"), row.get("metadata")
    if number is not None and not (type(number) is int and 0 <= number < 2**63):
        raise FileFormatError(f"{name}: id is an integer from 0, not {number!r}")
    if metadata is not None and not isinstance(metadata, dict):
        raise FileFormatError(f"{name}: metadata is an object, not {metadata!r}")
    return row[names[0]], number, metadata


# ------------------------------------------------------------------- recognition

FORMATS = ("npy", "npz", "fvecs", "bvecs", "fbin", "jsonl", "chassis")


def _recognise(path: Path) -> str:
    """Return the format by what the file begins with, else by its name."""
    with path.open("rb") as stream:
        head = stream.read(8)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK"):
        return "npz"
    if head == ORIGINAL_MAGIC:
        return "chassis"
    suffix = path.suffix.lower().removeprefix(".")
    return {"ndjson": "jsonl"}.get(suffix, suffix)


def open_source(path: Path, format: str | None = None) -> Source:
    """Open ``path`` for reading; ``format`` overrules what it looks like.

    Raises FileFormatError for a file that is damaged or of no known format,
    and OSError where it cannot be read at all.
    """
    chosen = format or _recognise(path)
    if chosen == "npy":
        return NpySource(path)
    if chosen == "npz":
        return NpzSource(path)
    if chosen in ("fvecs", "bvecs"):
        return VecsSource(path, "<f4" if chosen == "fvecs" else "u1")
    if chosen == "fbin":
        return open_fbin(path)
    if chosen == "jsonl":
        return JsonLinesSource(path)
    if chosen == "chassis":
        return open_original(path)
    raise FileFormatError(
        f"file {path} is of no known format (known: {', '.join(FORMATS)})"
    )
