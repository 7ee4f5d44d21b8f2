"""The directory .chassis: how it comes into being, and how its files are opened.

Separate because root works here on files that another user may change.  So every
name is looked up relative to one descriptor of the directory, nothing follows a
symbolic link, and the directory appears complete, with its owner, by one rename.

    .chassis/            0700, its owner runs the server
       cluster.json      format, uuid, boot id at creation; no program, no library
       users.lock        shared by every process that has an index open
       server.lock       held by every process of the server
       durable           there once everything initdb wrote has been synced
       data/             PGDATA, with the socket
       log               truncated at a start when larger than 1 MB
       ext/              links by which the server finds the extension

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import time
import uuid
from pathlib import Path

from ..exceptions import InvalidPathError, StorageFullError
from .fds import directory_name, open_directory
from .identity import Identity

__all__ = ["NAME", "Folder", "create_folder", "open_folder"]

NAME = ".chassis"
_FORMAT = 1
_LOG_LIMIT = 1 << 20
# Seconds after which a folder that never got its name has no maker any more.
_ABANDONED = 3600


def boot_id() -> str:
    """Differs after each start of the kernel; empty where that is not told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class Folder:
    """An open .chassis.  The descriptor stays valid when the directory moves."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        status = os.fstat(fd)
        self.owner = status.st_uid
        self.group = status.st_gid
        self.key = (status.st_dev, status.st_ino)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def vanished(self) -> bool:
        """Whether the directory was removed while we had it open."""
        return os.fstat(self.fd).st_nlink == 0

    def name(self, child: str = "") -> str:
        """A name of the directory, or of something in it, for a program."""
        base = directory_name(self.fd, self.path)
        return f"{base}/{child}" if child else base

    def open(self, child: str, flags: int) -> int:
        """A descriptor of a regular file; created with 0600 if O_CREAT says so."""
        fd = os.open(child, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.fd)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidPathError(f"{self.path / child} is not a regular file")
            if status.st_uid != self.owner and os.geteuid() == 0:
                os.fchown(fd, self.owner, self.group)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def open_log(self) -> int:
        """The log, to append to; emptied first when it has become large."""
        fd = self.open("log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        if os.fstat(fd).st_size > _LOG_LIMIT:
            os.ftruncate(fd, 0)
        return fd

    def read(self, child: str, limit: int = 65536) -> bytes | None:
        try:
            fd = self.open(child, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with open(fd, "rb") as file:
            return file.read(limit)

    def write(self, child: str, content: bytes) -> None:
        """Replace a small file as a whole, durably."""
        temporary = f"{child}.tmp"
        fd = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, child, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        os.fsync(self.fd)

    def exists(self, child: str) -> bool:
        try:
            os.stat(child, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def remove(self, child: str) -> None:
        """Remove a file, if it is there."""
        try:
            os.unlink(child, dir_fd=self.fd)
        except FileNotFoundError:
            pass

    def remove_tree(self, child: str) -> None:
        """Remove a directory and what is in it, if it is there."""
        if self.exists(child):
            shutil.rmtree(self.name(child))

    def make_directory(self, child: str) -> None:
        try:
            os.mkdir(child, 0o700, dir_fd=self.fd)
        except FileExistsError:
            return
        if os.geteuid() == 0:
            os.chown(
                child, self.owner, self.group, dir_fd=self.fd, follow_symlinks=False
            )

    def open_data(self) -> int | None:
        """A descriptor of PGDATA; None when there is none yet."""
        try:
            return open_directory("data", parent=self.fd, follow=False)
        except FileNotFoundError:
            return None

    def information(self) -> dict[str, object]:
        """The content of cluster.json, made anew if somebody removed it."""
        raw = self.read("cluster.json")
        if raw is None:
            self.write("cluster.json", _information())
            raw = self.read("cluster.json") or b""
        try:
            found = json.loads(raw)
            if not isinstance(found, dict) or not isinstance(found["uuid"], str):
                raise ValueError("no uuid")
            version = found.get("format")
        except (ValueError, KeyError) as error:
            raise InvalidPathError(
                f"{self.path / 'cluster.json'} is damaged: {error}. Its content is "
                "not needed to read the data: remove the file, then open again"
            ) from error
        if version != _FORMAT:
            raise InvalidPathError(
                f"{self.path} has format {version!r}, but this version of pgchassis "
                f"knows format {_FORMAT} only: upgrade pgchassis"
            )
        return found


def _information() -> bytes:
    return json.dumps(
        {"format": _FORMAT, "uuid": str(uuid.uuid4()), "boot": boot_id()}
    ).encode()


def open_folder(directory: Path) -> Folder | None:
    """The folder in ``directory``; None when there is none."""
    path = directory / NAME
    try:
        link = os.lstat(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise InvalidPathError(f"{directory} is not a directory") from error
    except OSError as error:
        raise InvalidPathError(f"cannot look into {directory}: {error}") from error
    if not stat.S_ISLNK(link.st_mode):
        _refuse_other_owner(path, link.st_uid)
    elif link.st_uid not in (0, os.geteuid()):
        raise InvalidPathError(f"{path} is another user's symbolic link")
    try:
        folder = Folder(path, open_directory(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidPathError(f"cannot open {path}: {error.strerror}") from error
    try:
        _refuse_other_owner(path, folder.owner)
    except InvalidPathError:
        folder.close()
        raise
    return folder


def _refuse_other_owner(path: Path, owner: int) -> None:
    me = os.geteuid()
    if me not in (0, owner):
        raise InvalidPathError(
            f"{path} belongs to uid {owner}, but this process is uid {me}: the files "
            "of a database can be used by their owner (and root) only"
        )


def _fill(fd: int, identity: Identity) -> None:
    """Give a new folder its files and its owner."""
    me = os.geteuid()
    for child, content in (
        ("users.lock", b""),
        ("server.lock", b""),
        ("cluster.json", _information()),
    ):
        file_fd = os.open(
            child,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=fd,
        )
        with open(file_fd, "wb") as file:
            file.write(content)
            if me == 0:
                os.fchown(file_fd, identity.uid, identity.gid)
    if me == 0:
        os.fchown(fd, identity.uid, identity.gid)


def _sweep(directory: Path) -> None:
    """Remove what a process left that was killed in create_folder() long ago."""
    for left in directory.glob(f"{NAME}.new-*"):
        try:
            if left.lstat().st_mtime < time.time() - _ABANDONED:
                shutil.rmtree(left)
        except OSError:
            continue


def create_folder(directory: Path, identity: Identity) -> None:
    """Make .chassis for a cluster that ``identity`` runs, unless another was faster."""
    _sweep(directory)
    # The prefix is that of .chassis itself, so that ignore lists cover it.
    temporary = f"{NAME}.new-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    path = directory / temporary
    try:
        os.mkdir(path, 0o700)
        try:
            fd = open_directory(path, follow=False)
            try:
                _fill(fd, identity)
            finally:
                os.close(fd)
            os.rename(path, directory / NAME)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return
        raise directory_error(directory, error) from error


def directory_error(directory: Path, error: OSError) -> Exception:
    """What an operating system's error means for whoever named the directory."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(f"no space left on the device of {directory}")
    if error.errno == errno.ENOENT:
        return InvalidPathError(f"the directory {directory} does not exist")
    if error.errno == errno.ENOTDIR:
        return InvalidPathError(f"{directory} is not a directory")
    reason = error.strerror or str(error)
    return InvalidPathError(
        f"cannot keep a database in {directory}: {reason}. The directory must be "
        "writable: choose another, or set CHASSIS_HOME"
    )
