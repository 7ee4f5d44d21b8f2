"""Speed of the Python package against the same work done by hand with psycopg.

Each figure is a ratio or a time with the target it has to meet: the medians of
five runs in which the two sides alternate, so that whatever else the machine
does falls on both.  The server is an embedded one in a temporary folder, with
its defaults; vectors are random, seeded.

    .venv/bin/python bench/python.py              everything, some minutes
    .venv/bin/python bench/python.py load search  only these

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

import pychassis
from pychassis import IndexOptions, VectorIndex

Matrix = npt.NDArray[np.float32]
RUNS = 5
clock = time.perf_counter

missed: list[str] = []


def report(name: str, value: float, target: float, unit: str, least: bool) -> None:
    """One line; ``least`` when the target is a lower bound."""
    met = value >= target if least else value <= target
    if not met:
        missed.append(name)
    bound = ">=" if least else "<="
    verdict = "ok" if met else "MISSED"
    print(
        f"{name:58} {value:8.2f}{unit}  {bound} {target:g}{unit}  {verdict}", flush=True
    )


def medians(*sides: Callable[[], float]) -> list[float]:
    """The median of every side's seconds, measured in turns."""
    for side in sides:
        side()  # not counted: caches, connections, prepared statements
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(RUNS):
        for mine, side in zip(times, sides, strict=False):
            mine.append(side())
    return [statistics.median(mine) for mine in times]


def timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        start = clock()
        work()
        return clock() - start

    return run


def random(rows: int, dimensions: int, seed: int) -> Matrix:
    return np.random.default_rng(seed).random((rows, dimensions), dtype=np.float32)


# --- loading -------------------------------------------------------------------

LOAD_ROWS, LOAD_DIMENSIONS = 10_000, 768
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def encode_rows(vectors: Matrix) -> list[bytes]:
    """The whole COPY, encoded beforehand, in the pieces that psycopg likes."""
    head = struct.Struct(">hiqihh")
    dimensions = vectors.shape[1]
    size = 4 + 4 * dimensions
    wire = vectors.astype(">f4")
    no_metadata = struct.pack(">i", -1)
    rows = [
        head.pack(3, 8, number, size, dimensions, 0) + row.tobytes() + no_metadata
        for number, row in enumerate(wire)
    ]
    data = COPY_HEADER + b"".join(rows) + b"\xff\xff"
    return [data[i : i + 32768] for i in range(0, len(data), 32768)]


def measure_load(directory: Path) -> None:
    vectors = random(LOAD_ROWS, LOAD_DIMENSIONS, 1)
    pieces = encode_rows(vectors)
    manual = IndexOptions(build="manual")
    numbers = iter(range(1000))

    def fresh() -> VectorIndex:
        path = directory / f"load{next(numbers)}.chassis"
        return VectorIndex(path, LOAD_DIMENSIONS, manual)

    def batch() -> float:
        index = fresh()
        start = clock()
        index.add_batch(vectors)
        seconds = clock() - start
        index.drop()
        return seconds

    def loop() -> float:
        index = fresh()
        start = clock()
        add = index.add
        for row in vectors:
            add(row)
        len(index)  # spills what is buffered
        seconds = clock() - start
        index.drop()
        return seconds

    def copy() -> float:
        index = fresh()
        statement = f"COPY {index.table} (id, embedding, metadata) FROM STDIN BINARY"
        with psycopg.connect(index.dsn) as connection:
            # as the package does before a flush
            connection.execute("SET synchronous_commit = off")
            connection.commit()
            start = clock()
            with connection.cursor().copy(statement.encode()) as stream:
                for piece in pieces:
                    stream.write(piece)
            connection.commit()
            seconds = clock() - start
        index.drop()
        return seconds

    by_batch, by_loop, by_copy = medians(batch, loop, copy)
    print(
        f"10,000 x 768: add_batch {by_batch:.3f} s, add loop {by_loop:.3f} s,"
        f" pre-encoded COPY {by_copy:.3f} s"
    )
    report("add_batch / pre-encoded COPY", by_batch / by_copy, 1.2, "x", False)
    report("add loop and spill / add_batch", by_loop / by_batch, 1.6, "x", False)


