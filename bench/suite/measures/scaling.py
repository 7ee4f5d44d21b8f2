"""How cost changes with rows, with dimensions, and with near copies.

Why separate: each is a series of small data sets, each built, searched and
dropped; the other measures stay with one.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..data import Dataset
from ..server import Server, wait_until_idle
from ..systems.postgres import Extension, Searcher, Table
from . import indexes, latency

Progress = Callable[[str], None]


def growth(
    server: Server,
    datasets: Sequence[tuple[Dataset, Sequence[Extension]]],
    efs: Sequence[int],
    queries: int,
    versions: indexes.Versions,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Build and latency curve at every size, for the systems given with it."""
    found = []
    for dataset, extensions in datasets:
        built = [
            indexes.ensure(server, e, dataset, versions, progress) for e in extensions
        ]
        searchers = [Searcher(Table(server, e, dataset)) for e in extensions]
        curve = latency.measure(
            dataset, searchers, (), efs, queries=queries, progress=progress
        )
        for searcher in searchers:
            searcher.close()
        found.append({"rows": dataset.rows, "built": built, "curve": curve})
    return found


def dimensions(
    server: Server,
    datasets: Sequence[Dataset],
    extensions: Sequence[Extension],
    efs: Sequence[int],
    queries: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """The same texts in vectors of several lengths."""
    found = []
    for dataset in datasets:
        able = [e for e in extensions if dataset.dimensions <= e.max_dimensions]
        built, searchers, tables = [], [], []
        for extension in able:
            progress(f"{extension.name}: {dataset.dimensions} dimensions")
            table = Table(server, extension, dataset, suffix="_dims")
            built.append({"system": extension.name, **_build(table)})
            tables.append(table)
            searchers.append(Searcher(table))
        curve = latency.measure(
            dataset, searchers, (), efs, queries=queries, progress=progress
        )
        for searcher, table in zip(searchers, tables, strict=True):
            searcher.close()
            with table.connect() as connection:
                table.drop(connection)
        found.append({"dimensions": dataset.dimensions, "built": built, "curve": curve})
    return found


def near_duplicates(
    server: Server,
    dataset: Dataset,
    extension: Extension,
    efs: Sequence[int],
    queries: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Recall among near copies, with the default code and with none.

    ``bits = 32`` navigates by the vectors themselves: what it finds and the
    default does not was lost to the code.
    """
    found = []
    for label, options in (("default", ""), ("bits = 32", ", bits = 32")):
        progress(f"{extension.name}: near copies, {label}")
        table = Table(server, extension, dataset, suffix="_copies")
        built = _build(table, options)
        searcher = Searcher(table)
        curve = latency.measure(
            dataset, [searcher], (), efs, queries=queries, progress=progress
        )
        searcher.close()
        with table.connect() as connection:
            table.drop(connection)
        found.append({"code": label, "built": built, "curve": curve})
    return found


def _build(table: Table, options: str = "") -> dict[str, Any]:
    """Loads and indexes a table; seconds of the build, bytes of the index."""
    with table.connect() as connection:
        table.drop(connection)
        table.load(connection)
        wait_until_idle(connection)
        start = time.perf_counter()
        table.build(connection, options=options)
        seconds = time.perf_counter() - start
        wait_until_idle(connection)
        return {"seconds": seconds, "bytes": table.index_bytes(connection)}
