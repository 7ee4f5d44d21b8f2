"""Inserts, WAL, updates of another column, deletes and vacuum.

Why separate: everything that changes a table after its index was built, in
one order, on a table of its own that is dropped afterwards.  It knows the
statements; clients.py runs them.

The table has an index on ``label`` too, so that an update of ``label`` is not
HOT and the vector index must take the new row version, as with any indexed
column of an application.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from .. import clients
from ..data import Dataset, exact_neighbours
from ..server import Server, cpu_seconds, wait_until_idle
from ..systems.postgres import Connection, Extension, Searcher, Table, vector_bytes

Progress = Callable[[str], None]

CLIENTS = (1, 2, 8)
DELETED = (0.01, 0.10, 0.50)


def _wal_position(connection: Connection) -> int:
    """The place where the next WAL record goes, in bytes."""
    row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert row is not None
    return int(str(row[0]))


def _insert(
    table: Table, count: int, first: int, number: int, source: Dataset
) -> clients.Outcome:
    """Inserts rows ``first`` and on by so many clients."""
    rows = [
        (
            struct.pack(">i", i),
            struct.pack(">i", i % 1000),
            vector_bytes(source.base[i]),
        )
        for i in range(first, first + count)
    ]
    work = clients.Work(
        conninfo=f"host={table.server.socket} user=bench"
        f" dbname={table.extension.database}",
        settings=(),
        statement=f"INSERT INTO {table.name} (id, label, embedding)"
        " VALUES ($1, $2, $3)",
        seconds=None,
    )
    return clients.run(work, [rows[i::number] for i in range(number)])


def _recall(table: Table, connection: Connection, whole: Dataset) -> float:
    """recall@10 at ef 100 of 200 queries among the rows that are left."""
    ids = np.array(
        [r[0] for r in connection.execute(f"SELECT id FROM {table.name}").fetchall()]
    )
    queries = np.asarray(whole.queries[:200])
    live = np.asarray(whole.base[ids])
    neighbours, distances = exact_neighbours(live, queries, whole.metric, 10)
    truth = replace(
        whole, queries=queries, neighbours=ids[neighbours], distances=distances
    )
    searcher = Searcher(table)
    searcher.set_queries(queries)
    searcher.set_ef(100)
    answers = [searcher.ids(searcher.run(i)) for i in range(len(queries))]
    searcher.close()
    return truth.recall(answers, 10)


def measure(
    server: Server,
    extension: Extension,
    whole: Dataset,
    rows: int,
    inserts: int,
    deleted: Sequence[float] = DELETED,
    progress: Progress = lambda text: None,
) -> dict[str, Any]:
    """Builds on ``rows`` rows of ``whole``, then changes them.

    ``inserts`` rows are added by one client (WAL is counted), then two fifths
    as many by 2 and by 8.  Seconds, bytes and milliseconds as named.
    """
    table = Table(server, extension, whole, suffix=f"_churn{rows}")
    found: dict[str, Any] = {"system": extension.name, "rows": rows}
    connection = table.connect()
    table.drop(connection)
    progress(f"{extension.name}: loading and indexing {rows:,} rows")
    table.load(connection, rows)
    connection.execute(f"CREATE INDEX {table.name}_label_idx ON {table.name} (label)")
    wait_until_idle(connection)
    start = time.perf_counter()
    table.build(connection, processes=2)
    found["build_seconds"] = time.perf_counter() - start
    found["index_bytes"] = table.index_bytes(connection)
    found["recall_built"] = _recall(table, connection, whole)

    found["inserts"] = []
    first = rows
    for number in CLIENTS:
        count = inserts if number == 1 else inserts * 2 // 5
        progress(f"{extension.name}: {count:,} inserts by {number} clients")
        wait_until_idle(connection)
        before = _wal_position(connection)
        outcome = _insert(table, count, first, number, whole)
        entry = asdict(outcome)
        entry["wal_bytes"] = (_wal_position(connection) - before) / count
        found["inserts"].append(entry)
        first += count
    found["rows_inserted"] = first - rows
    found["index_bytes_after_inserts"] = table.index_bytes(connection)
    found["recall_inserted"] = _recall(table, connection, whole)

    progress(f"{extension.name}: updates of another column")
    found["update"] = _update(table, connection, first)

    found["vacuum"] = []
    random = np.random.default_rng(1)
    order = random.permutation(first)
    gone = 0
    for share in deleted:
        progress(f"{extension.name}: vacuum after {share:.0%} deleted")
        target = int(first * share)
        connection.execute(
            f"DELETE FROM {table.name} WHERE id = ANY(%s)",
            (order[gone:target].tolist(),),
        )
        gone = target
        wait_until_idle(connection)
        pid = connection.pgconn.backend_pid
        cpu, start = cpu_seconds(pid), time.perf_counter()
        connection.execute(f"VACUUM (INDEX_CLEANUP ON, PARALLEL 0) {table.name}")
        found["vacuum"].append(
            {
                "deleted": share,
                "seconds": time.perf_counter() - start,
                "server_seconds": cpu_seconds(pid) - cpu,
                "recall": _recall(table, connection, whole),
            }
        )
    table.drop(connection)
    connection.close()
    return found


def _update(table: Table, connection: Connection, rows: int) -> dict[str, float]:
    """Updates the label of 300 rows, one statement each."""
    connection.execute(f"VACUUM {table.name}")
    wait_until_idle(connection)
    chosen = np.random.default_rng(2).choice(rows, 300, replace=False)
    parameters = [(struct.pack(">i", int(i)),) for i in chosen]
    work = clients.Work(
        conninfo=f"host={table.server.socket} user=bench"
        f" dbname={table.extension.database}",
        settings=(),
        statement=f"UPDATE {table.name} SET label = label + 1 WHERE id = $1",
        seconds=None,
    )
    before = _wal_position(connection)
    outcome = clients.run(work, [parameters])
    return {
        "median_us": outcome.median_us,
        "server_us": outcome.server_us,
        "wal_bytes": (_wal_position(connection) - before) / len(chosen),
    }
