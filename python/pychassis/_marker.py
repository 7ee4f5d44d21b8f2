"""The small file at an index's path, which says where the index is.

Separate because people test, rename, copy and remove that file as if it held the
vectors, and every such case must be told apart before a database is touched.  It
knows no database; what a uuid means is the catalogue's business.

The first line is for whoever opens the file in an editor; the rest is JSON.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from .exceptions import InvalidPathError, StorageFullError

__all__ = ["FORMAT", "Marker", "create", "inspect"]

FORMAT = 1

_FIRST_LINE = (
    b"chassis index: this file contains no vectors; they are in the database that it "
    b"names. To back up or move them: python -m chassis export\n"
)
_BEGINNING = b"chassis index:"
_ORIGINAL_ENGINE = b"CHASSIS\0"
# A marker is a few hundred bytes; whatever is longer is none.
_LIMIT = 65536


@dataclass(frozen=True)
class Marker:
    """``uuid`` and ``name`` of the index, ``cluster`` its .chassis directory."""

    uuid: str
    name: str
    cluster: str
    format: int = FORMAT


def _refuse(path: Path, error: OSError) -> InvalidPathError:
    if error.errno == errno.ENOTDIR:
        reason = "a part of it that should be a directory is none"
    elif error.errno == errno.ENAMETOOLONG:
        reason = "a name in it is too long for the file system"
    elif error.errno == errno.ELOOP:
        reason = "its symbolic links lead in a circle"
    else:
        reason = error.strerror or str(error)
    return InvalidPathError(f"cannot use {path} as an index: {reason}")


def _read(path: Path) -> bytes | None:
    """The content, None when there is no file; nothing blocks, a pipe neither."""
    if "\0" in os.fspath(path):
        raise InvalidPathError(f"the path {os.fspath(path)!r} contains a NUL byte")
    if path.name == ".chassis":
        raise InvalidPathError(
            f"cannot use {path} as an index: .chassis is where the database is kept"
        )
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refuse(path, error) from error
    try:
        kind = os.fstat(fd).st_mode
        if stat.S_ISDIR(kind):
            raise InvalidPathError(
                f"{path} is a directory; give the path of a file in it, for example "
                f"{path / 'index.chassis'}"
            )
        if not stat.S_ISREG(kind):
            raise InvalidPathError(f"{path} is not a regular file")
        # Whoever fills an empty file holds this for the moment it takes.
        fcntl.flock(fd, fcntl.LOCK_SH)
        return os.read(fd, _LIMIT)
    finally:
        os.close(fd)


def _parse(path: Path, content: bytes) -> Marker:
    damaged = f"the index file {path} is damaged"
    remedy = (
        "its vectors are not in it: restore the file, or list what the database "
        f"beside it holds with: python -m chassis orphans {path.parent}"
    )
    try:
        found = json.loads(content.split(b"\n", 1)[1])
        version = found["format"]
        if version == FORMAT:
            marker = Marker(
                str(uuid.UUID(found["uuid"])),
                _text(found["name"]),
                _text(found["cluster"]),
            )
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidPathError(f"{damaged} ({error!r}); {remedy}") from error
    if version != FORMAT:
        raise InvalidPathError(
            f"the index file {path} has format {version!r}, and this version of "
            f"pgchassis reads format {FORMAT}: upgrade pgchassis"
        )
    return marker


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def inspect(path: Path) -> Marker | None:
    """The marker at ``path``; None when nothing, or an empty file, is there.

    InvalidPathError for whatever else is there, or when it cannot be read.
    """
    content = _read(path)
    if not content:
        return None
    if content.startswith(_ORIGINAL_ENGINE):
        raise InvalidPathError(
            f"{path} is an index of the original chassis engine; convert it with: "
            f"python -m chassis import {path} NEW_PATH"
        )
    if not content.startswith(_BEGINNING):
        raise InvalidPathError(
            f"{path} is a file of another kind, and is left as it is; choose another "
            "path for the index"
        )
    return _parse(path, content)


def _content(marker: Marker) -> bytes:
    return _FIRST_LINE + json.dumps(asdict(marker), indent=1).encode() + b"\n"


def _sync_directory(path: Path) -> None:
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(fd: int, content: bytes) -> None:
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
        file.flush()
        os.fsync(fd)


def _create_new(path: Path, content: bytes) -> None:
    """Appears with its content, or not at all; FileExistsError if there is one."""
    temporary = path.with_name(f".chassis-{uuid.uuid4().hex[:12]}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o666)
    try:
        _write(fd, content)
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            # no hard links on this file system
            _create_in_place(path, content)
    finally:
        os.close(fd)
        os.unlink(temporary)


def _create_in_place(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        _write(fd, content)
    finally:
        os.close(fd)


def _fill_empty(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > 0:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        _write(fd, content)
    finally:
        os.close(fd)


def create(path: Path, marker: Marker) -> None:
    """Write the marker, durably, where there is no file or an empty one.

    FileExistsError when another process was faster: inspect() again.
    """
    content = _content(marker)
    try:
        if os.path.lexists(path):
            _fill_empty(path, content)
        else:
            _create_new(path, content)
        _sync_directory(path)
    except FileExistsError:
        raise
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise InvalidPathError(
                f"{path} is a symbolic link to a file that does not exist"
            ) from error
        raise InvalidPathError(
            f"the directory {path.parent} does not exist; create it first"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(f"no space left to create {path}") from error
        raise _refuse(path, error) from error
