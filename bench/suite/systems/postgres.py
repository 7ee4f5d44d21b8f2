"""Tables and indexes in the server: chassis, pgvector's hnsw, no index.

Why separate: the only file that knows SQL of either extension.  It times
nothing (measures/ does) but offers what can be timed.

Every statement that is timed is prepared once and takes its vector in binary,
so that neither text nor planning hides the difference.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg import pq

from ..data import Dataset, Matrix, Metric
from ..server import Server

M = 16
EF_CONSTRUCTION = 200

OPERATOR: dict[Metric, str] = {"l2": "<->", "cosine": "<=>"}
OPCLASS: dict[Metric, str] = {"l2": "vector_l2_ops", "cosine": "vector_cosine_ops"}

Connection = psycopg.Connection[tuple[object]]


@dataclass(frozen=True)
class Extension:
    """An extension with a ``vector`` type and an index access method."""

    name: str
    extension: str
    database: str
    method: str
    ef_setting: str
    max_dimensions: int


CHASSIS = Extension(
    "chassis", "chassis", "bench_chassis", "chassis", "chassis.ef_search", 16_000
)
PGVECTOR = Extension(
    "pgvector", "vector", "bench_pgvector", "hnsw", "hnsw.ef_search", 2_000
)


def vector_bytes(row: Matrix) -> bytes:
    """A vector in the binary format that both extensions receive."""
    return struct.pack(">hh", len(row), 0) + row.astype(">f4").tobytes()


def copy_blocks(base: Matrix, first: int = 0, block: int = 2000) -> Iterator[bytes]:
    """Rows (id integer, label integer, embedding vector) for COPY, in binary."""
    dimensions = base.shape[1]
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("id_length", ">i4"),
            ("id", ">i4"),
            ("label_length", ">i4"),
            ("label", ">i4"),
            ("vector_length", ">i4"),
            ("dimensions", ">i2"),
            ("unused", ">i2"),
            ("elements", ">f4", (dimensions,)),
        ]
    )
    yield b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
    for start in range(0, len(base), block):
        piece = base[start : start + block]
        rows = np.zeros(len(piece), row)
        rows["fields"] = 3
        rows["id_length"] = rows["label_length"] = 4
        rows["id"] = np.arange(first + start, first + start + len(piece))
        rows["label"] = rows["id"] % 1000
        rows["vector_length"] = 4 + 4 * dimensions
        rows["dimensions"] = dimensions
        rows["elements"] = piece
        yield rows.tobytes()
    yield struct.pack(">h", -1)


@dataclass
class Table:
    """One table of vectors in one database, and its index."""

    server: Server
    extension: Extension
    dataset: Dataset
    suffix: str = ""

    @property
    def name(self) -> str:
        """The table's name."""
        return self.dataset.key + self.suffix

    @property
    def index(self) -> str:
        """The vector index's name."""
        return f"{self.name}_embedding_idx"

    def connect(self) -> Connection:
        """A connection to the table's database."""
        return self.server.connect(self.extension.database)

    def exists(self, connection: Connection, name: str | None = None) -> bool:
        """Whether the table (or the relation named) is there."""
        row = connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL", (name or self.name,)
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def load(self, connection: Connection, rows: int | None = None) -> None:
        """Creates the table with its first rows, unless it is there."""
        if self.exists(connection):
            return
        kept = self.dataset.base[:rows]
        partial = f"{self.name}_partial"
        connection.execute(f"DROP TABLE IF EXISTS {partial}")
        connection.execute(
            f"CREATE TABLE {partial} (id integer NOT NULL, label integer NOT NULL,"
            f" embedding vector({self.dataset.dimensions}) NOT NULL)"
        )
        with connection.cursor().copy(
            f"COPY {partial} FROM STDIN (FORMAT binary)"
        ) as copy:
            for block in copy_blocks(kept):
                copy.write(block)
        connection.execute(
            f"ALTER TABLE {partial} ADD CONSTRAINT {self.name}_pkey PRIMARY KEY (id)"
        )
        connection.execute(f"VACUUM ANALYZE {partial}")
        connection.execute(f"ALTER TABLE {partial} RENAME TO {self.name}")

    def drop(self, connection: Connection) -> None:
        """Removes the table and its indexes."""
        connection.execute(f"DROP TABLE IF EXISTS {self.name}")

    def build(
        self,
        connection: Connection,
        processes: int = 2,
        memory: str = "2GB",
        options: str = "",
    ) -> None:
        """Builds the vector index anew with so many processes and memory."""
        connection.execute(f"DROP INDEX IF EXISTS {self.index}")
        connection.execute(f"SET maintenance_work_mem = '{memory}'")
        connection.execute(f"SET max_parallel_maintenance_workers = {processes - 1}")
        # Neither extension's own estimate may decide against the workers.
        connection.execute(f"ALTER TABLE {self.name} SET (parallel_workers = 4)")
        connection.execute(
            f"CREATE INDEX {self.index} ON {self.name}"
            f" USING {self.extension.method} (embedding {OPCLASS[self.dataset.metric]})"
            f" WITH (m = {M}, ef_construction = {EF_CONSTRUCTION}{options})"
        )

    def index_bytes(self, connection: Connection) -> int:
        """Bytes of the vector index."""
        row = connection.execute("SELECT pg_relation_size(%s)", (self.index,))
        return int(str((row.fetchone() or (0,))[0]))

    def index_pages(self, connection: Connection) -> dict[str, int]:
        """Bytes of the vector index by kind of page, where the method says."""
        if self.extension is not CHASSIS:
            return {"all": self.index_bytes(connection)}
        rows: Sequence[tuple[Any, ...]] = connection.execute(
            "SELECT * FROM chassis_index_info(%s::regclass)", (self.index,)
        ).fetchall()
        return {
            name.removeprefix("bytes_"): int(value)
            for name, value in rows
            if name.startswith("bytes_") and name != "bytes_total"
        }


