"""Many clients, cold caches, small buffers and memory.

Why separate: the measures about a server under conditions, on indexes that
measures/indexes.py made, at the setting at which each system reaches the same
recall.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .. import clients
from ..data import Dataset
from ..server import Server, private_bytes
from ..systems.postgres import Extension, Searcher, Table, vector_bytes

Progress = Callable[[str], None]


def throughput(
    server: Server,
    dataset: Dataset,
    efs: dict[Extension, int],
    seconds: float,
    progress: Progress,
    counts: Sequence[int] = (1, 2, 8),
) -> list[dict[str, Any]]:
    """Queries a second of 1, 2 and 8 clients, systems in turn."""
    parameters: list[tuple[bytes, ...]]
    parameters = [(vector_bytes(q),) for q in dataset.queries]
    found = []
    for count in counts:
        for extension, ef in efs.items():
            progress(f"{extension.name}: {count} clients")
            table = Table(server, extension, dataset)
            work = clients.Work(
                conninfo=f"host={server.socket} user=bench"
                f" dbname={extension.database}",
                settings=(
                    "SET enable_seqscan = off",
                    f"SET {extension.ef_setting} = {ef}",
                ),
                statement=Searcher.sentence(table, 10),
                seconds=seconds,
            )
            # Each client begins elsewhere, or all would ask the same at once.
            shares = [
                parameters[i * len(parameters) // count :]
                + parameters[: i * len(parameters) // count]
                for i in range(count)
            ]
            outcome = clients.run(work, shares)
            found.append({"system": extension.name, "ef": ef, **asdict(outcome)})
    return found


def cold(
    server: Server,
    dataset: Dataset,
    efs: dict[Extension, int],
    progress: Progress,
    queries: int = 20,
) -> list[dict[str, Any]]:
    """The first queries of a server whose files are not in memory.

    Milliseconds of the very first and the median of the first ``queries``.
    """
    found = []
    for extension, ef in efs.items():
        progress(f"{extension.name}: first queries after a cold start")
        server.restart_cold()
        searcher = Searcher(Table(server, extension, dataset))
        searcher.set_queries(dataset.queries[: queries + 1])
        searcher.set_ef(ef)
        waited = []
        for i in range(queries):
            start = time.perf_counter()
            searcher.ids(searcher.run(i))
            waited.append((time.perf_counter() - start) * 1e3)
        searcher.close()
        found.append(
            {
                "system": extension.name,
                "first_ms": waited[0],
                "median_ms": float(np.median(waited)),
            }
        )
    return found


def pressure(
    server: Server,
    dataset: Dataset,
    efs: dict[Extension, int],
    shared_buffers: str,
    progress: Progress,
    queries: int = 300,
) -> list[dict[str, Any]]:
    """Latency when the index is larger than shared_buffers.

    The operating system keeps the files in memory, so what is seen is the cost
    of the buffer manager's misses, not of a disk.  A table of the same server
    that is read by key in between shows whether searches starve the pool.
    """
    server.start(shared_buffers=shared_buffers)
    searchers = [Searcher(Table(server, e, dataset)) for e in efs]
    found = []
    for searcher, ef in zip(searchers, efs.values(), strict=True):
        progress(f"{searcher.name}: shared_buffers {shared_buffers}")
        lookup = Searcher(searcher.table, method="lookup")
        lookup.set_queries(dataset.queries[:queries])
        searcher.set_queries(dataset.queries[:queries])
        searcher.set_ef(ef)
        waited, looked = [], []
        for i in range(queries):
            start = time.perf_counter()
            searcher.run(i)
            between = time.perf_counter()
            lookup.run(i)
            waited.append((between - start) * 1e6)
            looked.append((time.perf_counter() - between) * 1e6)
        found.append(
            {
                "system": searcher.name,
                "shared_buffers": shared_buffers,
                "median_us": float(np.median(waited)),
                "p99_us": float(np.percentile(waited, 99)),
                "lookup_us": float(np.median(looked)),
            }
        )
        lookup.close()
        searcher.close()
    server.start()
    return found


def memory(
    server: Server, dataset: Dataset, extension: Extension, ef: int
) -> dict[str, Any]:
    """Private memory of a backend before and after 200 queries, in bytes."""
    searcher = Searcher(Table(server, extension, dataset))
    searcher.set_queries(dataset.queries[:200])
    searcher.set_ef(ef)
    before = private_bytes(searcher.pid)
    for i in range(200):
        searcher.run(i)
    after = private_bytes(searcher.pid)
    searcher.close()
    return {"system": extension.name, "before": before, "after": after}
