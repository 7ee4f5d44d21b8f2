"""The dated JSON and the tables of a run.

Why separate: everything that turns results into words and numbers for a
reader.  It measures nothing and reads only what the steps returned, so a
report can be written again from its JSON.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import plots
from .host import STOLEN
from .measures.latency import at_recall

Results = dict[str, Any]
RECALLS = (0.95, 0.99)
OURS, THEIRS = "chassis", "pgvector"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    """Three figures, and no more decimals than they need."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _us(value: float | None) -> str:
    """Microseconds in the unit that suits."""
    if value is None:
        return "–"
    return f"{_number(value / 1000)} ms" if value >= 1000 else f"{value:.0f} µs"


def _mb(value: float | None) -> str:
    return "–" if value is None else f"{_number(value / 1e6)} MB"


def _ratio(theirs: float | None, ours: float | None) -> str:
    return f"{theirs / ours:.1f}x" if theirs and ours else "–"


def _of(rows: Iterable[Results], system: str) -> Results | None:
    return next((r for r in rows if r["system"] == system), None)


def _latencies(results: Results) -> dict[str, Results]:
    return {
        name.removeprefix("latency "): value
        for name, value in results.items()
        if name.startswith("latency ") and value["k"] == 10
    }


def _where(part: Results) -> str:
    return f"{part['rows']:,} x {part['dimensions']}"


# --- the sections --------------------------------------------------------


def _headline(results: Results) -> str:
    """What a reader asks first: ours, theirs, the ratio."""
    rows: list[tuple[str, ...]] = []
    for name, part in _latencies(results).items():
        for recall in RECALLS:
            ours, theirs = (
                at_recall(part["curve"], s, recall, "median_us") for s in (OURS, THEIRS)
            )
            rows.append(
                (
                    f"query, recall {recall}",
                    f"{name}, {_where(part)}",
                    _us(ours),
                    _us(theirs),
                    _ratio(theirs, ours),
                )
            )
    for name, part in results.items():
        if name.startswith("build ") and isinstance(part, dict):
            ours_, theirs_ = (_of(part["built"], s) for s in (OURS, THEIRS))
            if ours_ and theirs_:
                a, b = ours_["seconds"], theirs_["seconds"]
                where = f"{name.removeprefix('build ')}, {part['rows']:,} rows"
                rows.append(
                    (
                        "build, 2 processes",
                        where,
                        f"{a:.1f} s",
                        f"{b:.1f} s",
                        _ratio(b, a),
                    )
                )
                a, b = ours_["bytes"], theirs_["bytes"]
                rows.append(("index size", where, _mb(a), _mb(b), _ratio(b, a)))
    ours_, theirs_ = results.get(f"churn {OURS}"), results.get(f"churn {THEIRS}")
    if ours_ and theirs_:
        rows += _headline_churn(ours_, theirs_)
    return _table(("figure", "data", OURS, THEIRS, "ratio"), rows)


def _headline_churn(ours: Results, theirs: Results) -> list[tuple[str, ...]]:
    where = f"text256, {ours['rows']:,} rows"
    a, b = ours["inserts"][0], theirs["inserts"][0]
    rows: list[tuple[str, ...]] = [
        (
            "inserts a second, 1 client",
            where,
            _number(a["per_second"]),
            _number(b["per_second"]),
            _ratio(a["per_second"], b["per_second"]),
        ),
        (
            "WAL bytes an inserted row",
            where,
            _number(a["wal_bytes"]),
            _number(b["wal_bytes"]),
            _ratio(b["wal_bytes"], a["wal_bytes"]),
        ),
        (
            "update of another column",
            where,
            _us(ours["update"]["median_us"]),
            _us(theirs["update"]["median_us"]),
            _ratio(theirs["update"]["median_us"], ours["update"]["median_us"]),
        ),
    ]
    for v, w in zip(ours["vacuum"], theirs["vacuum"], strict=False):
        rows.append(
            (
                f"vacuum after {v['deleted']:.0%} deletes",
                where,
                f"{v['seconds']:.2f} s",
                f"{w['seconds']:.2f} s",
                _ratio(w["seconds"], v["seconds"]),
            )
        )
    return rows


