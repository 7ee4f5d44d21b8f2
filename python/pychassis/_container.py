"""The file that ``save`` writes: one uncompressed zip of four members.

==============  ============================================================
vectors.npy     float32 (rows, dimensions)
ids.npy         int64 (rows,), ascending
metadata.jsonl  a line for each row: a JSON object, or null
index.json      format version, parameters, and size and SHA-256 of the rest
==============  ============================================================

``numpy.load`` opens it (``["vectors"]``, ``["ids"]``) and so does every unzip.
Separate because it is a format that outlives versions: it knows files, not
indexes or servers.  Both directions take constant memory, because a zip lets a
member be written before its size and checksum are known, and ``index.json``
comes last.  Version 1 is the only one so far.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ._formats import BLOCK_ROWS, Block, Source, read_member, read_npy_header
from .exceptions import ChassisError, FileFormatError

__all__ = ["ArchiveSource", "is_archive", "replace_file", "write_archive"]

FORMAT = "pgchassis"
VERSION = 1
MEMBERS = ("vectors.npy", "ids.npy", "metadata.jsonl")

# Larger members get 8-byte sizes.  A reader of small archives needs no zip64.
ZIP64_FROM = 1 << 31

# The date in the zip is a constant: equal contents make equal files.
_DATE = (1980, 1, 1, 0, 0, 0)

RawBlock = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], Sequence["str | None"]]


# ----------------------------------------------------------------------- writing


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes the place of ``path`` at the end, complete or not at all.

    When the block ends without an exception, the contents are on disk and
    readers see either the old file or the new one; otherwise nothing is left.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    # Not tempfile: its mode 0600 would remain, whatever the umask says.
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class _Hashed:
    """Writes to a stream and remembers how much, and its SHA-256."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self.stream.write(data)
        self.hash.update(data)
        self.size += len(data)

    def summary(self) -> dict[str, Any]:
        return {"bytes": self.size, "sha256": self.hash.hexdigest()}


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, name: str, size: int) -> Iterator[_Hashed]:
    """Give a member to write about ``size`` bytes to."""
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr = 0o644 << 16
    with archive.open(info, "w", force_zip64=size >= ZIP64_FROM) as stream:
        yield _Hashed(stream)


def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    stream = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


def write_archive(
    stream: IO[bytes],
    blocks: Iterable[RawBlock],
    shape: tuple[int, int],
    parameters: dict[str, Any],
    spool_directory: Path,
) -> None:
    """Write the blocks, ``shape`` in total, and ``parameters`` to ``stream``.

    A zip's members come one after the other, so ids and metadata wait in
    temporary files in ``spool_directory`` until the vectors are written.
    """
    rows, dimensions = shape
    contents: dict[str, Any] = {}
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive,
        tempfile.TemporaryFile(dir=spool_directory) as ids,
        tempfile.TemporaryFile(dir=spool_directory) as metadata,
    ):
        with _member(archive, "vectors.npy", rows * dimensions * 4) as member:
            member.write(_npy_header(shape, "<f4"))
            written = _write_vectors(member, blocks, ids, metadata)
            contents["vectors.npy"] = member.summary()
        if written != rows:
            raise RuntimeError(f"snapshot had {written} rows, not {rows}")
        contents["ids.npy"] = _copy(
            archive, "ids.npy", ids, _npy_header((rows,), "<i8")
        )
        contents["metadata.jsonl"] = _copy(archive, "metadata.jsonl", metadata, b"")
        index = {
            "format": FORMAT,
            "version": VERSION,
            "count": rows,
            "dimensions": dimensions,
            **parameters,
            "members": contents,
        }
        with _member(archive, "index.json", 0) as member:
            member.write(json.dumps(index, indent=2).encode() + b"\n")


def _write_vectors(
    member: _Hashed,
    blocks: Iterable[RawBlock],
    ids: IO[bytes],
    metadata: IO[bytes],
) -> int:
    """Write vectors to ``member``, the rest aside; return the number of rows."""
    written = 0
    for numbers, vectors, documents in blocks:
        member.write(np.ascontiguousarray(vectors, "<f4").data.cast("B"))
        ids.write(np.ascontiguousarray(numbers, "<i8").data.cast("B"))
        metadata.write("".join(map(_as_line, documents)).encode())
        written += len(vectors)
    return written


def _as_line(document: str | None) -> str:
    """Return a line of metadata; jsonb's text form has no line breaks in it."""
    if document is None:
        return "null\n"
    if not document.startswith("{"):
        raise ChassisError(
            f"cannot archive metadata that are no JSON object: {document[:60]}"
        )
    return document + "\n"


def _copy(
    archive: zipfile.ZipFile, name: str, spooled: IO[bytes], header: bytes
) -> dict[str, Any]:
    """Write what was spooled as a member; return its size and checksum."""
    size = spooled.tell()
    spooled.seek(0)
    with _member(archive, name, size) as member:
        member.write(header)
        shutil.copyfileobj(spooled, member, 1 << 20)
        return member.summary()


# ----------------------------------------------------------------------- reading