class Searcher:
    """Prepared nearest-neighbour queries on one connection."""

    def __init__(self, table: Table, k: int = 10, method: str = "index") -> None:
        """``method`` is index, exact (no index is used) or lookup (by key)."""
        self.table = table
        self.name = table.extension.name if method == "index" else method
        self.connection = table.connect()
        self.pid = self.connection.pgconn.backend_pid
        self._queries: list[bytes] = []
        self._method = method
        statement = self.sentence(table, k)
        if method == "lookup":
            statement = f"SELECT id FROM {table.name} WHERE id = $1"
        self.connection.execute(
            "SET enable_seqscan = " + ("on" if method == "exact" else "off")
        )
        if method == "exact":
            self.connection.execute("SET enable_indexscan = off")
            self.connection.execute("SET max_parallel_workers_per_gather = 0")
        self._raw = self.connection.pgconn
        self._check(self._raw.prepare(b"q", statement.encode()))
        self.statement = statement

    @staticmethod
    def sentence(table: Table, k: int) -> str:
        """The query for the ``k`` nearest rows of the vector ``$1``."""
        operator = OPERATOR[table.dataset.metric]
        return f"SELECT id FROM {table.name} ORDER BY embedding {operator} $1 LIMIT {k}"

    @staticmethod
    def _check(result: pq.abc.PGresult) -> pq.abc.PGresult:
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise RuntimeError(result.error_message.decode(errors="replace"))
        return result

    def set_queries(self, queries: Matrix) -> None:
        """What is looked for, turned into parameters before any clock runs."""
        if self._method == "lookup":
            rows = self.table.dataset.rows
            keys = np.random.default_rng(1).integers(0, rows, len(queries))
            self._queries = [struct.pack(">i", key) for key in keys]
        else:
            self._queries = [vector_bytes(q) for q in queries]

    def set_ef(self, ef: int) -> None:
        """The number of candidates that a search keeps."""
        if self._method == "index":
            self.connection.execute(f"SET {self.table.extension.ef_setting} = {ef}")

    def run(self, i: int) -> pq.abc.PGresult:
        """Executes query ``i``; this call is what is timed."""
        return self._raw.exec_prepared(b"q", [self._queries[i]], [1], 1)

    def ids(self, result: pq.abc.PGresult) -> list[int]:
        """The row ids of a result; raises what the server raised."""
        self._check(result)
        return [
            struct.unpack(">i", result.get_value(row, 0) or b"")[0]
            for row in range(result.ntuples)
        ]

    def uses_index(self) -> bool:
        """Whether the plan of the prepared statement scans the vector index."""
        lines = self.connection.execute(
            f"EXPLAIN EXECUTE q('{self._text(0)}')"
        ).fetchall()
        return any(self.table.index in str(line[0]) for line in lines)

    def buffers(self, numbers: Sequence[int]) -> float:
        """Mean buffer accesses of the given queries, hits and reads."""
        total = 0
        for i in numbers:
            row = self.connection.execute(
                "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
                f" EXECUTE q('{self._text(i)}')"
            ).fetchone()
            assert row is not None
            plan = row[0][0]["Plan"]  # type: ignore[index]
            total += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return total / len(numbers)

    def _text(self, i: int) -> str:
        vector = np.frombuffer(self._queries[i], ">f4", offset=4)
        return "[" + ",".join(repr(float(x)) for x in vector) + "]"

    def close(self) -> None:
        """Ends the connection."""
        self.connection.close()