# --- searching -------------------------------------------------------------------

ROWS, DIMENSIONS = 20_000, 128
QUERIES = 1000


@contextmanager
def filled(directory: Path) -> Iterator[tuple[VectorIndex, Matrix]]:
    index = VectorIndex(directory / "search.chassis", DIMENSIONS)
    if index.is_empty():
        index.add_batch(random(ROWS, DIMENSIONS, 2))
        index.flush()
    yield index, random(QUERIES, DIMENSIONS, 3)
    index.close()


class VectorDumper(psycopg.adapt.Dumper):
    """A row of float32 as the binary vector that the server takes."""

    format = psycopg.pq.Format.BINARY

    def dump(self, obj: Any) -> bytes:
        return struct.pack(">HH", len(obj), 0) + bytes(obj.astype(">f4").data)


def by_hand(connection: psycopg.Connection[Any], index: VectorIndex, k: int) -> Any:
    """The prepared binary statement through a reused cursor."""
    [(vector_oid,)] = connection.execute("SELECT 'vector'::regtype::oid").fetchall()

    class Dumper(VectorDumper):
        oid = vector_oid

    connection.adapters.register_dumper(np.ndarray, Dumper)
    cursor = connection.cursor(binary=True)
    query = (
        f"SELECT id, embedding <-> %b FROM {index.table}"
        f" ORDER BY embedding <-> %b LIMIT {k}"
    )

    def search(vector: Matrix) -> Any:
        cursor.execute(query.encode(), (vector, vector), prepare=True)
        return cursor.fetchall()

    return search


def measure_search(directory: Path) -> None:
    with filled(directory) as (index, queries):
        with psycopg.connect(index.dsn, autocommit=True) as connection:
            cursor_search = by_hand(connection, index, 10)
            first = [r.id for r in index.search(queries[0], k=10)]
            assert first == [row[0] for row in cursor_search(queries[0])]

            def ours() -> None:
                for query in queries:
                    index.search(query, k=10)

            def theirs() -> None:
                for query in queries:
                    cursor_search(query)

            one, hand = medians(timed(ours), timed(theirs))
        print(f"1,000 searches: {one:.3f} s, by hand {hand:.3f} s")
        report("search / prepared statement by hand", one / hand, 1.15, "x", False)


def measure_batch(directory: Path) -> None:
    with filled(directory) as (index, queries):

        def loop() -> None:
            for query in queries:
                index.search(query, k=10)

        single, batch, two = medians(
            timed(loop),
            timed(lambda: index.search_batch(queries, k=10, threads=1)),
            timed(lambda: index.search_batch(queries, k=10, threads=2)),
        )
        print(
            f"1,000 queries: search {single:.3f} s, batch {batch:.3f} s, 2 threads {two:.3f} s"
        )
        report(
            "search_batch, one connection: times faster", single / batch, 1.5, "x", True
        )
        report("search_batch, two threads: times faster", single / two, 2.5, "x", True)


def search_share(
    path: Path, start: Any, count: int, shared: VectorIndex | None
) -> None:
    """One thread's or process's part: so many searches after a common start."""
    index = shared if shared is not None else VectorIndex.open(path)
    queries = random(QUERIES, DIMENSIONS, 3)
    index.search(queries[0])
    start.wait()
    for number in range(count):
        index.search(queries[number % QUERIES], k=10)
    start.wait()
    if shared is None:
        index.close()