def is_archive(path: Path) -> bool:
    """Tell an archive from any other zip, without judging its contents."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "index.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False


class ArchiveSource(Source):
    """An archive whose ``index.json`` is sound; ``check`` compares the rest."""

    def __init__(self, path: Path) -> None:
        self.index = self._read_index(path)
        super().__init__(path, self.index["dimensions"], self.index["count"])

    @staticmethod
    def _read_index(path: Path) -> dict[str, Any]:
        try:
            with zipfile.ZipFile(path) as archive:
                index = json.loads(archive.read("index.json"))
                sizes = {
                    info.filename: info.file_size
                    for info in archive.infolist()
                    if info.compress_type == zipfile.ZIP_STORED
                }
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise FileFormatError(
                f"archive {path} is damaged or cut off: {error}"
            ) from error
        checked = _check_index(index, path)
        for name in MEMBERS:
            if sizes.get(name) != index["members"][name]["bytes"]:
                raise FileFormatError(
                    f"archive {path} is damaged: {name} has {sizes.get(name)} bytes, "
                    f"not {index['members'][name]['bytes']}"
                )
        return checked

    def check(self) -> int:
        """Compare all checksums, then read every row as any source does."""
        with zipfile.ZipFile(self.path) as archive:
            for name in MEMBERS:
                expected = self.index["members"][name]["sha256"]
                if self._hash(archive, name) != expected:
                    raise FileFormatError(
                        f"archive {self.path} is damaged: the checksum of {name} "
                        "does not match"
                    )
        return super().check()

    def _hash(self, archive: zipfile.ZipFile, name: str) -> str:
        result = hashlib.sha256()
        with self._open(archive, name) as stream:
            while data := self._read(stream, 1 << 20, name):
                result.update(data)
        return result.hexdigest()

    def _open(self, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
        try:
            return archive.open(name)
        except (zipfile.BadZipFile, OSError) as error:
            raise FileFormatError(
                f"archive {self.path} is damaged: {name}: {error}"
            ) from error

    def _read(self, stream: IO[bytes], size: int, name: str) -> bytes:
        try:
            return stream.read(size)
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise FileFormatError(
                f"archive {self.path} is damaged: {name}: {error}"
            ) from error

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        for ids, vectors, texts in self.raw_blocks(rows):
            documents = [None if text is None else json.loads(text) for text in texts]
            some = any(document is not None for document in documents)
            yield Block(ids, vectors, documents if some else None)

    def raw_blocks(self, rows: int = BLOCK_ROWS) -> Iterator[RawBlock]:
        """Yield blocks with the metadata as JSON text, as they were written."""
        count, dimensions = self.index["count"], self.index["dimensions"]
        with zipfile.ZipFile(self.path) as archive, contextlib.ExitStack() as stack:
            vectors, ids, lines = (
                stack.enter_context(self._open(archive, name)) for name in MEMBERS
            )
            self._expect(vectors, "vectors.npy", (count, dimensions), "<f4")
            self._expect(ids, "ids.npy", (count,), "<i8")
            for first in range(0, count, rows):
                size = min(rows, count - first)
                data = read_member(vectors, size * dimensions * 4, "vectors.npy")
                numbers = read_member(ids, size * 8, "ids.npy")
                yield (
                    np.frombuffer(numbers, "<i8").astype(np.int64, copy=False),
                    np.frombuffer(data, "<f4").reshape(size, dimensions),
                    [self._line(lines, first + row) for row in range(size)],
                )

    def _expect(
        self, stream: IO[bytes], name: str, shape: tuple[int, ...], dtype: str
    ) -> None:
        found = read_npy_header(stream, f"{name} in archive {self.path}")
        if found != (shape, False, np.dtype(dtype)):
            raise FileFormatError(
                f"archive {self.path} is damaged: {name} is {found[2]}{list(found[0])}, "
                f"not {dtype}{list(shape)}"
            )

    def _line(self, lines: IO[bytes], row: int) -> str | None:
        line = lines.readline()
        try:
            text = line.decode()
            document = json.loads(text)
        except ValueError as error:
            raise FileFormatError(
                f"archive {self.path} is damaged: metadata of row {row}: {error}"
            ) from error
        if document is not None and not isinstance(document, dict):
            raise FileFormatError(
                f"archive {self.path}: the metadata of row {row} are no object"
            )
        return None if document is None else text.rstrip("\n")


def _check_index(index: Any, path: Path) -> dict[str, Any]:
    """Refuse an index.json that another program or a later version wrote."""
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise FileFormatError(f"file {path} is a zip, but no archive of an index")
    version = index.get("version")
    if version != VERSION:
        raise FileFormatError(
            f"archive {path} has format version {version}, this program knows "
            f"{VERSION}: update pgchassis"
        )
    members = index.get("members")
    numbers = [index.get("count"), index.get("dimensions")]
    if (
        not all(type(number) is int and number >= 0 for number in numbers)
        or not isinstance(members, dict)
        or not all(
            isinstance(members.get(name), dict)
            and isinstance(members[name].get("bytes"), int)
            and isinstance(members[name].get("sha256"), str)
            for name in MEMBERS
        )
    ):
        raise FileFormatError(f"archive {path} is damaged: index.json is incomplete")
    return index
