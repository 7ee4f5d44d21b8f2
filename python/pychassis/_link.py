"""One connection, and the ways statements are sent over it.

Statements that run often are sent in binary and prepared, past psycopg's cursors,
which would cost as much as a search in a small index.  All others go through a
cursor.  This module knows psycopg and nothing of indexes or of where connections
come from.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any, Union

import psycopg
from psycopg import pq, sql
from psycopg.adapt import Buffer, Dumper
from psycopg.rows import tuple_row

__all__: list[str] = []

_numbers = itertools.count()
_BINARY = pq.Format.BINARY
_TUPLES_OK = pq.ExecStatus.TUPLES_OK
_COMMAND_OK = pq.ExecStatus.COMMAND_OK
_IDLE = pq.TransactionStatus.IDLE

# A program that searches with very many different k would fill the server's
# memory with statements; beyond this the oldest are forgotten.
MAX_PREPARED = 256

Row = tuple[Any, ...]
Statement = Union[sql.SQL, sql.Composed]


class Wire(bytes):
    """A value in its type's binary format; the statement casts the parameter."""


class _WireDumper(Dumper):
    format = _BINARY

    def dump(self, obj: Any) -> Buffer | None:
        return bytes(obj)


class Link:
    """A connection with its prepared statements; one thread at a time uses it.

    ``direct``: the session is the server's own, so advisory locks of the session
    and prepared statements last; behind a pooler they do not.
    """

    __slots__ = (
        "connection",
        "direct",
        "exec_prepared",
        "pgconn",
        "prepared",
        "preparing",
        "used",
    )

    def __init__(
        self, connection: psycopg.Connection[Any], *, direct: bool, preparing: bool
    ) -> None:
        self.connection = connection
        self.pgconn = connection.pgconn
        self.exec_prepared = connection.pgconn.exec_prepared
        self.direct = direct
        self.preparing = preparing
        self.prepared: dict[bytes, bytes] = {}
        self.used = time.monotonic()

    @property
    def broken(self) -> bool:
        """Whether the connection is gone."""
        return self.connection.closed or self.pgconn.status != pq.ConnStatus.OK

    def run(self, statement: bytes, parameters: Sequence[bytes]) -> pq.abc.PGresult:
        """A frequent statement with binary parameters; its result is binary.

        Raises psycopg's error for the SQLSTATE.  Must not be used on a connection
        that somebody else's transaction may be open on.
        """
        # lists: psycopg[binary] takes nothing else before version 3.3
        values = list(parameters)
        formats = [1] * len(values)
        if self.preparing:
            name = self.prepared.get(statement) or self._prepare(statement)
            result = self.exec_prepared(name, values, formats, 1)
        else:
            result = self.pgconn.exec_params(statement, values, None, formats, 1)
        if result.status != _TUPLES_OK:
            self.check(result)
        return result

    def _prepare(self, statement: bytes) -> bytes:
        if len(self.prepared) >= MAX_PREPARED:
            oldest = next(iter(self.prepared))
            name = self.prepared.pop(oldest)
            self.check(self.pgconn.exec_(b"DEALLOCATE " + name))
        name = b"_pychassis_%d" % next(_numbers)
        self.check(self.pgconn.prepare(name, statement))
        self.prepared[statement] = name
        return name

    def check(self, result: pq.abc.PGresult) -> None:
        """Raises what the server reported, if anything."""
        if result.status in (_TUPLES_OK, _COMMAND_OK):
            return
        encoding = self.connection.info.encoding
        error: psycopg.Error
        error = psycopg.errors.error_from_result(result, encoding=encoding)
        if error.sqlstate is None and self.pgconn.status != pq.ConnStatus.OK:
            # libpq's own words, which psycopg cannot tell from a server's error.
            raise psycopg.OperationalError(str(error)) from error
        if error.sqlstate in ("26000", "42P05"):
            # A pooler moved us to a session that has other statements.
            self.preparing = False
            self.prepared.clear()
        raise error

    def cursor(self, *, binary: bool = False) -> psycopg.Cursor[Row]:
        """A cursor that takes ``Wire`` parameters."""
        cursor: psycopg.Cursor[Row] = self.connection.cursor(
            row_factory=tuple_row, binary=binary
        )
        cursor.adapters.register_dumper(Wire, _WireDumper)
        return cursor

    def query(self, statement: Statement, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of a statement that runs seldom."""
        with self.cursor() as cursor:
            self._execute(cursor, statement, parameters)
            return cursor.fetchall()

    def execute(self, statement: Statement, parameters: Sequence[Any] = ()) -> int:
        """How many rows the statement touched."""
        with self.cursor() as cursor:
            self._execute(cursor, statement, parameters)
            return cursor.rowcount

    @staticmethod
    def _execute(
        cursor: psycopg.Cursor[Row], statement: Statement, values: Sequence[Any]
    ) -> None:
        # Without parameters the simple protocol is used, and % stands for itself.
        cursor.execute(statement, values or None, prepare=False)

    def copy_in(self, statement: Statement, blocks: Iterator[bytes]) -> None:
        """COPY … FROM STDIN."""
        with self.cursor() as cursor, cursor.copy(statement) as copy:
            for block in blocks:
                copy.write(block)

    @property
    def idle(self) -> bool:
        """Whether no transaction is open on the connection."""
        return self.pgconn.transaction_status == _IDLE

    def close(self) -> None:
        """Closes the connection; errors while doing so mean nothing."""
        try:
            self.connection.close()
        except psycopg.Error:
            pass
