"""What each scale measures, as a list of named steps.

Why separate: the one place where data sets, systems, sizes and measures meet.
It runs nothing: main.py calls the steps and keeps what they return.

A step is self-contained: it makes the tables and indexes it needs if they are
not there, so a run can be stopped after any step and go on with the next.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import data
from .measures import churn, indexes, latency, load, scaling
from .server import Server
from .systems import inprocess
from .systems.postgres import CHASSIS, PGVECTOR, Extension, Searcher, Table

Progress = Callable[[str], None]
Results = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """Sizes of one scale.  ``sets`` maps a data set to its rows (None: all)."""

    name: str
    minutes: str
    sets: dict[str, int | None]
    flagship: str
    efs: tuple[int, ...]
    queries: int
    libraries: dict[str, tuple[str, ...]]
    variants: tuple[tuple[str, int | None], ...]
    memory_share: int
    churn_rows: int
    churn_inserts: int
    growth: tuple[int, ...]
    growth_pgvector: tuple[int, ...]
    dimensions: tuple[int, ...]
    folded_rows: int
    copies: int
    client_seconds: float
    pressure: str
    big_build: bool = False


EFS = (10, 20, 40, 70, 100, 160, 320, 640, 1000)
ALL_LIBRARIES = ("hnswlib", "faiss", "usearch")

SCALES = {
    "quick": Scale(
        name="quick",
        minutes="under 5",
        sets={"fashion-mnist": 10_000, "text256": 20_000},
        flagship="text256",
        efs=(10, 20, 40, 80, 160, 320),
        queries=200,
        libraries={"text256": ("hnswlib",)},
        variants=(("text256", 10_000),),
        memory_share=4,
        churn_rows=5_000,
        churn_inserts=500,
        growth=(),
        growth_pgvector=(),
        dimensions=(),
        folded_rows=5_000,
        copies=0,
        client_seconds=2,
        pressure="4MB",
    ),
    "standard": Scale(
        name="standard",
        minutes="about 25 with pgvector's indexes kept, else 35",
        sets={
            "fashion-mnist": None,
            "text256": None,
            "text384": None,
            "text768": 50_000,
        },
        flagship="text384",
        efs=EFS,
        queries=400,
        libraries={
            "fashion-mnist": ALL_LIBRARIES,
            "text256": ("hnswlib",),
            "text384": ALL_LIBRARIES,
            "text768": ("hnswlib",),
        },
        variants=(("text256", 50_000),),
        memory_share=4,
        churn_rows=20_000,
        churn_inserts=5_000,
        growth=(50_000, 200_000, 800_000),
        growth_pgvector=(50_000,),
        dimensions=(100, 256, 1024, 2000, 4096),
        folded_rows=10_000,
        copies=20_000,
        client_seconds=4,
        pressure="32MB",
    ),
    "full": Scale(
        name="full",
        minutes="hours",
        sets=dict.fromkeys(("fashion-mnist", "text256", "text384", "text768")),
        flagship="text384",
        efs=EFS,
        queries=1000,
        libraries=dict.fromkeys(
            ("fashion-mnist", "text256", "text384", "text768"), ALL_LIBRARIES
        ),
        variants=(("fashion-mnist", None), ("text256", None)),
        memory_share=4,
        churn_rows=150_000,
        churn_inserts=5_000,
        growth=(50_000, 100_000, 200_000, 400_000, 800_000),
        growth_pgvector=(50_000, 100_000, 200_000, 400_000, 800_000),
        dimensions=(100, 256, 512, 1024, 2000, 3072, 4096),
        folded_rows=20_000,
        copies=50_000,
        client_seconds=10,
        pressure="64MB",
        big_build=True,
    ),
}

TARGET_RECALLS = (0.95, 0.99)


@dataclass
class Context:
    """What every step needs."""

    server: Server
    cache: Path
    scale: Scale
    versions: indexes.Versions
    extensions: list[Extension]
    progress: Progress
    results: Results

    def dataset(self, name: str, rows: int | None = None) -> data.Dataset:
        """A data set at the scale's size, or at the size given."""
        self.progress(f"data: {name}")
        return data.load(name, self.cache, rows or self.scale.sets.get(name))

    def efs_at(self, name: str, recall: float) -> dict[Extension, int]:
        """The setting at which each system reaches a recall on a data set."""
        curve = self.results[f"latency {name}"]["curve"]
        found = {}
        for extension in self.extensions:
            ef = latency.at_recall(curve, extension.name, recall, "ef")
            found[extension] = round(ef) if ef else self.scale.efs[-1]
        return found


@dataclass(frozen=True)
class Step:
    """A named part of a run; ``run`` returns what is kept as JSON."""

    name: str
    run: Callable[[Context], Any]


def _builds(name: str) -> Callable[[Context], Any]:
    def run(c: Context) -> Any:
        dataset = c.dataset(name)
        built = [
            indexes.ensure(c.server, e, dataset, c.versions, c.progress)
            for e in c.extensions
        ]
        return {"data": dataset.title, "rows": dataset.rows, "built": built}

    return run


