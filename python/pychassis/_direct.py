"""The writer for tables without a catalogue row of our own to keep.

An attached table belongs to somebody else; and a role that may insert rows but not
update the catalogue cannot hold a lease.  Here nothing is buffered: every call is a
transaction, and what returned is written.  Ids go on after the highest; inserts of
this kind exclude each other by an advisory lock for their transaction, and wait
while another process holds the lease.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import psycopg
from psycopg import sql

from . import _sql
from ._catalog import LOCK_WRITE, Spec, lock_key
from ._connect import Source, pauses
from ._link import Link
from ._progress import reporter
from ._wire import Documents
from ._writer import arrays, insert_statement, on_conflict
from .exceptions import ChassisError, IndexLockedError, map_error
from .options import Ids, Progress, Vectors

__all__: list[str] = []

T = TypeVar("T")


class DirectWriter:
    """Writes each call at once; has the methods of ``Writer``."""

    pending = 0
    buffered = 0
    unflushed = False

    def __init__(self, source: Source, spec: Spec, timeout: float) -> None:
        self._source = source
        self._spec = spec
        self._timeout = timeout
        self._key = lock_key(spec.uuid or f"{spec.relation}")

    # --- adding ---

    def add(self, row: Vectors) -> int:
        return self.add_with(row, None, None)

    def add_with(self, row: Vectors, id: int | None, document: bytes | None) -> int:
        ids = None if id is None else np.array([id], np.int64)
        documents: Documents | None = None if document is None else [document]
        return int(self._insert(row.reshape(1, -1), ids, documents)[0])

    def add_batch(
        self,
        matrix: Vectors,
        ids: Ids | None,
        documents: Documents | None,
        batch_size: int,
        progress: Progress,
    ) -> Ids:
        parts = [np.empty(0, np.int64)]
        with reporter(progress, len(matrix), "vectors") as report:
            for start in range(0, len(matrix), batch_size):
                part = slice(start, start + batch_size)
                parts.append(
                    self._insert(
                        matrix[part],
                        None if ids is None else ids[part],
                        None if documents is None else documents[part],
                    )
                )
                report(min(start + batch_size, len(matrix)))
        return np.concatenate(parts)

    def _insert(
        self, rows: Vectors, ids: Ids | None, documents: Documents | None
    ) -> Ids:
        spec = self._spec
        self._need_metadata_column(documents)
        by_default = ids is None and spec.id_default

        def action(link: Link) -> Ids:
            chosen = ids
            if chosen is None:
                first = 0 if by_default else self._next_id(link)
                chosen = np.arange(first, first + len(rows))
            statement = insert_statement(
                spec, documents is not None, with_id=not by_default
            )
            statement += _sql.fill(_sql.RETURNING_ID, spec)
            made = link.query(statement, arrays(spec, chosen, rows, documents))
            return np.array([row[0] for row in made], np.int64)

        try:
            return self._alone(action, f"write {len(rows)} vectors")
        except ChassisError as error:
            if error.sqlstate == "23505" and ids is not None:
                raise ValueError(
                    "an id is in use: choose others, or use upsert()"
                ) from error
            raise

    def _next_id(self, link: Link) -> int:
        spec = self._spec
        free = int(link.query(_sql.fill(_sql.NEXT_FREE, spec))[0][0])
        if spec.attached:
            return free
        kept = link.query(_sql.fill(_sql.NEXT_ID, spec), (spec.uuid,))
        return max(free, int(kept[0][0]))

    def _need_metadata_column(self, documents: object) -> None:
        if documents is not None and self._spec.metadata_column is None:
            raise ValueError(
                "the attached table has no metadata column: name it with "
                "metadata_column="
            )

    # --- changing ---

    def upsert(self, ids: Ids, matrix: Vectors, documents: Documents | None) -> None:
        self._need_metadata_column(documents)
        with_documents = documents is not None
        statement = insert_statement(self._spec, with_documents)
        statement += on_conflict(self._spec, with_documents)
        values = arrays(self._spec, ids, matrix, documents)
        self._alone(lambda link: link.execute(statement, values), "write vectors")

    def delete(self, ids: list[int]) -> int:
        statement = _sql.fill(_sql.DELETE, self._spec)
        return self._alone(lambda link: link.execute(statement, [ids]), "delete")

    def delete_where(self, where: Mapping[str, Any]) -> int:
        from ._filters import compile_where

        self._need_metadata_column(where)
        column = sql.Identifier(self._spec.metadata_column or "")
        condition, values = compile_where(where, column)
        statement = _sql.fill(_sql.DELETE_WHERE, self._spec, condition=condition)
        return self._alone(lambda link: link.execute(statement, values), "delete")

    def set_metadata(self, id: int, document: bytes | None) -> bool:
        self._need_metadata_column(True)
        statement = _sql.fill(_sql.SET_METADATA, self._spec)
        text = None if document is None else document.decode()
        return bool(
            self._alone(lambda link: link.execute(statement, (text, id)), "write")
        )

    def advance_next_id(self, next_id: int) -> None:
        """Ids are taken from the rows; there is nothing to move."""

    # --- what has nothing to do here ---

    def discard(self) -> list[int]:
        return []

    def peek(self) -> None:
        """Nothing is ever buffered."""

    def before_read(self) -> None:
        """Nothing is ever buffered."""

    def count(self, read: Callable[[], int]) -> int:
        return read()

    def flush(self) -> None:
        """What returned is written."""

    def finish(self, *, flush: bool) -> None:
        """What returned is written."""

    # --- how ---

    def _alone(self, action: Callable[[Link], T], doing: str) -> T:
        """Runs ``action`` in a transaction while nobody else gives out ids.

        Not repeated after a lost connection: whether it went through cannot be
        told without a count of our own.
        """
        link = self._source.take()
        try:
            for _ in pauses(max(self._timeout, 0.001)):
                with self._source.transaction(link):
                    if self._free(link):
                        return action(link)
        except psycopg.Error as error:
            raise map_error(error, doing) from error
        finally:
            self._source.give(link)
        raise IndexLockedError(
            f"The index {self._spec.name!r} is being written by another process, which "
            f"did not finish within {self._timeout:g} s. Close or flush it there, or "
            "wait longer with timeout=",
            sqlstate="55P03",
        )

    def _free(self, link: Link) -> bool:
        spec = self._spec
        if not link.query(_sql.TRY_LOCK, (LOCK_WRITE, self._key))[0][0]:
            return False
        if spec.attached:
            return True
        rows = link.query(_sql.fill(_sql.LEASE_FREE, spec), (spec.uuid,))
        return bool(rows) and bool(rows[0][1])
