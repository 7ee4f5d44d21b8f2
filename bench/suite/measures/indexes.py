"""Build time, index size and what a build leaves, index by index.

Why separate: other measures need an index and ask here for it; how long it
took is remembered in the index's comment, so that a resumed run, or a later
one with the same sources, does not build it again.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..data import Dataset
from ..server import Server, wait_until_idle
from ..systems.postgres import Extension, Table

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Versions:
    """Fingerprint of the sources that each extension was built from."""

    by_extension: dict[str, str]
    date: str
    fresh: bool


def ensure(
    server: Server,
    extension: Extension,
    dataset: Dataset,
    versions: Versions,
    progress: Progress,
    processes: int = 2,
) -> dict[str, Any]:
    """The table with its index, and how the index was made.

    Returns ``seconds`` of the build, ``at`` (date), ``bytes`` and ``pages``.
    """
    table = Table(server, extension, dataset)
    connection = table.connect()
    progress(f"{extension.name}: loading {dataset.key}")
    table.load(connection)
    made_by = versions.by_extension[extension.name]
    row = connection.execute(
        "SELECT obj_description(to_regclass(%s), 'pg_class')", (table.index,)
    ).fetchone()
    record = json.loads(str(row[0])) if row and row[0] else None
    if versions.fresh and record and record["at"] < versions.date:
        record = None
    if record is None or record["made_by"] != made_by:
        progress(f"{extension.name}: indexing {dataset.key}, {processes} processes")
        wait_until_idle(connection)
        start = time.perf_counter()
        table.build(connection, processes)
        record = {
            "made_by": made_by,
            "seconds": time.perf_counter() - start,
            "processes": processes,
            "at": time.strftime("%Y-%m-%d %H:%M"),
        }
        text = json.dumps(record).replace("'", "''")
        connection.execute(f"COMMENT ON INDEX {table.index} IS '{text}'")
        connection.execute(f"VACUUM {table.name}")
        wait_until_idle(connection)
    record["bytes"] = table.index_bytes(connection)
    record["pages"] = table.index_pages(connection)
    record["table_bytes"] = _table_bytes(table)
    connection.close()
    return {"system": extension.name, **record}


def _table_bytes(table: Table) -> int:
    """Bytes of the table without its indexes, TOAST included."""
    with table.connect() as connection:
        row = connection.execute("SELECT pg_table_size(%s)", (table.name,)).fetchone()
    assert row is not None
    return int(str(row[0]))


def variants(
    server: Server,
    extension: Extension,
    dataset: Dataset,
    progress: Progress,
    limits: dict[str, str],
) -> list[dict[str, Any]]:
    """Build times with 1 and 2 processes in memory, then within each limit.

    ``limits`` maps a label to a maintenance_work_mem; those builds use 2
    processes.  The table is one of its own.
    """
    table = Table(server, extension, dataset, suffix="_variants")
    connection = table.connect()
    table.load(connection)
    found = []
    settings = [("in memory", 1, "2GB"), ("in memory", 2, "2GB")]
    settings += [(label, 2, memory) for label, memory in limits.items()]
    for label, processes, memory in settings:
        progress(f"{extension.name}: indexing {dataset.key}, {processes}, {memory}")
        wait_until_idle(connection)
        start = time.perf_counter()
        table.build(connection, processes, memory)
        found.append(
            {
                "system": extension.name,
                "data": dataset.name,
                "rows": dataset.rows,
                "memory": label,
                "maintenance_work_mem": memory,
                "processes": processes,
                "seconds": time.perf_counter() - start,
            }
        )
    table.drop(connection)
    connection.close()
    return found


def graph_bytes(built: dict[str, Any]) -> int:
    """Bytes of a chassis index's graph pages, upper levels included."""
    pages = built["pages"]
    return int(pages.get("graph", 0)) + int(pages.get("upper", 0))
