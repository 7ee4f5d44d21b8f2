"""Advisory file locks that wait with a time limit.

Separate because the life cycle rests on what a flock is: it belongs to an open
file description, is inherited with the descriptor, and the kernel drops it when
the last copy is closed, however the processes died.  So nobody has to believe a
process id written in a file.  Knows nothing of servers.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import errno
import fcntl
import time

__all__ = ["lock_shared", "try_exclusive", "wait_exclusive"]

# Waiting is polling: a flock that blocks cannot be given up again without
# signals, which belong to the program that uses us.
_FIRST_PAUSE = 0.001
_LAST_PAUSE = 0.1


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _wait(fd: int, kind: int, deadline: float) -> bool:
    pause = _FIRST_PAUSE
    while not _try(fd, kind):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, _LAST_PAUSE)
    return True


def try_exclusive(fd: int) -> bool:
    """Take the lock for us alone if that needs no waiting.

    A shared lock that this descriptor had is given up in either case.
    """
    return _try(fd, fcntl.LOCK_EX)


def wait_exclusive(fd: int, deadline: float) -> bool:
    """As try_exclusive, but wait until ``deadline`` (of time.monotonic())."""
    return _wait(fd, fcntl.LOCK_EX, deadline)


def lock_shared(fd: int, deadline: float) -> bool:
    """Share the lock; False when another holds it alone past ``deadline``."""
    return _wait(fd, fcntl.LOCK_SH, deadline)
