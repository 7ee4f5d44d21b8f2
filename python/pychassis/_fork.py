"""What happens to shared state when the process forks.

A child must not use the connections, locks and threads it inherited: the
connections are its parent's, the locks may be held by threads that do not exist
in it.  Every object with such state registers here and is told in the child to
start afresh.  Nothing here knows what the state is.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Any, Protocol

import psycopg

__all__: list[str] = []


class Forked(Protocol):
    """Something with state that a forked child cannot use."""

    def after_fork(self) -> None:
        """Called in the child, with no other thread running."""


_registered: weakref.WeakSet[Forked] = weakref.WeakSet()

# Inherited connections are kept, not collected: psycopg warns about open ones.
_inherited: list[Any] = []


def register(instance: Forked) -> None:
    """``instance.after_fork()`` will be called in every child."""
    _registered.add(instance)


def abandon_connection(connection: psycopg.Connection[Any]) -> None:
    """Takes an inherited connection out of use without a word to the server.

    The child's descriptor is turned away from the socket, so that the server sees
    the parent's end even while the child lives, and libpq's farewell goes nowhere.
    """
    _inherited.append(connection)
    with contextlib.suppress(psycopg.Error, OSError):
        descriptor = connection.fileno()
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)


def _in_child() -> None:
    for instance in list(_registered):
        instance.after_fork()


os.register_at_fork(after_in_child=_in_child)