def measure_threads(directory: Path) -> None:
    context = multiprocessing.get_context("spawn")

    def run(workers: int, kind: str, index: VectorIndex) -> float:
        """Seconds of 2,400 searches by that many workers."""
        start: Any
        if kind == "thread":
            start = threading.Barrier(workers + 1)
            make: Any = threading.Thread
        else:
            start = context.Barrier(workers + 1)
            make = context.Process
        shared = index if kind == "thread" else None
        share = 2400 // workers
        jobs = [
            make(target=search_share, args=(index.path, start, share, shared))
            for _ in range(workers)
        ]
        for job in jobs:
            job.start()
        start.wait()
        begin = clock()
        start.wait()
        seconds = clock() - begin
        for job in jobs:
            job.join()
        return seconds

    with filled(directory) as (index, _):
        one, eight = medians(
            lambda: run(1, "thread", index), lambda: run(8, "thread", index)
        )
        print(f"2,400 searches: 1 thread {one:.3f} s, 8 threads {eight:.3f} s")
        report("8 threads against 1: times faster", one / eight, 1.5, "x", True)
        one, eight = medians(
            lambda: run(1, "process", index), lambda: run(8, "process", index)
        )
        print(f"2,400 searches: 1 process {one:.3f} s, 8 processes {eight:.3f} s")
        report("8 processes against 1: times faster", one / eight, 1.8, "x", True)


def measure_alternate(directory: Path) -> None:
    with filled(directory) as (index, queries):
        few = queries[:300]

        def plain() -> None:
            for query in few:
                index.search(query, k=10)

        def alternating() -> None:
            for query in few:
                index.add(query)
                index.search(query, k=10)

        search, both = medians(timed(plain), timed(alternating))
        print(f"300 searches {search:.3f} s, each after an add {both:.3f} s")
        report("add and search in turns / search", both / search, 2.0, "x", False)


def measure_len(directory: Path) -> None:
    path = directory / "million.chassis"
    with VectorIndex(path, 4, IndexOptions(build="manual")) as index:
        block = random(100_000, 4, 5)
        for _ in range(10):
            index.add_batch(block)
        index.flush()
        assert len(index) == 1_000_000
        [seconds] = medians(timed(lambda: len(index)))
        report("len() at 1,000,000 rows", seconds * 1000, 1.0, " ms", False)


# --- starting -----------------------------------------------------------------------


def measure_open(directory: Path) -> None:
    # Installed packages have their bytecode beside them, whatever our environment
    # says of writing it; without it most of the time would be the compiler's.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(directory / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def own_process(code: str, *arguments: str) -> bytes:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.check_output(command, env=environment)

    numbers = iter(range(1000))

    def first() -> float:
        place = directory / f"new{next(numbers)}"
        place.mkdir()
        start = clock()
        index = VectorIndex(place / "a.chassis", 8)
        index.add([0.0] * 8)
        index.flush()
        seconds = clock() - start
        index.close()
        return seconds

    keeper = VectorIndex(directory / "keeper.chassis", 8)

    def warm() -> float:
        # another process: nothing of ours is reused but the running server
        code = (
            "import sys, time; from pychassis import VectorIndex\n"
            "start = time.perf_counter()\n"
            "index = VectorIndex.open(sys.argv[1])\n"
            "print(time.perf_counter() - start)\n"
        )
        return float(own_process(code, str(keeper.path)))

    def importing() -> float:
        code = (
            "import time; start = time.perf_counter(); import chassis\n"
            "print(time.perf_counter() - start)\n"
        )
        return float(own_process(code))

    opened, attached, imported = medians(first, warm, importing)
    keeper.close()
    report("first open of a new folder, add, durable flush", opened, 1.5, " s", False)
    report("attach to a running server", attached * 1000, 20, " ms", False)
    report("import", imported, 0.35, " s", False)


PARTS: dict[str, Callable[[Path], None]] = {
    "open": measure_open,
    "load": measure_load,
    "search": measure_search,
    "batch": measure_batch,
    "threads": measure_threads,
    "alternate": measure_alternate,
    "len": measure_len,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: all")
    chosen = parser.parse_args().part or list(PARTS)
    print(
        f"pgchassis {pychassis.__version__}, Python {platform.python_version()},"
        f" psycopg {psycopg.__version__} ({psycopg.pq.__impl__}),"
        f" NumPy {np.__version__}"
    )
    with tempfile.TemporaryDirectory(prefix="chassis-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for part in chosen:
            PARTS[part](directory)
    if missed:
        print(f"{len(missed)} missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