def _latency(name: str, k: int) -> Callable[[Context], Any]:
    def run(c: Context) -> Any:
        dataset = c.dataset(name)
        for e in c.extensions:
            indexes.ensure(c.server, e, dataset, c.versions, c.progress)
        tables = [Table(c.server, e, dataset) for e in c.extensions]
        searchers = [Searcher(table, k) for table in tables]
        libraries: list[inprocess.Library] = []
        if k == 10:
            searchers += [
                Searcher(tables[0], k, "exact"),
                Searcher(tables[0], k, "lookup"),
            ]
            for library in c.scale.libraries.get(name, ()):
                c.progress(f"{library}: {dataset.key}")
                libraries.append(inprocess.ready(library, dataset, c.cache))
        curve = latency.measure(
            dataset,
            searchers,
            libraries,
            c.scale.efs,
            k,
            c.scale.queries,
            progress=c.progress,
        )
        for searcher in searchers:
            searcher.close()
        return {
            "data": dataset.title,
            "rows": dataset.rows,
            "dimensions": dataset.dimensions,
            "k": k,
            "curve": curve,
            "library_builds": [
                {
                    "system": x.name,
                    "seconds": inprocess.build_seconds(x.name, dataset, c.cache),
                }
                for x in libraries
            ],
        }

    return run


def _load(c: Context) -> Any:
    flagship = c.scale.flagship
    dataset = c.dataset(flagship)
    efs = c.efs_at(flagship, 0.95)
    seconds = c.scale.client_seconds
    return {
        "data": dataset.title,
        "rows": dataset.rows,
        "recall": 0.95,
        "memory": [load.memory(c.server, dataset, e, ef) for e, ef in efs.items()],
        "throughput": load.throughput(c.server, dataset, efs, seconds, c.progress),
        "pressure": load.pressure(c.server, dataset, efs, c.scale.pressure, c.progress),
        "cold": load.cold(c.server, dataset, efs, c.progress),
    }


def _variants(name: str, rows: int | None) -> Callable[[Context], Any]:
    def run(c: Context) -> Any:
        dataset = c.dataset(name, rows)
        # The graph of chassis, in bytes, from the pages of an index of this
        # set: what has to fit in memory while building.
        built = indexes.ensure(c.server, CHASSIS, dataset, c.versions, c.progress)
        share = indexes.graph_bytes(built) // c.scale.memory_share // 2**20
        limits = {"a quarter of the graph": f"{max(share, 1)}MB"}
        found = []
        for e in c.extensions:
            # pgvector beyond its memory takes minutes: only where there are hours
            within = limits if e is CHASSIS or c.scale.big_build else {}
            found += indexes.variants(c.server, e, dataset, c.progress, within)
        return found

    return run


def _big_build(c: Context) -> Any:
    """800,000 rows in 64 MB: the graph is about four times as large."""
    dataset = c.dataset("mixed256", data.ROWS["mixed256"])
    return indexes.variants(c.server, CHASSIS, dataset, c.progress, {"64 MB": "64MB"})


def _churn(extension: Extension) -> Callable[[Context], Any]:
    def run(c: Context) -> Any:
        return churn.measure(
            c.server,
            extension,
            c.dataset("text256"),
            c.scale.churn_rows,
            c.scale.churn_inserts,
            progress=c.progress,
        )

    return run


def _growth(rows: int) -> Callable[[Context], Any]:
    def run(c: Context) -> Any:
        extensions = [
            e
            for e in c.extensions
            if e is not PGVECTOR or rows in c.scale.growth_pgvector
        ]
        return scaling.growth(
            c.server,
            [(c.dataset("mixed256", rows), extensions)],
            (20, 40, 100, 160, 320, 640),
            c.scale.queries,
            c.versions,
            c.progress,
        )

    return run


def _dimensions(c: Context) -> Any:
    sets = [
        data.load("folded4096", c.cache, c.scale.folded_rows, d)
        for d in c.scale.dimensions
    ]
    efs = (20, 40, 80, 160, 320)
    return scaling.dimensions(
        c.server, sets, c.extensions, efs, min(200, c.scale.queries), c.progress
    )


def _copies(c: Context) -> Any:
    dataset = c.dataset("near-duplicates", c.scale.copies)
    return scaling.near_duplicates(
        c.server, dataset, CHASSIS, (20, 50, 100, 200), 200, c.progress
    )


def steps(scale: Scale, extensions: Sequence[Extension]) -> list[Step]:
    """The steps of a scale, in the order they run."""
    found = []
    sets = [*scale.sets, *(["siftsmall"] if "SIFTSMALL" in os.environ else [])]
    for name in sets:
        found.append(Step(f"build {name}", _builds(name)))
        found.append(Step(f"latency {name}", _latency(name, 10)))
    found.append(Step(f"latency {scale.flagship} 100", _latency(scale.flagship, 100)))
    found.append(Step("load", _load))
    for extension in extensions:
        found.append(Step(f"churn {extension.name}", _churn(extension)))
    for name, rows in scale.variants:
        found.append(Step(f"variants {name}", _variants(name, rows)))
    sizes = sorted(set(scale.growth) | set(scale.growth_pgvector))
    for size in sizes:
        found.append(Step(f"growth {size}", _growth(size)))
    if scale.dimensions:
        found.append(Step("dimensions", _dimensions))
    if scale.copies:
        found.append(Step("near copies", _copies))
    if scale.big_build:
        found.append(Step("build in 64 MB", _big_build))
    return found
