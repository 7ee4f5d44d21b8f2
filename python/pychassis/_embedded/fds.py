"""Directories named by an open descriptor instead of by a path.

Separate because three things rest on it.  /proc/self/fd/N is short, whatever the
length of the directory's path, so that sockets (107 bytes) and data directories
(1,023 bytes) have no limit; it holds no character that a shell could take for its
own; and a process that inherits N gets there though it could not enter a directory
above, as when root's server runs as another user below /root.

Where there is no /proc (other systems, a bare chroot) the path itself is used and
its limits apply.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["directory_name", "have_proc", "open_directory"]


def have_proc() -> bool:
    """Whether descriptors can be named here."""
    return os.path.isdir("/proc/self/fd")


def open_directory(
    name: str | Path, *, parent: int | None = None, follow: bool = True
) -> int:
    """A descriptor of a directory; not inherited unless a child is handed it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if not follow:
        flags |= os.O_NOFOLLOW
    return os.open(name, flags, dir_fd=parent)


def directory_name(fd: int, path: Path) -> str:
    """How to name the directory to a program, or a socket in it."""
    return f"/proc/self/fd/{fd}" if have_proc() else str(path)
