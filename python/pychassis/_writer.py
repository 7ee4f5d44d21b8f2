"""The writer of an index that has a row in the catalogue.

All handles of a process on one index share a writer.  ``add()`` fills a buffer;
the buffer is written ("spilled") when it is full, before anything is read, a second
after its first row at the latest, and by ``flush()``.  Every write is one
transaction that also counts itself in the catalogue, so that after a lost
connection it can be told whether it went through; it is committed without waiting
for the disk.  ``flush()`` ends with a transaction that does wait, which brings all
earlier ones to disk, and gives the lease up.

What the data alone could make fail is refused before it is buffered.  A write that
fails otherwise keeps the buffer, and further adds raise the same error.

A borrowed connection is the user's: their commit decides.  What was written in
their transaction is remembered until it is seen to be committed.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
import struct
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import psycopg
from psycopg import sql

from . import _fork, _sql, _wire
from ._buffer import Buffer
from ._catalog import Spec
from ._connect import Source
from ._janitor import janitor
from ._lease import (
    ID_BLOCK,
    Lease,
    LeaseLostError,
    WritesLostError,
    locked_error,
)
from ._link import Link, Statement, Wire
from ._progress import reporter
from ._wire import Documents
from .exceptions import (
    ChassisError,
    is_lost_connection,
    is_stale_statement,
    map_error,
)
from .options import Ids, Progress, Vectors

__all__: list[str] = []

logger = logging.getLogger("pychassis.writer")

T = TypeVar("T")

# A buffered row is written at the latest after so many seconds …
LATEST_SPILL = 1.0
# … and the lease given up when nothing was written for so many.
LEASE_IDLE = 5.0

# Up to here one statement with arrays beats COPY, which needs four messages.
SMALL_ROWS = 64
SMALL_BYTES = 256 * 1024

# So many buffered numbers a search compares with by itself: about a tenth of a
# millisecond.  Writing them first would cost it one insertion into the graph each.
PEEK_ELEMENTS = 512 * 1024

# Renewed in mid-write when a write takes longer than this, in seconds.
_LONG_WRITE = 2.0


@dataclass(frozen=True)
class _Written:
    """A write that is not known to be on disk, or committed, yet."""

    spill: int
    ids: Ids


class Writer:
    """Buffer, lease and transactions of one index; see the module.

    ``pending`` is true when a read must call ``before_read()`` first.
    """

    def __init__(self, source: Source, spec: Spec, timeout: float) -> None:
        self._source = source
        self._spec = spec
        self._timeout = timeout
        self._lease = Lease(source, spec)
        self._buffer = Buffer(spec.dimensions)
        self._reset()
        _fork.register(self)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self.pending = 0
        self._first = 0.0
        self._last_write = 0.0
        self._error: ChassisError | None = None
        self._written: list[_Written] = []
        self._floor = 0
        self._refused_copy = False

    def after_fork(self) -> None:
        """The rows, the lease and the ids stay with the parent."""
        self._lease.reset()
        self._buffer.free()
        self._reset()

    # --- adding ---

    def add(self, row: Vectors) -> int:
        """Buffers a checked row and returns its id."""
        with self._lock:
            buffer, lease = self._buffer, self._lease
            count, number = buffer.count, lease.next_id
            if (
                count >= buffer.capacity
                or number >= lease.reserved
                or self._error is not None
            ):
                self._make_room()
                count, number = buffer.count, lease.next_id
            buffer.rows[count] = row
            buffer.ids[count] = number
            lease.next_id = number + 1
            self.pending = buffer.count = count + 1
            if not count:
                self._begin_waiting()
            return number

    def add_with(self, row: Vectors, id: int | None, document: bytes | None) -> int:
        """As ``add()``, with metadata or an id of the user's choice."""
        with self._lock:
            if self._buffer.count >= self._buffer.capacity or self._error is not None:
                self._make_room()
            self._ensure(1 if id is None else 0)
            if id is None:
                id = self._lease.next_id
            else:
                self._refuse_used(id)
                self._guard(lambda: self._lease.reserve(id + 1))
            self._lease.next_id = max(self._lease.next_id, id + 1)
            self._buffer.append(row, id, document)
            self.pending = self._buffer.count
            if self.pending == 1:
                self._begin_waiting()
            return id

    def _make_room(self) -> None:
        """Memory, room in it, the lease, and an id; raises what stands in the way."""
        if self._error is not None:
            raise self._error
        if self._buffer.count and self._buffer.count >= self._buffer.capacity:
            self._spill()
        self._buffer.allocate()
        self._ensure(1)

    def _begin_waiting(self) -> None:
        self._first = time.monotonic()
        if not self._source.borrowed:
            janitor.watch(self)

    def _refuse_used(self, id: int) -> None:
        # Every id ever given is below next_id.
        if id >= self._lease.next_id:
            return
        used = self._buffer.has_id(id) or self._guard(lambda: self._used([id]))
        if used:
            raise ValueError(f"id {id} is in use: choose another, or use upsert()")

    def _used(self, ids: list[int]) -> list[int]:
        """Some of ``ids`` that have rows."""
        statement = _sql.fill(_sql.USED_IDS, self._spec)
        with self._lease.session() as link:
            return [row[0] for row in link.query(statement, (ids,))]

    def add_batch(
        self,
        matrix: Vectors,
        ids: Ids | None,
        documents: Documents | None,
        batch_size: int,
        progress: Progress,
    ) -> Ids:
        """Writes checked rows at once and returns their ids."""
        with self._lock:
            self._settle()
            if not len(matrix):
                return np.empty(0, np.int64)
            fresh = ids is None
            chosen = self._new_ids(len(matrix)) if ids is None else self._claim(ids)
            done = 0
            with reporter(progress, len(matrix), "vectors") as report:
                try:
                    for done in range(0, len(matrix), batch_size):
                        part = slice(done, done + batch_size)
                        texts = None if documents is None else documents[part]
                        self._write(chosen[part], matrix[part], texts)
                        report(min(done + batch_size, len(matrix)))
                except ChassisError as error:
                    self._explain_partial(error, chosen, done, fresh)
                    raise
            return chosen

    def _new_ids(self, count: int) -> Ids:
        self._ensure(count)
        first = self._lease.next_id
        self._lease.next_id += count
        return np.arange(first, first + count)

    def _claim(self, ids: Ids) -> Ids:
        """Ids of the user's choice, refused when one has a row."""
        self._ensure(0)
        highest = int(ids.max())
        known = ids[ids < self._lease.next_id].tolist()
        used = self._guard(lambda: self._used(known)) if known else []
        if used:
            raise ValueError(
                f"ids in use: {', '.join(map(str, sorted(used)))}"
                f"{' and more' if len(used) == 10 else ''}. Choose others, or use "
                "upsert()"
            )
        self._guard(lambda: self._lease.reserve(highest + 1))
        self._lease.next_id = max(self._lease.next_id, highest + 1)
        return ids

    def _explain_partial(
        self, error: ChassisError, ids: Ids, done: int, fresh: bool
    ) -> None:
        """Says in the exception what was added before it."""
        if done:
            first, last = ids[0], ids[done - 1]
            error.args = (
                f"{error}. The first {done} of {len(ids)} vectors were added, with "
                f"ids {first} to {last}",
            )
        elif fresh and self._lease.held:
            # Nobody has seen these ids.
            self._lease.next_id -= len(ids)

    # --- changing ---

    def upsert(self, ids: Ids, matrix: Vectors, documents: Documents | None) -> None:
        """Inserts or replaces rows."""
        with self._lock:
            self._settle()
            if not len(ids):
                return
            self._ensure(0)
            highest = int(ids.max())
            self._guard(lambda: self._lease.reserve(highest + 1))
            self._lease.next_id = max(self._lease.next_id, highest + 1)
            for start in range(0, len(ids), ID_BLOCK):
                part = slice(start, start + ID_BLOCK)
                texts = None if documents is None else documents[part]
                self._upsert(ids[part], matrix[part], texts)

    def _upsert(self, ids: Ids, rows: Vectors, documents: Documents | None) -> None:
        statement = insert_statement(self._spec, documents is not None) + on_conflict(
            self._spec, documents is not None
        )
        values = arrays(self._spec, ids, rows, documents)
        existing = _sql.fill(_sql.COUNT_IDS, self._spec)

        def action(link: Link) -> tuple[int, int]:
            before = int(link.query(existing, (ids.tolist(),))[0][0])
            link.execute(statement, values)
            return 0, len(ids) - before

        self._change(action, "write vectors")

    def delete(self, ids: list[int]) -> int:
        """Deletes rows; how many there were."""
        statement = _sql.fill(_sql.DELETE, self._spec)
        with self._lock:
            self._settle()
            count = 0
            for start in range(0, len(ids), 65536):
                part = ids[start : start + 65536]
                count += self._delete(statement, [part])
            self._forget_written(ids)
            return count

    def delete_where(self, where: Mapping[str, Any]) -> int:
        """Deletes rows by metadata; how many there were."""
        from ._filters import compile_where

        condition, values = compile_where(where, sql.Identifier("metadata"))
        statement = _sql.fill(_sql.DELETE_WHERE, self._spec, condition=condition)
        with self._lock:
            self._settle()
            return self._delete(statement, values)

    def _delete(self, statement: Statement, values: list[Any]) -> int:
        def action(link: Link) -> tuple[int, int]:
            count = link.execute(statement, values)
            return count, -count

        return self._change(action, "delete vectors")

    def _forget_written(self, ids: list[int]) -> None:
        """Deleted rows are not missing."""
        if self._written:
            gone = np.array(ids, np.int64)
            self._written = [
                _Written(each.spill, np.setdiff1d(each.ids, gone))
                for each in self._written
            ]

    def set_metadata(self, id: int, document: bytes | None) -> bool:
        """Replaces a row's metadata; whether there is such a row."""
        statement = _sql.fill(_sql.SET_METADATA, self._spec)
        text = None if document is None else document.decode()
        with self._lock:
            self._settle()
            return bool(
                self._change(
                    lambda link: (link.execute(statement, (text, id)), 0),
                    "write metadata",
                )
            )

    def advance_next_id(self, next_id: int) -> None:
        """Ids go on at ``next_id`` or later."""
        with self._lock:
            self._ensure(0)
            self._guard(lambda: self._lease.reserve(next_id))
            self._lease.next_id = max(self._lease.next_id, next_id)
            self._begin_waiting()

    def discard(self) -> list[int]:
        """Empties the buffer; the ids that were in it."""
        with self._lock:
            ids: list[int] = self._buffer.contents()[0].tolist()
            self._buffer.clear()
            self.pending = 0
            self._error = None
            return ids

    # --- settling ---

    @property
    def buffered(self) -> int:
        """How many rows are in the buffer."""
        return self._buffer.count

    @property
    def unflushed(self) -> bool:
        """Whether there is anything that ``flush()`` would make durable."""
        return bool(self._buffer.count or self._written or self._lease.held)

    def peek(self) -> tuple[Ids, Vectors] | None:
        """The buffered rows, for a search to compare with by itself.

        None when they are too many for that, or when the server has to be asked
        what became of others: then ``before_read()``.
        """
        if self._source.borrowed:
            return None
        return self._buffer.lend(max(1, PEEK_ELEMENTS // self._spec.dimensions))

    def before_read(self) -> None:
        """Makes what was added visible to every connection of this process."""
        with self._lock:
            self._check_outcome()
            if self._buffer.count:
                self._spill()

    def count(self, read: Callable[[], int]) -> int:
        """``read()`` plus what is buffered, with nothing moved in between."""
        with self._lock:
            self._check_outcome()
            return read() + self._buffer.count

    def _settle(self) -> None:
        """Before a change of other kind than ``add()``: the buffer is written."""
        if self._error is not None:
            raise self._error
        self.before_read()

    def flush(self) -> None:
        """Returns when everything is on disk; gives the lease up."""
        with self._lock:
            self.before_read()
            self._source.wait_durable()
            self._release()

    def _release(self) -> None:
        if not self._lease.held:
            return
        for attempt in (1, 2, 3):
            try:
                self._lease.release()
                break
            except psycopg.Error as error:
                if not self._retry(error, attempt):
                    raise map_error(error, "flush the index") from error
                if self._guard(self._lease.was_released):
                    self._lease.forget()
                    break
            except LeaseLostError:
                self._lease.forget()
                self._check_written()
                break
            except WritesLostError as lost:
                raise self._lost(lost) from lost
        if not self._source.borrowed:
            self._written.clear()

    def tick(self, now: float) -> bool:
        """Writes rows that waited, and gives up a lease that lies idle."""
        with self._lock:
            if self._buffer.count:
                if now - self._first >= LATEST_SPILL:
                    self._spill_in_background(now)
            elif self._lease.held and now - self._last_write >= LEASE_IDLE:
                self._release()
            return bool(self._buffer.count or self._lease.held)

    def _spill_in_background(self, now: float) -> None:
        try:
            self._spill()
        except ChassisError as error:
            if self._error is None:
                logger.error("in the background: %s", error)
            self._error = error
            self._first = now

    def finish(self, *, flush: bool) -> None:
        """The last handle is closed: with ``flush`` what was added is made durable."""
        try:
            if flush:
                self._finish()
        finally:
            with self._lock:
                self._lease.forget()
                self._buffer.free()
                self.pending = 0

    def _finish(self) -> None:
        if self._source.borrowed:
            if self._buffer.count:
                logger.warning(
                    "%d vectors for %r were not flushed and are lost: their "
                    "connection is not ours to write on",
                    self._buffer.count,
                    self._spec.name,
                )
            return
        self.flush()

    # --- writing ---

    def _ensure(self, ids: int) -> None:
        """The lease, with ``ids`` ids."""
        lease = self._lease
        if lease.held and lease.reserved - lease.next_id >= ids:
            return
        if not lease.held:
            self._check_outcome()
        self._guard(lambda: lease.ensure(ids, self._timeout))
        if lease.next_id < self._floor:
            self._guard(lambda: lease.reserve(self._floor + ids))
            lease.next_id = self._floor
        self._last_write = time.monotonic()
        if not self._source.borrowed:
            janitor.watch(self)

    def _guard(self, action: Callable[[], T]) -> T:
        """Runs what only reads or may be repeated, with psycopg's errors as ours."""
        for attempt in (1, 2, 3):
            try:
                return action()
            except psycopg.Error as error:
                if not self._retry(error, attempt):
                    raise map_error(error, "write to the index") from error
            except LeaseLostError as error:
                self._lease.forget()
                raise locked_error(self._spec, self._buffer.count) from error
            except WritesLostError as lost:
                raise self._lost(lost) from lost
        raise AssertionError("unreachable")

    def _retry(self, error: psycopg.Error, attempt: int) -> bool:
        """Whether to try again, on another connection."""
        if attempt == 3 or self._source.borrowed:
            return False
        if is_stale_statement(error):
            self._source.preparing = False
            return True
        if not is_lost_connection(error):
            return False
        logger.info("lost the writing connection, connecting again")
        self._lease.lose_link()
        self._source.forget_free(error)
        return True

    def _spill(self) -> None:
        ids, rows, documents = self._buffer.contents()
        self._write(ids, rows, documents)
        self._buffer.clear()
        self.pending = len(self._written) if self._source.borrowed else 0
        self._error = None

    def _write(self, ids: Ids, rows: Vectors, documents: Documents | None) -> None:
        """Inserts rows in one transaction, exactly once."""

        def action(link: Link) -> tuple[int, int]:
            self._insert(link, ids, rows, documents)
            return len(ids), 0

        self._ensure(0)
        if len(ids) <= SMALL_ROWS and rows.nbytes <= SMALL_BYTES:
            self._exactly_once(
                lambda link: self._write_small(link, ids, rows, documents),
                f"write {len(ids)} vectors",
            )
        else:
            self._change(action, f"write {len(ids)} vectors", added=len(ids))
        self._written.append(_Written(self._lease.spill, ids.copy()))
        if self._source.borrowed:
            self.pending = max(1, self._buffer.count)

    def _write_small(
        self, link: Link, ids: Ids, rows: Vectors, documents: Documents | None
    ) -> int:
        lease = self._lease
        texts: Documents = [None] * len(ids) if documents is None else documents
        wires = (
            struct.pack(">q", len(ids)),
            uuid.UUID(self._spec.uuid).bytes,
            uuid.UUID(lease.holder).bytes,
            struct.pack(">q", lease.spill),
            _wire.encode_int8s(ids),
            _wire.encode_vectors(rows, self._spec.vector_oid),
            _wire.encode_texts(texts),
        )
        if self._source.borrowed:
            with self._source.transaction(link):
                result = link.run(self._small_statement(late=False), wires)
        else:
            result = link.run(self._small_statement(late=True), wires)
        if result.get_value(0, 0) != b"\0\0\0\0\0\0\0\1":
            return -1
        return len(ids)

    def _small_statement(self, *, late: bool) -> bytes:
        kept = self._small_statements.get(late)
        if kept is None:
            choice = _sql.LATE if late else _sql.NOT_LATE
            kept = _sql.compiled(_sql.SMALL_WRITE, self._spec, late=choice)
            self._small_statements[late] = kept
        return kept

    @property
    def _small_statements(self) -> dict[bool, bytes]:
        made: dict[bool, bytes] = self.__dict__.setdefault("_small", {})
        return made

    def _change(
        self,
        action: Callable[[Link], tuple[int, int]],
        doing: str,
        added: int = 0,
    ) -> int:
        """Runs ``action`` in a transaction under the lease, exactly once.

        It returns what the caller gets, and by how much the number of rows changed
        beyond ``added``.
        """
        self._ensure(0)

        def send(link: Link) -> int:
            lease, spec = self._lease, self._spec
            with self._source.transaction(link):
                if not self._source.borrowed:
                    link.query(_sql.LATE_COMMIT)
                begin = _sql.fill(_sql.BEGIN_WRITE, spec)
                if not link.execute(begin, (added, *lease.condition())):
                    return -1
                begun = time.monotonic()
                result, delta = action(link)
                if delta:
                    count = _sql.fill(_sql.ADD_COUNT, spec)
                    link.execute(count, (delta, spec.uuid))
                if time.monotonic() - begun > _LONG_WRITE:
                    link.execute(_sql.fill(_sql.RENEW, spec), (spec.uuid,))
            return result

        return self._exactly_once(send, doing)

    def _exactly_once(self, send: Callable[[Link], int], doing: str) -> int:
        """Runs a write that counts itself; asks the count when in doubt.

        ``send`` returns -1 when it touched no row of the catalogue.
        """
        result = -1
        for attempt in (1, 2, 3):
            try:
                with self._lease.session() as link:
                    result = send(link)
                if result >= 0:
                    break
                if self._went_through():
                    break
            except psycopg.Error as error:
                if self._source.mend(error) or self._refuses_copy(error):
                    continue
                if not self._retry(error, attempt):
                    raise map_error(error, doing) from error
                if is_lost_connection(error) and self._went_through():
                    break
        else:
            raise ChassisError(f"Could not {doing}: the connection is lost repeatedly")
        self._lease.spill += 1
        self._last_write = time.monotonic()
        return max(result, 0)

    def _went_through(self) -> bool:
        """Whether the write in doubt is in; raises when the lease or more is lost."""

        def ask() -> bool:
            with self._lease.session() as link:
                return self._lease.diagnose(link)

        return self._guard(ask)

    def _insert(
        self, link: Link, ids: Ids, rows: Vectors, documents: Documents | None
    ) -> None:
        """COPY, or INSERT where row-level security refuses COPY."""
        if self._refused_copy:
            statement = insert_statement(self._spec, documents is not None)
            link.execute(statement, arrays(self._spec, ids, rows, documents))
            return
        statement = _sql.fill(
            _sql.COPY_IN, self._spec, columns=_columns(self._spec, documents)
        )
        link.copy_in(statement, _wire.copy_blocks(ids, rows, documents))

    def _refuses_copy(self, error: psycopg.Error) -> bool:
        if self._refused_copy or error.sqlstate != "0A000":
            return False
        self._refused_copy = True
        return True

    # --- what became of it ---

    def _lost(self, lost: WritesLostError) -> ChassisError:
        """The server crashed: rows written and not flushed are gone."""
        gone = [each.ids for each in self._written if each.spill > lost.kept]
        ids = np.concatenate(gone) if gone else np.empty(0, np.int64)
        self._written = [each for each in self._written if each.spill <= lost.kept]
        self._lease.spill = lost.kept
        return ChassisError(
            f"The server crashed and lost {_describe(ids)} of the index "
            f"{self._spec.name!r}, which were added and not flushed. Add them again; "
            "what was flushed is there"
        )

    def _check_written(self) -> None:
        """The lease was lost: whether our writes are there, row by row."""
        written, self._written = self._written, []
        gone = self._missing(written)
        if len(gone):
            raise ChassisError(
                f"The server crashed and lost {_describe(gone)} of the index "
                f"{self._spec.name!r}, which were added and not flushed. Add them again"
            )

    def _missing(self, written: list[_Written]) -> Ids:
        """The ids of writes of which the last row is not there."""
        gone = []
        for each in written:
            if len(each.ids):
                last = int(each.ids[-1])
                if not self._guard(partial(self._used, [last])):
                    gone.append(each.ids)
        return np.concatenate(gone) if gone else np.empty(0, np.int64)

    def _check_outcome(self) -> None:
        """On a borrowed connection: whether the user committed or rolled back."""
        if not self._source.borrowed or not self._written:
            return
        with self._lease.session() as link:
            over = link.idle
        holder, spill = self._guard(self._lease.current)
        last = self._written[-1].spill
        mine = holder == self._lease.holder if self._lease.held else holder is None
        gone = np.empty(0, np.int64)
        if not (mine and spill >= last):
            gone = self._missing(self._written)
            self._after_rollback(holder, spill)
        if over or len(gone):
            self._written = []
            self.pending = self._buffer.count
        if len(gone):
            raise ChassisError(
                f"The transaction on the borrowed connection was rolled back, and with "
                f"it {_describe(gone)} of the index {self._spec.name!r}. Add them again "
                "if they are wanted"
            )

    def _after_rollback(self, holder: str | None, spill: int) -> None:
        """What the rollback undid of the lease."""
        lease = self._lease
        self._floor = max(self._floor, lease.next_id)
        if lease.held and holder == lease.holder:
            lease.spill = spill
        else:
            lease.forget()


def _describe(ids: Ids) -> str:
    """Ids for a message, shortened."""
    if len(ids) <= 10:
        return f"the vectors with ids {', '.join(map(str, ids.tolist()))}"
    return f"{len(ids)} vectors with ids {ids.min()} to {ids.max()}"


def _columns(spec: Spec, documents: object, *, with_id: bool = True) -> sql.Composed:
    names = [spec.id_column, spec.vector_column] if with_id else [spec.vector_column]
    if documents is not None and spec.metadata_column is not None:
        names.append(spec.metadata_column)
    return sql.SQL(", ").join(map(sql.Identifier, names))


_ID, _VECTOR, _DOCUMENT = sql.SQL("u.i"), sql.SQL("u.v"), sql.SQL("u.m::jsonb")


def insert_statement(
    spec: Spec, with_documents: bool, *, with_id: bool = True
) -> sql.Composed:
    """INSERT … SELECT from arrays of ids, vectors and documents."""
    values = [_ID, _VECTOR] if with_id else [_VECTOR]
    if with_documents:
        values.append(_DOCUMENT)
    documents: Documents | None = [] if with_documents else None
    return _sql.fill(
        _sql.INSERT,
        spec,
        columns=_columns(spec, documents, with_id=with_id),
        values=sql.SQL(", ").join(values),
    )


def on_conflict(spec: Spec, with_documents: bool) -> sql.Composed:
    """The clause that makes an INSERT an upsert."""
    clause = _sql.fill(_sql.ON_CONFLICT, spec)
    if with_documents:
        clause += _sql.fill(_sql.AND_METADATA, spec)
    return clause


def arrays(
    spec: Spec, ids: Ids, rows: Vectors, documents: Documents | None
) -> tuple[Wire, Wire, Wire]:
    """The parameters of ``insert_statement()``."""
    texts: Documents = [None] * len(ids) if documents is None else documents
    return (
        Wire(_wire.encode_int8s(ids)),
        Wire(_wire.encode_vectors(rows, spec.vector_oid)),
        Wire(_wire.encode_texts(texts)),
    )
