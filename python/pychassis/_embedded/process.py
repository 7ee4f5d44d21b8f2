"""Who runs on a cluster, according to the kernel and not to a file.

Separate because a process id in a file proves nothing: the process may be gone,
its number given to another, or belong to another container.  A process counts as
the cluster's only if it holds the open server.lock, which /proc shows.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from .folder import Folder

__all__ = ["foreign_postmaster", "kill_orphans", "postmaster", "send_signal"]


def _recorded_pid(folder: Folder) -> int | None:
    """The first line of postmaster.pid; negative in a stand-alone backend's."""
    data = folder.open_data()
    if data is None:
        return None
    try:
        fd = os.open(
            "postmaster.pid",
            os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK,
            dir_fd=data,
        )
    except OSError:
        return None
    finally:
        os.close(data)
    with open(fd, "rb") as file:
        first = file.read(64).split(b"\n")[0].strip()
    return abs(int(first)) if first.lstrip(b"-").isdigit() else None


def _holds(pid: int, key: tuple[int, int]) -> bool:
    """Whether process ``pid`` has the file with this device and inode open."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except OSError:
                    continue
                if (status.st_dev, status.st_ino) == key:
                    return True
    except OSError:
        pass
    return False


def _lock_key(folder: Folder) -> tuple[int, int] | None:
    try:
        status = os.stat("server.lock", dir_fd=folder.fd, follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _works_in_data(pid: int, folder: Folder) -> bool:
    try:
        there = os.stat(f"/proc/{pid}/cwd")
        data = os.stat("data", dir_fd=folder.fd, follow_symlinks=False)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (data.st_dev, data.st_ino)


def postmaster(folder: Folder) -> int | None:
    """The running server's process id, if it is a process that we can see."""
    pid = _recorded_pid(folder)
    key = _lock_key(folder)
    if pid is None or key is None:
        return None
    if not os.path.isdir("/proc/self/fd"):
        # No way to verify; the caller has seen server.lock held.
        return pid
    return pid if _holds(pid, key) else None


def foreign_postmaster(folder: Folder) -> int | None:
    """A server in the data directory that does not hold our lock.

    Called by whoever has server.lock: somebody started that server by hand.
    """
    pid = _recorded_pid(folder)
    if pid is not None and pid != os.getpid() and _works_in_data(pid, folder):
        return pid
    return None


def send_signal(pid: int, number: int, folder: Folder) -> bool:
    """Signal a process of the cluster; False if it is gone or another by now."""
    key = _lock_key(folder)
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):
        handle = None
    try:
        # Checked while the handle pins the process id.
        if os.path.isdir("/proc/self/fd") and (key is None or not _holds(pid, key)):
            return False
        if handle is not None:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _process_ids() -> Iterator[int]:
    try:
        for name in os.listdir("/proc"):
            if name.isdigit():
                yield int(name)
    except OSError:
        return


def _is_backend(pid: int) -> bool:
    """A child of a postmaster: it has rewritten its title, the postmaster not."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(10) == b"postgres: "
    except OSError:
        return False


def kill_orphans(folder: Folder) -> int:
    """End backends whose postmaster died, and that are too busy to notice.

    They hold server.lock until then, and nobody can start a server.  What they do
    can no longer be committed.  Returns how many were told.
    """
    key = _lock_key(folder)
    if key is None or postmaster(folder) is not None:
        return 0
    told = 0
    for pid in _process_ids():
        if (
            _is_backend(pid)
            and _works_in_data(pid, folder)
            and send_signal(pid, signal.SIGQUIT, folder)
        ):
            told += 1
    return told
