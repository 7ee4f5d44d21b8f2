"""The right to write to an index, and what is known of it.

One process at a time holds the lease: a row of the catalogue names the holder, by a
random uuid, and until when.  It is a promise of order only; what makes writes safe
is that each carries the holder and the number of writes so far as a condition
(fencing).  Who was stopped for longer than the lease lasts finds that its next write
touches no row, and has written nothing.

The lease comes with ids: ``next_id`` in the catalogue is moved past a block of them
before the first is handed out, in a transaction that is on disk when it returns.  So
no id is ever given twice; a crash leaves a gap.

This module knows the catalogue's row and the connection, not what is written.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import uuid
from collections.abc import Iterator

import psycopg

from . import _sql
from ._catalog import LOCK_WRITE, Spec, lock_key
from ._connect import PoolSource, Source, pauses
from ._link import Link
from .exceptions import ChassisError, IndexLockedError, IndexNotFoundError

__all__: list[str] = []

logger = logging.getLogger("pychassis.writer")

ID_BLOCK = 4096


class LeaseLostError(Exception):
    """Another process holds the lease now."""


class WritesLostError(Exception):
    """The server crashed and lost writes that were not flushed."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.kept = kept


class Lease:
    """The lease of one index; used under the writer's lock.

    ``held`` says what we believe.  ``next_id`` is the next id to hand out,
    ``reserved`` the first that is not ours, ``spill`` the number of writes that the
    catalogue should have counted.
    """

    def __init__(self, source: Source, spec: Spec) -> None:
        self._source = source
        self._spec = spec
        self._lock_key = lock_key(spec.uuid or "")
        # A pool's or a borrowed connection is used only as long as it takes.
        self._keeps_link = not (source.borrowed or isinstance(source, PoolSource))
        self.reset()

    def reset(self) -> None:
        """No lease, and nothing known."""
        self.held = False
        self.next_id = self.reserved = 0
        self.spill = self.epoch = 0
        self.holder = ""
        self._link: Link | None = None
        self._session_key: int | None = None

    # --- connections ---

    @contextlib.contextmanager
    def session(self) -> Iterator[Link]:
        """The connection that writes: the same one as long as the lease is held."""
        if self._link is not None and self._link.broken:
            self.lose_link()
        if self._link is not None:
            yield self._link
            return
        link = self._source.take()
        if self.held and self._keeps_link:
            self._keep(link)
            yield link
            return
        try:
            yield link
        finally:
            if self._link is not link:
                self._source.give(link)

    def _keep(self, link: Link) -> None:
        self._link = link
        if self._session_key is not None and link.direct:
            link.query(_sql.LOCK_SESSION, (self._session_key,))

    def lose_link(self) -> None:
        """The connection is of no more use."""
        link, self._link = self._link, None
        if link is not None:
            self._source.drop(link)

    # --- taking, extending, giving up ---

    def ensure(self, ids: int, timeout: float) -> None:
        """Holds the lease with at least ``ids`` ids to hand out.

        Waits up to ``timeout`` seconds for another holder, then raises
        IndexLockedError.
        """
        if not self.held:
            self._take(max(ids, ID_BLOCK) if ids else 0, timeout)
        elif self.reserved - self.next_id < ids:
            self.reserve(self.next_id + max(ids, ID_BLOCK))

    def _take(self, ids: int, timeout: float) -> None:
        with self.session() as link:
            holder = str(uuid.uuid4())
            key = secrets.randbits(62) if link.direct and self._keeps_link else None
            if key is not None:
                link.query(_sql.LOCK_SESSION, (key,))
            try:
                next_id, self.spill, self.epoch = self._wait(
                    link, (holder, key, _holder_name(), ids, self._spec.uuid), timeout
                )
            except BaseException:
                if key is not None and not link.broken:
                    link.query(_sql.UNLOCK_SESSION, (key,))
                raise
            self.held, self.holder, self._session_key = True, holder, key
            self.next_id, self.reserved = next_id - ids, next_id
            if self._keeps_link:
                self._link = link
        logger.debug("took the lease of %r at id %d", self._spec.name, self.next_id)

    def _wait(
        self, link: Link, values: tuple[object, ...], timeout: float
    ) -> tuple[int, int, int]:
        statement = _sql.fill(_sql.TAKE_LEASE, self._spec)
        refusal: psycopg.Error | None = None
        for left in pauses(max(timeout, 0.001)):
            try:
                with self._source.transaction(link):
                    if self._begin_exclusive(link, left):
                        rows = link.query(statement, values)
                        if rows:
                            next_id, spill, epoch = rows[0]
                            return next_id, spill, epoch
            except psycopg.errors.LockNotAvailable as error:
                refusal = error
        state = self._state(link)
        raise IndexLockedError(
            f"The index {self._spec.name!r} is being written by {state[3] or 'another'}"
            f", which did not finish within {timeout:g} s. Close or flush it there, or "
            "wait longer with timeout=",
            sqlstate="55P03",
        ) from refusal

    def _begin_exclusive(self, link: Link, left: float) -> bool:
        """Keeps out writers that have no lease, and makes the commit wait for disk.

        On a borrowed connection the settings would outlast our savepoint.
        """
        keys = (LOCK_WRITE, self._lock_key)
        if self._source.borrowed:
            return bool(link.query(_sql.TRY_LOCK, keys)[0][0])
        limit = f"{max(1, int(left * 1000))}ms"
        return bool(link.query(_sql.SETTINGS, (limit, *keys))[0][2])

    def reserve(self, upto: int) -> None:
        """Ids below ``upto`` are ours, and stay taken if the server crashes."""
        if upto <= self.reserved:
            return
        with self.session() as link, self._source.transaction(link):
            if not self._source.borrowed:
                keys = (LOCK_WRITE, self._lock_key)
                link.query(_sql.SETTINGS, ("0", *keys))
            statement = _sql.fill(_sql.RESERVE, self._spec)
            if not link.execute(statement, (upto, *self.condition())):
                self.diagnose(link)
                raise LeaseLostError
        self.reserved = upto

    def release(self) -> None:
        """Gives the lease up; returns when every earlier write is on disk.

        An asynchronous commit is on disk when a later synchronous one is.
        """
        with self.session() as link:
            statement = _sql.fill(_sql.RELEASE, self._spec)
            with self._source.transaction(link):
                rows = link.query(statement, (self.next_id, *self.condition()))
                if not rows:
                    self.diagnose(link)
                    raise LeaseLostError
            self.held = False
            self.next_id = self.reserved = 0
            if self._session_key is not None and link.direct:
                link.query(_sql.UNLOCK_SESSION, (self._session_key,))
            self._session_key = None
        self._give_link()

    def forget(self) -> None:
        """Somebody else has it, or nobody; our connection is free again."""
        link, key = self._link, self._session_key
        self.held, self._session_key = False, None
        self.reserved = self.next_id = 0
        if link is not None and key is not None and not link.broken:
            with contextlib.suppress(psycopg.Error):
                link.query(_sql.UNLOCK_SESSION, (key,))
        self._give_link()

    def _give_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._source.give(link)

    # --- what happened ---

    def condition(self) -> tuple[object, ...]:
        """The values of ``_sql._MINE``."""
        return (self._spec.uuid, self.holder, self.spill)

    def _state(self, link: Link) -> tuple[str | None, int, int, str | None]:
        statement = _sql.fill(_sql.LEASE_STATE, self._spec)
        rows = link.query(statement, (self._spec.uuid,))
        if not rows:
            raise IndexNotFoundError(
                f"The index {self._spec.name!r} was dropped by another process"
            )
        holder, spill, epoch, name = rows[0]
        return holder, spill, epoch, name

    def diagnose(self, link: Link) -> bool:
        """Why a write touched no row, or whether one went through after all.

        True: the write that ``spill`` does not count yet is in.  False: it is not,
        and may be sent again.  Raises LeaseLostError or WritesLostError.
        """
        holder, spill, _, _ = self._state(link)
        if holder != self.holder:
            raise LeaseLostError
        if spill < self.spill:
            raise WritesLostError(spill)
        return spill == self.spill + 1

    def was_released(self) -> bool:
        """After a lost connection: whether our ``release()`` went through."""
        with self.session() as link:
            holder, _, epoch, _ = self._state(link)
        if holder is None and epoch == self.epoch:
            return True
        if holder != self.holder:
            raise LeaseLostError
        return False

    def current(self) -> tuple[str | None, int]:
        """Holder and number of writes as the catalogue has them now."""
        with self.session() as link:
            holder, spill, _, _ = self._state(link)
        return holder, spill


def _holder_name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def locked_error(spec: Spec, rows: int) -> ChassisError:
    """What is raised when the lease was lost with ``rows`` rows unsent."""
    return IndexLockedError(
        f"Another process took over writing to the index {spec.name!r}: this one did "
        "not write for longer than its lease lasts, or the server was restarted. "
        f"Nothing was written; {rows} vectors are kept and will be sent by the next flush()",
        sqlstate="55P03",
    )
