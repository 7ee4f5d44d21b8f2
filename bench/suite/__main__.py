"""Runs the benchmark suite: ``python -m suite``, through bench/run.sh.

Why separate: the command line, the order of steps and what is kept between
runs.  It measures nothing itself.

Results of finished steps are kept in the work directory after each step, and
thrown away when the report is written or the sources have changed; a run that
was stopped goes on with its next step.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import plan, report
from .host import watch_host
from .measures.indexes import Versions
from .server import SETTINGS, Server
from .systems.postgres import CHASSIS, EF_CONSTRUCTION, PGVECTOR, M


def _fingerprint(work: Path, name: str) -> str:
    path = work / f"{name}.built"
    return path.read_text().strip() if path.exists() else "none"


def _suite_fingerprint() -> str:
    """Changes with the suite: its figures are then no longer comparable."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.name not in ("report.py", "plots.py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _machine() -> dict[str, Any]:
    """The processor's name, cores and memory, as a table must name them."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


class Kept:
    """Results of finished steps, in a file that is replaced after each."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "key": key,
            "started": time.strftime("%Y-%m-%d %H:%M"),
            "seconds": {},
            "stolen": {},
            "results": {},
        }
        if path.exists():
            old = json.loads(path.read_text())
            if old["key"] == key:
                self.content = old

    @property
    def results(self) -> dict[str, Any]:
        """What the steps returned, by name."""
        return self.content["results"]  # type: ignore[no-any-return]

    def add(self, name: str, result: Any, seconds: float, stolen: float) -> None:
        """Keeps the result of a step that took so many seconds.

        stolen: the share of processor time that the host kept meanwhile.
        """
        # through JSON, so that a resumed run sees what a straight one does
        self.results[name] = json.loads(json.dumps(result))
        self.content["seconds"][name] = round(seconds, 1)
        self.content["stolen"][name] = round(stolen, 3)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content))
        partial.rename(self.path)


def _run(arguments: argparse.Namespace, server: Server) -> None:
    work: Path = arguments.directory
    machine = _machine()
    server.start()
    made_by = {e.name: _fingerprint(work, e.name) for e in (CHASSIS, PGVECTOR)}
    scale = plan.SCALES[arguments.scale]
    key = json.dumps({**made_by, "suite": _suite_fingerprint()})
    kept = Kept(work / f"kept-{scale.name}.json", key)
    versions = Versions(made_by, kept.content["started"], bool(os.environ.get("FRESH")))
    extensions = [
        e for e in (CHASSIS, PGVECTOR) if server.make_database(e.database, e.extension)
    ]
    steps = [s for s in plan.steps(scale, extensions) if arguments.only in s.name]
    print(f"{scale.name}: {len(steps)} steps, {scale.minutes} minutes", flush=True)
    with tqdm(total=len(steps), unit="step", dynamic_ncols=True) as bar:
        context = plan.Context(
            server,
            work / "cache",
            scale,
            versions,
            extensions,
            lambda text: bar.set_postfix_str(text),
            kept.results,
        )
        for step in steps:
            bar.set_description(step.name)
            if step.name not in kept.results:
                start = time.perf_counter()
                stolen = watch_host()
                result = step.run(context)
                kept.add(step.name, result, time.perf_counter() - start, stolen())
            bar.update()
    with server.connect() as connection:
        row = connection.execute("SELECT version()").fetchone()
    about = {
        "scale": scale.name,
        "date": time.strftime("%Y-%m-%d"),
        "commit": os.environ.get("CHASSIS_BENCH_COMMIT", "none"),
        "server": str(row[0]) if row else "",
        "settings": {k: v for k, v in SETTINGS.items() if k != "cluster_name"},
        "m": M,
        "ef_construction": EF_CONSTRUCTION,
        "machine": machine,
        "minutes": round(sum(kept.content["seconds"].values()) / 60, 1),
        "seconds": kept.content["seconds"],
        "stolen": kept.content["stolen"],
    }
    # A part of the figures, or small ones, must not replace those in the README.
    whole = not arguments.only and scale.name != "quick"
    folder = arguments.results if whole else work / "results"
    path = report.write(folder, about, kept.results)
    print(path.read_text())
    print(f"written: {path}")
    if not arguments.only:
        kept.path.unlink(missing_ok=True)


def main() -> None:
    """Parses the command line and does what it says."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "command", nargs="?", default="run", choices=("run", "start", "stop", "clean")
    )
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--scale", choices=tuple(plan.SCALES), default="standard")
    parser.add_argument("--only", default="", help="steps whose name contains this")
    parser.add_argument(
        "--keep-server", action="store_true", help="leave the server running"
    )
    arguments = parser.parse_args()
    server = Server(
        arguments.directory,
        Path(os.environ["CHASSIS_BENCH_BIN"]),
        os.environ["CHASSIS_BENCH_USER"],
        os.environ.get("CHASSIS_BENCH_SHM", "posix"),
    )
    if arguments.command == "start":
        server.start()
        print(f"psql -h {server.socket} -U bench")
    elif arguments.command == "stop":
        server.stop()
    elif arguments.command == "clean":
        server.stop()
        for name in ("data", "socket", "log", "stage", "venv"):
            shutil.rmtree(arguments.directory / name, ignore_errors=True)
    else:
        running = server.running()
        try:
            _run(arguments, server)
        except KeyboardInterrupt:
            sys.exit("stopped; the next run goes on from here")
        finally:
            if not running and not arguments.keep_server:
                server.stop()


if __name__ == "__main__":
    main()
