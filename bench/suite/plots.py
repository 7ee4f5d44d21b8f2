"""Pictures of a run: recall against latency, build, growth.

Why separate: the only file that imports matplotlib.  It reads what the steps
returned and writes ``recall``, ``build`` and ``growth`` as SVG and PNG.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from .measures.latency import at_recall

Results = dict[str, Any]

# One colour a system in every picture; readable in print and by most people
# who see colours differently (Okabe and Ito 2008).
COLOUR = {
    "chassis": "#0072B2",
    "pgvector": "#D55E00",
    "hnswlib": "#009E73",
    "faiss": "#CC79A7",
    "usearch": "#8C8C8C",
}


def _ticks(axis: Any) -> None:
    """A logarithmic scale with ticks at 1, 2 and 5 of each power of ten."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")


def _save(figure: Figure, folder: Path, name: str, about: Results) -> None:
    """Writes a figure twice, with machine and date below it."""
    machine = about["machine"]
    figure.text(
        0.5,
        0.005,
        f"{about['date']}, {machine['cores']} cores of {machine['processor']},"
        f" m = {about['m']}, ef_construction = {about['ef_construction']}",
        ha="center",
        fontsize=7,
        color="#666666",
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    # Without a date, so that the same figures give the same file.
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    figure.savefig(folder / f"{name}.png", dpi=130)
    plt.close(figure)


def _recall(folder: Path, about: Results, results: Results) -> None:
    """Median latency against recall@10, one panel a data set."""
    parts = {
        name.removeprefix("latency "): value
        for name, value in results.items()
        if name.startswith("latency ") and value["k"] == 10
    }
    if not parts:
        return
    wide = min(2, len(parts))
    high = -(-len(parts) // wide)
    figure, axes = plt.subplots(
        high, wide, figsize=(5.2 * wide, 3.7 * high), squeeze=False
    )
    for axis in axes.flat[len(parts) :]:
        axis.set_visible(False)
    for axis, (name, part) in zip(axes.flat, parts.items(), strict=False):
        for system, colour in COLOUR.items():
            curve = sorted(
                (r["recall"], r["median_us"] / 1000)
                for r in part["curve"]
                if r["system"] == system
            )
            if curve:
                in_server = system in ("chassis", "pgvector")
                axis.plot(
                    *zip(*curve, strict=True),
                    marker="o",
                    markersize=3.5,
                    linestyle="-" if in_server else "--",
                    linewidth=1.8 if in_server else 1.2,
                    color=colour,
                    label=system if in_server else f"{system} (in process)",
                )
        # Misses, not hits: 0.99 to 0.999 is as far as 0.9 to 0.99.
        axis.set_xscale("function", functions=(_misses, _hits))
        axis.set_xlim(0.6, 0.9995)
        axis.set_xticks(ticks := [0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.998])
        axis.set_xticklabels([str(t) for t in ticks], fontsize=8)
        axis.minorticks_off()
        _ticks(axis)
        axis.set_title(f"{name}: {part['rows']:,} x {part['dimensions']}", fontsize=10)
        axis.set_xlabel("recall@10")
        axis.set_ylabel("median, ms a query")
        axis.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.flat[0].legend(fontsize=8, frameon=False)
    _save(figure, folder, "recall", about)


def _misses(recall: Any) -> Any:
    import numpy as np

    return -np.log10(np.maximum(1 - np.asarray(recall, float), 1e-5))


def _hits(position: Any) -> Any:
    import numpy as np

    return 1 - 10 ** -np.asarray(position, float)


def _build(folder: Path, about: Results, results: Results) -> None:
    """Seconds and bytes of every build, bars side by side."""
    parts = {
        name.removeprefix("build "): value["built"]
        for name, value in results.items()
        if name.startswith("build ") and isinstance(value, dict)
    }
    if not parts:
        return
    systems = [
        s
        for s in COLOUR
        if any(b["system"] == s for built in parts.values() for b in built)
    ]
    figure, axes = plt.subplots(1, 2, figsize=(10.4, 3.6))
    for axis, key, unit, label in (
        (axes[0], "seconds", 1, "build with 2 processes, seconds"),
        (axes[1], "bytes", 1e6, "index, MB"),
    ):
        width = 0.8 / len(systems)
        for place, system in enumerate(systems):
            heights = []
            for built in parts.values():
                found = next((b[key] for b in built if b["system"] == system), 0)
                heights.append(found / unit)
            bars = axis.bar(
                [x + place * width for x in range(len(parts))],
                heights,
                width * 0.94,
                color=COLOUR[system],
                label=system,
            )
            axis.bar_label(bars, fmt="{:.0f}", fontsize=7)
        centre = (len(systems) - 1) * width / 2
        axis.set_xticks(
            [x + centre for x in range(len(parts))], list(parts), fontsize=8
        )
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, frameon=False)
    _save(figure, folder, "build", about)


def _growth(folder: Path, about: Results, results: Results) -> None:
    """Latency at equal recall, and build time, against the number of rows."""
    sizes = [
        size
        for name, part in results.items()
        if name.startswith("growth ")
        for size in part
    ]
    if not sizes:
        return
    figure, axes = plt.subplots(1, 2, figsize=(10.4, 3.6))
    for system in ("chassis", "pgvector"):
        for recall, style in ((0.95, "-"), (0.99, ":")):
            line = [
                (size["rows"] / 1000, cost / 1000)
                for size in sizes
                if (cost := at_recall(size["curve"], system, recall, "median_us"))
            ]
            if line:
                axes[0].plot(
                    *zip(*sorted(line), strict=True),
                    style,
                    marker="o",
                    markersize=3.5,
                    color=COLOUR[system],
                    label=f"{system}, recall {recall}",
                )
        line = [
            (size["rows"] / 1000, b["seconds"])
            for size in sizes
            for b in size["built"]
            if b["system"] == system
        ]
        if line:
            axes[1].plot(
                *zip(*sorted(line), strict=True),
                marker="o",
                markersize=3.5,
                color=COLOUR[system],
                label=system,
            )
    for axis, label in zip(
        axes, ("median, ms a query", "build with 2 processes, seconds"), strict=True
    ):
        axis.set_xscale("log")
        ticks = sorted({size["rows"] // 1000 for size in sizes})
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.minorticks_off()
        _ticks(axis)
        axis.set_xlabel("thousand rows")
        axis.set_ylabel(label)
        axis.grid(True, color="#dddddd", linewidth=0.6)
        axis.legend(fontsize=8, frameon=False)
    _save(figure, folder, "growth", about)


def draw(folder: Path, about: Results, results: Results) -> None:
    """Every picture for which there are results."""
    plt.rcParams["svg.hashsalt"] = "chassis"
    plt.rcParams["svg.fonttype"] = "none"
    _recall(folder, about, results)
    _build(folder, about, results)
    _growth(folder, about, results)