def _curves(results: Results) -> str:
    parts = []
    for name, part in results.items():
        if not name.startswith("latency "):
            continue
        parts.append(f"### {part['data']}: {_where(part)}, {part['k']} nearest\n")
        rows = [
            (
                r["system"],
                r["ef"] or "–",
                f"{r['recall']:.4f}",
                _us(r["median_us"]),
                _us(r["p99_us"]),
                _us(r["server_us"]),
                _number(r["buffers"]),
            )
            for r in sorted(part["curve"], key=lambda r: (r["system"], r["ef"]))
        ]
        head = ("system", "ef", "recall", "median", "p99", "server CPU", "buffers")
        parts.append(_table(head, rows))
        systems = sorted({r["system"] for r in part["curve"]} - {"exact", "lookup"})
        key = _of(part["curve"], "lookup")
        equal = []
        for recall in RECALLS:
            ours = at_recall(part["curve"], OURS, recall, "median_us")
            for system in systems:
                median, server, ef, buffers = (
                    at_recall(part["curve"], system, recall, f)
                    for f in ("median_us", "server_us", "ef", "buffers")
                )
                looks = median / key["median_us"] if median and key else None
                equal.append(
                    (
                        recall,
                        system,
                        _number(ef),
                        _us(median),
                        _us(server),
                        _number(buffers),
                        _number(looks),
                        _ratio(median, ours),
                    )
                )
        names = ("at recall", "system", "ef", "median", "server CPU", "buffers")
        extra = ("key look-ups", f"against {OURS}")
        parts.append(_table((*names, *extra), equal))
    return "\n".join(parts)


def _builds(results: Results) -> str:
    rows: list[tuple[object, ...]] = []
    for name, part in results.items():
        if not name.startswith("build ") or not isinstance(part, dict):
            continue
        for b in part["built"]:
            kinds = ", ".join(f"{k} {_mb(v)}" for k, v in b["pages"].items() if v)
            rows.append(
                (
                    name.removeprefix("build "),
                    f"{part['rows']:,}",
                    b["system"],
                    f"{b['seconds']:.1f} s",
                    b["processes"],
                    _mb(b["bytes"]),
                    _mb(b["table_bytes"]),
                    kinds,
                    b["at"],
                )
            )
        libraries = results.get(f"latency {name.removeprefix('build ')}", {})
        for b in libraries.get("library_builds", ()):
            rows.append(
                (name.removeprefix("build "), f"{part['rows']:,}", b["system"])
                + (
                    f"{b['seconds']:.1f} s CPU",
                    "2 threads",
                    "–",
                    "–",
                    "in process",
                    "–",
                )
            )
    head = ("data", "rows", "system", "build", "processes", "index", "table")
    return _table((*head, "of which pages", "measured"), rows)


def _variants(results: Results) -> str:
    rows = [
        (
            v["data"],
            f"{v['rows']:,}",
            v["system"],
            v["processes"],
            f"{v['memory']} ({v['maintenance_work_mem']})",
            f"{v['seconds']:.1f} s",
        )
        for name, part in results.items()
        if name.startswith("variants ") or name == "build in 64 MB"
        for v in part
    ]
    head = ("data", "rows", "system", "processes", "memory", "build")
    return _table(head, rows) if rows else ""


def _loads(results: Results) -> str:
    part = results.get("load")
    if not part:
        return ""
    text = (
        f"{part['data']}, {part['rows']:,} rows, each at recall {part['recall']}.\n\n"
    )
    rows: list[tuple[object, ...]] = [
        (
            t["system"],
            t["ef"],
            t["clients"],
            _number(t["per_second"]),
            _us(t["server_us"]),
            _us(t["median_us"]),
            _us(t["p99_us"]),
        )
        for t in part["throughput"]
    ]
    head = ("system", "ef", "clients", "queries/s", "server CPU a query")
    text += _table((*head, "median", "p99"), rows)
    rows = []
    for m in part["memory"]:
        cold, small = _of(part["cold"], m["system"]), _of(part["pressure"], m["system"])
        assert cold and small
        rows.append(
            (
                m["system"],
                _number(cold["first_ms"]) + " ms",
                _number(cold["median_ms"]) + " ms",
                f"{_us(small['median_us'])} ({small['shared_buffers']})",
                _us(small["lookup_us"]),
                _mb(m["before"]),
                _mb(m["after"]),
            )
        )
    names = ("system", "first query, cold", "median of 20, cold", "small buffers")
    extra = ("key look-up beside", "backend before", "after 200 queries")
    return text + "\n" + _table((*names, *extra), rows)


