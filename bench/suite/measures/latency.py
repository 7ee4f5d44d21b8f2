"""Recall against latency, systems taking turns.

Why separate: the one measure that mixes systems of the server with libraries
of this process.  It knows queries and clocks, not SQL.

Turns: every system runs a block of 100 queries, then the next system runs the
same block, and so on round.  Whatever else the machine does falls on all
alike, so that ratios hold where absolute figures do not.  A block begins with
the processor's caches full of another system's data, which no server finds
that does one thing; so blocks are long enough for that to be a small part.  Where
a virtual machine's host kept processor time to itself meanwhile, the turns are
taken again, and those that it disturbed least count.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..data import Dataset
from ..host import STOLEN, watch_host
from ..server import cpu_seconds
from ..systems.inprocess import Library
from ..systems.postgres import Searcher

BLOCK = 100
ATTEMPTS = 3
WARM = 100
"""Queries that are run first and not counted."""


@dataclass
class Contender:
    """One system at one setting, while it is measured."""

    name: str
    ef: int
    run: Callable[[int], Any]
    ids: Callable[[Any], Sequence[int]]
    prepare: Callable[[], None]
    pid: int | None = None
    queries: int = 1000
    answers: list[Sequence[int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0


@dataclass(frozen=True)
class Point:
    """One system at one setting: what a query cost and found.

    Times in microseconds; ``server_us`` is processor time of the backend.
    """

    system: str
    ef: int
    k: int
    recall: float
    median_us: float
    mean_us: float
    p99_us: float
    server_us: float | None
    buffers: float | None = None


def from_searcher(searcher: Searcher, ef: int, queries: int) -> Contender:
    """A contender that asks the server."""
    return Contender(
        searcher.name,
        ef,
        searcher.run,
        searcher.ids,
        lambda: searcher.set_ef(ef),
        searcher.pid,
        queries,
    )


def from_library(
    library: Library, dataset: Dataset, ef: int, k: int, queries: int
) -> Contender:
    """A contender in this process."""
    vectors = np.ascontiguousarray(dataset.queries)
    return Contender(
        library.name,
        ef,
        lambda i: library.search(vectors[i], k),
        lambda found: [int(x) for x in found],
        lambda: library.set_ef(ef),
        None,
        queries,
    )


def take_quiet_turns(make: Callable[[], list[Contender]]) -> list[Contender]:
    """Turns of the contenders that ``make`` makes, taken again while the host of
    a virtual machine disturbs them: those that it disturbed least."""
    best: tuple[float, list[Contender]] | None = None
    for _ in range(ATTEMPTS):
        contenders = make()
        share = watch_host()
        take_turns(contenders)
        stolen = share()
        if best is None or stolen < best[0]:
            best = stolen, contenders
        if stolen < STOLEN:
            break
    assert best is not None
    return best[1]


def take_turns(contenders: Sequence[Contender]) -> None:
    """Runs every contender's queries, a block of each in turn."""
    most = max(c.queries for c in contenders)
    for c in contenders:
        c.prepare()
        for i in range(min(WARM, c.queries)):
            c.run(i)
    clock = time.perf_counter
    for start in range(0, most, BLOCK):
        for c in contenders:
            if start >= c.queries:
                continue
            c.prepare()
            stop = min(start + BLOCK, c.queries)
            before = cpu_seconds(c.pid) if c.pid else 0.0
            results = []
            for i in range(start, stop):
                t = clock()
                result = c.run(i)
                c.seconds.append(clock() - t)
                results.append(result)
            if c.pid:
                c.cpu += cpu_seconds(c.pid) - before
            c.answers.extend(c.ids(r) for r in results)


def points(contenders: Sequence[Contender], dataset: Dataset, k: int) -> list[Point]:
    """What the turns found."""
    found = []
    for c in contenders:
        us = np.array(c.seconds) * 1e6
        found.append(
            Point(
                system=c.name,
                ef=c.ef,
                k=k,
                recall=dataset.recall(c.answers, k) if c.name != "lookup" else 1.0,
                median_us=float(np.median(us)),
                mean_us=float(us.mean()),
                p99_us=float(np.percentile(us, 99)),
                server_us=c.cpu / len(us) * 1e6 if c.pid else None,
            )
        )
    return found


