"""Reading rows by id, in order, and in numbers.

It knows an index's table, catalogue row and connections; searching is _search's.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from . import _build, _sql, _wire
from ._catalog import Spec
from ._connect import Source
from ._link import Link
from .exceptions import ChassisError, IndexNotFoundError
from .options import Ids, IndexOptions, Vectors
from .results import IndexStats

__all__: list[str] = []

# COPY BINARY begins with this many bytes, and ends with a row of -1 fields.
_COPY_HEADER = 19

_GONE = "The index {!r} was dropped"

SIZES = sql.SQL(
    "SELECT pg_catalog.pg_table_size({relation}::regclass),"
    " pg_catalog.pg_indexes_size({relation}::regclass),"
    " pg_catalog.current_setting('server_version')"
)
WRITER = sql.SQL(
    "SELECT next_id, CASE WHEN lease_until > pg_catalog.clock_timestamp()"
    " THEN holder_name END, created_at, flushed_at, epoch"
    " FROM {catalog} WHERE uuid = %s::uuid"
)


class Snapshot:
    """All rows as they were at one moment, to be read once, in blocks.

    ``count`` is exact; ``next_id`` is what the next id would have been, None for an
    attached table.  Iteration gives ids, vectors, and metadata as JSON text.
    """

    def __init__(
        self, link: Link, spec: Spec, count: int, next_id: int | None, block_rows: int
    ) -> None:
        self.count = count
        self.next_id = next_id
        self._link = link
        self._spec = spec
        self._block_rows = block_rows

    def __iter__(self) -> Iterator[tuple[Ids, Vectors, list[str | None]]]:
        reader = _wire.RowReader(self._spec.dimensions)
        statement = _sql.fill(_sql.COPY_OUT, self._spec)
        waiting: list[bytes] = []
        read = 0
        with self._link.cursor() as cursor, cursor.copy(statement) as copy:
            for row in _copied_rows(copy):
                waiting.append(row)
                if len(waiting) == self._block_rows:
                    read += len(waiting)
                    yield reader.decode(waiting)
                    waiting = []
        if waiting:
            read += len(waiting)
            yield reader.decode(waiting)
        if read != self.count:
            raise ChassisError(
                f"The table changed from {self.count} to {read} rows while it was "
                "read: on a borrowed connection use REPEATABLE READ"
            )


def _copied_rows(copy: psycopg.Copy) -> Iterator[bytes]:
    """The rows without header and trailer; the server sends one per message."""
    first = True
    for data in copy:
        row = bytes(data)
        if first:
            row, first = row[_COPY_HEADER:], False
        if row and row != _wire.COPY_TRAILER:
            yield row


class Rows:
    """Reads the rows of one index."""

    def __init__(self, source: Source, spec: Spec) -> None:
        self._source = source
        self._spec = spec
        # What others see under row-level security is no business of ours, and an
        # attached table has no row in the catalogue.
        self._counts_rows = spec.attached or spec.row_security
        template = _sql.COUNT_ROWS if self._counts_rows else _sql.COUNT_KEPT
        self._count_statement = _sql.compiled(template, spec)
        self._get_statement = _sql.compiled(_sql.GET, spec)

    def _run(self, statement: bytes, *values: bytes) -> psycopg.pq.abc.PGresult:
        """A frequent statement; on a borrowed connection in its transaction."""

        def action(link: Link) -> psycopg.pq.abc.PGresult:
            if self._source.borrowed:
                _begin(link)
            return link.run(statement, values)

        return self._source.read(action, "read the index")

    def _query(self, template: sql.SQL, *values: Any) -> list[Any]:
        statement = _sql.fill(template, self._spec)
        return self._source.read(
            lambda link: link.query(statement, values), "read the index"
        )

    def count(self) -> int:
        """How many rows there are, by the catalogue's count."""
        values = [] if self._counts_rows else [uuid.UUID(self._spec.uuid).bytes]
        result = self._run(self._count_statement, *values)
        wire = result.get_value(0, 0) if result.ntuples else None
        if wire is None:
            raise IndexNotFoundError(_GONE.format(self._spec.name))
        count: int = struct.unpack(">q", wire)[0]
        return count

    def count_exactly(self) -> int:
        """How many rows there are, one by one."""
        return int(self._query(_sql.COUNT_ROWS)[0][0])

    def contains(self, id: int) -> bool:
        return bool(self._query(_sql.CONTAINS, id))

    def get_many(self, ids: Ids) -> Vectors:
        """The vectors in the order of ``ids``; KeyError names what is missing."""
        distinct, inverse = np.unique(ids, return_inverse=True)
        found = np.empty((len(distinct), self._spec.dimensions), np.float32)
        seen = np.zeros(len(distinct), bool)
        for start in range(0, len(distinct), 4096):
            part = distinct[start : start + 4096]
            result = self._run(self._get_statement, _wire.encode_int8s(part))
            for row in range(result.ntuples):
                id_, vector = result.get_value(row, 0), result.get_value(row, 1)
                assert id_ is not None
                assert vector is not None
                place = np.searchsorted(distinct, struct.unpack(">q", id_)[0])
                found[place] = _wire.decode_vector(vector)
                seen[place] = True
        if not seen.all():
            missing = distinct[~seen].tolist()
            raise KeyError(missing[0] if len(missing) == 1 else tuple(missing[:10]))
        result_: Vectors = found[inverse.reshape(-1)]
        return result_

    def metadata(self, id: int) -> dict[str, Any] | None:
        """A row's metadata; KeyError if there is no such row."""
        rows = self._query(_sql.GET_METADATA, id)
        if not rows:
            raise KeyError(id)
        return _wire.decode_metadata(rows[0][0])

    @contextlib.contextmanager
    def snapshot(self, block_rows: int) -> Iterator[Snapshot]:
        """One consistent view; on a borrowed connection that of its transaction."""
        source = self._source
        with source.reading("read the index") as link:
            if source.borrowed:
                yield self._snapshot(link, block_rows)
                return
            with link.connection.transaction():
                link.execute(_sql.SNAPSHOT)
                yield self._snapshot(link, block_rows)

    def _snapshot(self, link: Link, block_rows: int) -> Snapshot:
        spec = self._spec
        count = int(link.query(_sql.fill(_sql.COUNT_ROWS, spec))[0][0])
        next_id = None
        if not spec.attached:
            rows = link.query(_sql.fill(_sql.NEXT_ID, spec), (spec.uuid,))
            free = link.query(_sql.fill(_sql.NEXT_FREE, spec))[0][0]
            next_id = max(int(rows[0][0]) if rows else 0, int(free))
        return Snapshot(link, spec, count, next_id, block_rows)

    def stats(
        self, path: Path, options: IndexOptions, buffered: int, exact: bool
    ) -> IndexStats:
        """What there is to know without reading the rows, unless ``exact``."""
        spec = self._spec
        count = self.count_exactly() if exact else self.count()
        relation = sql.Literal(spec.qualified_name)
        sizes = SIZES.format(relation=relation)

        def action(link: Link) -> tuple[Any, ...]:
            row = (None, None, None, None, 0)
            if not spec.attached:
                found = link.query(_sql.fill(WRITER, spec), (spec.uuid,))
                row = found[0] if found else row
            return (
                *link.query(sizes)[0],
                row,
                _build.find_graph(link, spec),
                _build.describe(link, spec),
            )

        table, indexes, version, row, graph, details = self._source.read(
            action, "read the state of the index"
        )
        next_id, writer, created, flushed, epoch = row
        return IndexStats(
            name=spec.name,
            engine=spec.engine.name,
            engine_version=spec.engine.version,
            server_version=version,
            table=spec.qualified_name,
            dimensions=spec.dimensions,
            metric=spec.metric,
            options=options,
            count=count + buffered,
            buffered=buffered,
            next_id=next_id,
            sql_index=graph.name if graph else None,
            indexed=bool(graph and graph.valid),
            table_size=table,
            index_size=indexes,
            writer=writer,
            details={
                "path": str(path),
                "created_at": created,
                "flushed_at": flushed,
                "epoch": epoch,
                **details,
            },
        )


def _begin(link: Link) -> None:
    """Lets a borrowed connection begin its transaction as psycopg would."""
    if not link.connection.autocommit and link.idle:
        link.connection.execute("SELECT 1")