def _churns(results: Results) -> str:
    text = ""
    for name, c in results.items():
        if not name.startswith("churn "):
            continue
        text += (
            f"### {c['system']}: {c['rows']:,} rows of text256, built in"
            f" {c['build_seconds']:.1f} s\n\n"
        )
        rows: list[tuple[object, ...]] = [
            (
                f"{i['statements']:,} inserts, clients: {i['clients']}",
                f"{_number(i['per_second'])}/s",
                _us(i["server_us"]),
                f"{i['wal_bytes']:,.0f} B/row",
                "–",
            )
            for i in c["inserts"]
        ]
        rows.append(
            (
                "update of another column",
                _us(c["update"]["median_us"]),
                _us(c["update"]["server_us"]),
                f"{c['update']['wal_bytes']:,.0f} B/row",
                "–",
            )
        )
        for v in c["vacuum"]:
            share = v["seconds"] / c["build_seconds"]
            rows.append(
                (
                    f"vacuum, {v['deleted']:.0%} deleted",
                    f"{v['seconds']:.2f} s ({share:.0%} of a build)",
                    f"{v['server_seconds']:.2f} s",
                    "–",
                    f"{v['recall']:.4f}",
                )
            )
        text += _table(("change", "speed", "server CPU", "WAL", "recall after"), rows)
        text += (
            f"\nIndex {_mb(c['index_bytes'])} when built (recall"
            f" {c['recall_built']:.4f} at ef 100), {_mb(c['index_bytes_after_inserts'])}"
            f" with {c['rows_inserted']:,} more rows (recall"
            f" {c['recall_inserted']:.4f}).\n\n"
        )
    return text


def _growth(results: Results) -> str:
    rows: list[tuple[object, ...]] = []
    for name, part in results.items():
        if not name.startswith("growth "):
            continue
        for size in part:
            for b in size["built"]:
                cost = [
                    _us(at_recall(size["curve"], b["system"], r, "median_us"))
                    for r in RECALLS
                ]
                pins = at_recall(size["curve"], b["system"], 0.95, "buffers")
                rows.append(
                    (f"{size['rows']:,}", b["system"], f"{b['seconds']:.1f} s")
                    + (_mb(b["bytes"]), *cost, _number(pins))
                )
    head = ("rows", "system", "build", "index", "at 0.95", "at 0.99", "buffers at 0.95")
    return _table(head, rows) if rows else ""


def _dimensions(results: Results) -> str:
    rows: list[tuple[object, ...]] = []
    for size in results.get("dimensions", ()):
        for b in size["built"]:
            cost = [
                _us(at_recall(size["curve"], b["system"], r, "median_us"))
                for r in RECALLS
            ]
            rows.append(
                (size["dimensions"], b["system"], f"{b['seconds']:.1f} s")
                + (_mb(b["bytes"]), *cost)
            )
    head = ("dimensions", "system", "build", "index", "at 0.95", "at 0.99")
    return _table(head, rows) if rows else ""


def _copies(results: Results) -> str:
    rows = [
        (p["code"], r["ef"], f"{r['recall']:.4f}", _us(r["median_us"]))
        for p in results.get("near copies", ())
        for r in p["curve"]
    ]
    return _table(("code", "ef", "recall", "median"), rows) if rows else ""


SECTIONS = (
    ("At a glance", _headline),
    ("Recall against latency", _curves),
    ("Build and size", _builds),
    ("Build by processes and memory", _variants),
    ("Clients, cold start, small buffers, memory", _loads),
    ("Inserts, updates, vacuum", _churns),
    ("Growth", _growth),
    ("Dimensions", _dimensions),
    ("Near copies", _copies),
)


def _stolen(shares: dict[str, float]) -> str:
    """Which steps a virtual machine's host took processor time from."""
    named = [f"{name} {share:.0%}" for name, share in shares.items() if share >= STOLEN]
    if not named:
        return ""
    return (
        "\nThe host of this virtual machine kept processor time to itself in these"
        " steps, whose figures are worse for it (of queries less than the share says:"
        f" those are measured again): {', '.join(named)}.\n"
    )


def markdown(about: Results, results: Results) -> str:
    """The whole report."""
    machine, settings = about["machine"], about["settings"]
    named = ("shared_buffers", "max_wal_size", "fsync", "autovacuum")
    text = (
        f"# Benchmark, {about['date']}, scale {about['scale']}\n\n"
        f"`make bench SCALE={about['scale']}` at {about['commit']}, in"
        f" {about['minutes']} minutes, on {machine['cores']} cores of"
        f" {machine['processor']}, {machine['memory_gib']} GiB, load"
        f" {machine['load_at_start']} before; {about['server'].split(',')[0]}."
        f" m = {about['m']}, ef_construction = {about['ef_construction']};"
        f" {', '.join(f'{n} = {settings[n]}' for n in named)}."
        " What each row means: [bench/README.md](../README.md).\n"
    )
    text += _stolen(about.get("stolen", {}))
    for title, section in SECTIONS:
        body = section(results)
        if body:
            text += f"\n## {title}\n\n{body}"
    return text


def write(folder: Path, about: Results, results: Results) -> Path:
    """Writes JSON, tables and plots; returns the path of the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{about['date']}-{about['scale']}"
    content = {"about": about, "results": results}
    (folder / f"{stem}.json").write_text(json.dumps(content, indent=1) + "\n")
    path = folder / f"{stem}.md"
    path.write_text(markdown(about, results))
    plots.draw(folder, about, results)
    return path