def measure(
    dataset: Dataset,
    searchers: Sequence[Searcher],
    libraries: Sequence[Library],
    efs: Sequence[int],
    k: int = 10,
    queries: int = 1000,
    buffer_queries: int = 50,
    progress: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Every system at every setting; those without one once.

    Buffer accesses are counted apart, as counting slows a query.
    """
    found: list[dict[str, Any]] = []
    queries = min(queries, len(dataset.queries))
    for s in searchers:
        s.set_queries(dataset.queries)
        s.set_ef(max(efs[0], k))
        if s.name in ("exact", "lookup"):
            continue
        if not s.uses_index():
            raise RuntimeError(f"{s.name} does not use its index")
        # An index of an earlier run is not in memory yet: without this the first
        # settings were slower than later ones, which do more.
        progress(f"{dataset.name}: warming {s.name}")
        s.set_ef(max(*efs, k))
        for i in range(queries):
            s.run(i)
    floors = [s for s in searchers if s.name in ("exact", "lookup")]
    graphs = [s for s in searchers if s not in floors]
    rounds: list[tuple[str, Callable[[], list[Contender]]]] = []
    if floors:
        rounds.append(("exact", lambda: _make_floors(floors, queries)))
    for ef in (e for e in efs if e >= k):

        def make(ef: int = ef) -> list[Contender]:
            return [from_searcher(s, ef, queries) for s in graphs] + [
                from_library(x, dataset, ef, k, queries) for x in libraries
            ]

        rounds.append((f"ef {ef}", make))
    for name, contenders in rounds:
        progress(f"{dataset.name}: {name}, {k} nearest")
        for point in points(take_quiet_turns(contenders), dataset, k):
            entry = asdict(point)
            searcher = next((s for s in graphs if s.name == point.system), None)
            if searcher:
                entry["buffers"] = searcher.buffers(range(buffer_queries))
            found.append(entry)
    return found


def _make_floors(floors: Sequence[Searcher], queries: int) -> list[Contender]:
    """Those that have no setting; of the exact scan a few queries are enough."""
    return [from_searcher(s, 0, 25 if s.name == "exact" else queries) for s in floors]


def _frontier(rows: Sequence[dict[str, Any]], system: str) -> list[dict[str, Any]]:
    """A system's settings in the order of recall, without those nobody would use:
    where another one finds as much in less time."""
    points = sorted(
        (r for r in rows if r["system"] == system), key=lambda r: r["recall"]
    )
    kept: list[dict[str, Any]] = []
    for point in reversed(points):
        if not kept or point["median_us"] < kept[-1]["median_us"]:
            kept.append(point)
    return kept[::-1]


def at_recall(
    rows: Sequence[dict[str, Any]], system: str, recall: float, figure: str
) -> float | None:
    """A figure of a system interpolated to a recall; None outside its curve.

    Straight lines between neighbouring settings in the plane of the logarithms
    of the miss rate (1 - recall) and of the figure, where curves of graph
    searches are nearly straight.
    """
    curve = [
        (r["recall"], r[figure])
        for r in _frontier(rows, system)
        if r.get(figure) is not None
    ]
    for (r0, f0), (r1, f1) in itertools.pairwise(curve):
        if r0 <= recall <= r1:
            if r1 == r0:
                return float(min(f0, f1))
            x0, x1 = (math.log(max(1 - r, 1e-5)) for r in (r0, r1))
            share = (math.log(1 - recall) - x0) / (x1 - x0) if x1 != x0 else 0.0
            return math.exp(math.log(f0) * (1 - share) + math.log(f1) * share)
    if curve and recall <= curve[0][0]:
        # even the smallest setting finds more: its cost is an upper bound
        return float(curve[0][1])
    return None
