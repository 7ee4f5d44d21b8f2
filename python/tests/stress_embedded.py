"""Kills users and servers of one directory at random, and counts what is lost.

Ten workers open and close a handful of indexes in one directory, add vectors, delete
some, search, and note what ``flush()`` acknowledged.  Some end without closing, some
are killed from outside, and some kill the postmaster.  Nobody prepares the directory:
the first of them make the cluster and the files.  In the end every acknowledged
vector has to be there as it was added, under its id; what was deleted has to be gone;
each graph has to be whole; and every attempt to open has to have succeeded.

    python tests/stress_embedded.py [--seconds 60] [--workers 10] [--seed 1]

test_embedded_stress.py runs it for a few seconds; CHASSIS_STRESS_SECONDS and
CHASSIS_STRESS_SEED say otherwise.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import numpy.typing as npt
from psycopg import sql

from pychassis import ChassisError, IndexOptions, VectorIndex
from pychassis._embedded import status

Matrix = npt.NDArray[np.float32]

_PATIENCE = 120.0
_DIMENSIONS = 8
_FILES = 4
# Of rows compared by search in the end, for each index.
_SAMPLE = 200


@dataclass
class Outcome:
    """What one run came to."""

    workers: int = 0
    opens: int = 0
    failed_opens: int = 0
    starts: int = 0
    recoveries: int = 0
    watcher_stops: int = 0
    server_kills: int = 0
    worker_kills: int = 0
    exits_without_close: int = 0
    searches: int = 0
    interrupted: int = 0
    acknowledged: int = 0
    acknowledged_deletions: int = 0
    lost: int = 0
    altered: int = 0
    wrong_counts: int = 0
    graphs: int = 0
    damaged_graphs: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{value} {name}" for name, value in vars(self).items())

    @property
    def good(self) -> bool:
        wrong = (self.failed_opens, self.lost, self.altered)
        return (
            not any((*wrong, self.wrong_counts, self.damaged_graphs))
            and self.acknowledged > 0
        )


def make_vectors(worker: int, first: int, count: int) -> Matrix:
    """The vectors ``first``, … of a worker, which anybody can make again."""
    rng = np.random.default_rng([worker, first])
    made = rng.standard_normal((count, _DIMENSIONS)).astype(np.float32)
    made[:, 0] = worker
    return made


def open_index(directory: Path, number: int) -> VectorIndex:
    """Half of the indexes have a graph from their first row on."""
    build = IndexOptions(build="eager") if number % 2 else None
    path = directory / f"index{number}.chassis"
    return VectorIndex(path, _DIMENSIONS, build, timeout=_PATIENCE)


# --- a worker ------------------------------------------------------------------


class Worker:
    """Opens, adds, closes; notes in a file what was acknowledged."""

    def __init__(self, directory: Path, number: int, seed: int, seconds: float) -> None:
        self.directory = directory
        self.random = random.Random(seed * 100_000 + number)
        self.number = number
        self.end = time.monotonic() + seconds
        self.notes = os.open(
            directory / f"notes-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND
        )
        self.next_row = 0
        self.mine: dict[int, list[int]] = {number: [] for number in range(_FILES)}

    def note(self, *words: object) -> None:
        text = " ".join(map(str, words)).replace("\n", " | ")
        os.write(self.notes, f"{text}\n".encode())

    def misbehave(self) -> None:
        chance = self.random.random()
        if chance < 0.03:
            self.note("exit")
            os._exit(0)
        if chance < 0.05:
            found = status(self.directory)
            if found is not None and found.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found.pid, signal.SIGKILL)
                    self.note("killed")

    # --- what it does with an index ---

    def add(self, index: VectorIndex, file: int) -> None:
        """Adds, by one or by many; notes the ids once they are flushed."""
        many = self.random.random() < 0.3
        count = self.random.randint(50, 400) if many else self.random.randint(1, 12)
        first = self.next_row
        self.next_row += count
        vectors = make_vectors(self.number, first, count)
        if many:
            ids = index.add_batch(vectors, batch_size=128).tolist()
        else:
            ids = [index.add(vector) for vector in vectors]
        self.misbehave()
        index.flush()
        self.note("rows", file, first, *ids)
        self.mine[file] += ids

    def delete(self, index: VectorIndex, file: int) -> None:
        if not self.mine[file]:
            return
        place = self.random.randrange(len(self.mine[file]))
        id = self.mine[file].pop(place)
        self.note("deleting", file, id)
        index.delete(id)
        index.flush()
        self.note("deleted", file, id)

    def search(self, index: VectorIndex, file: int) -> None:
        """What this worker was told is stored has to be found at once."""
        if self.mine[file]:
            id = self.random.choice(self.mine[file])
            query = index.get(id)
            exact = index.search(query, k=1, exact=True)[0]
            if exact.distance != 0 or query[0] != self.number:
                self.note("altered", file, id)
        index.search(make_vectors(self.number, 0, 1)[0], k=5)
        self.note("searched")

    def choose(self) -> Callable[[VectorIndex, int], None]:
        chance = self.random.random()
        if chance < 0.6:
            return self.add
        return self.search if chance < 0.9 else self.delete

    def session(self) -> None:
        file = self.random.randrange(_FILES)
        try:
            index = open_index(self.directory, file)
        except Exception as error:
            self.note("failed", type(error).__name__, error)
            return
        self.note("open")
        try:
            for _ in range(self.random.randint(1, 8)):
                self.choose()(index, file)
                self.misbehave()
                time.sleep(self.random.random() * 0.02)
            if self.random.random() < 0.1:
                # Left to the garbage collector, with rows that are not flushed.
                index.add(make_vectors(self.number, self.next_row, 1)[0])
                self.next_row += 1
                return
            index.close()
        except ChassisError as error:
            # Most often: the server was killed, and with it what was not flushed.
            self.note("interrupted", type(error).__name__, error)
            with contextlib.suppress(ChassisError):
                index.close()
        except KeyError as error:
            self.note("missing", file, error)

    def run(self) -> None:
        while time.monotonic() < self.end:
            self.session()
            # Now and then a pause long enough for the cluster to be left alone.
            pause = 2.5 if self.random.random() < 0.05 else 0.05
            time.sleep(self.random.random() * pause)


def work(directory: Path, number: int, seed: int, seconds: float) -> None:
    Worker(directory, number, seed, seconds).run()


# --- the run -------------------------------------------------------------------


@dataclass
class Notes:
    """What the workers wrote down about one index."""

    # By id: worker, first row of its batch, place in the batch, size of the batch.
    rows: dict[int, tuple[int, int, int, int]]
    doubtful: set[int]
    deleted: set[int]


def read_notes(directory: Path, outcome: Outcome) -> list[Notes]:
    made = [Notes({}, set(), set()) for _ in range(_FILES)]
    counters = {
        "open": "opens",
        "exit": "exits_without_close",
        "killed": "server_kills",
        "searched": "searches",
        "interrupted": "interrupted",
        "failed": "failed_opens",
        "altered": "altered",
        "missing": "lost",
    }
    for file in sorted(directory.glob("notes-*")):
        worker = int(file.name.removeprefix("notes-"))
        for line in file.read_text().splitlines():
            word, *rest = line.split(" ")
            if word in counters:
                name = counters[word]
                setattr(outcome, name, getattr(outcome, name) + 1)
                if word in ("failed", "altered", "missing", "interrupted"):
                    print(f"worker {worker}: {line}", file=sys.stderr)
            elif word == "rows":
                notes, first, *ids = made[int(rest[0])], *map(int, rest[1:])
                for place, id in enumerate(ids):
                    if id in notes.rows:
                        print(f"id {id} was given out twice", file=sys.stderr)
                        outcome.altered += 1
                    notes.rows[id] = (worker, first, place, len(ids))
            elif word == "deleting":
                made[int(rest[0])].doubtful.add(int(rest[1]))
            elif word == "deleted":
                made[int(rest[0])].deleted.add(int(rest[1]))
    return made


def compare(index: VectorIndex, notes: Notes, outcome: Outcome) -> None:
    """Compare what one index has with what was acknowledged."""
    stored: dict[int, Matrix] = {}
    for ids, vectors in index.vectors():
        stored |= dict(zip(ids.tolist(), vectors))
    wanted: dict[int, Matrix] = {}
    batches: dict[tuple[int, int, int], Matrix] = {}
    for id, (worker, first, place, count) in notes.rows.items():
        key = (worker, first, count)
        if key not in batches:
            batches[key] = make_vectors(*key)
        if id not in notes.doubtful:
            wanted[id] = batches[key][place]
    outcome.acknowledged += len(wanted)
    outcome.acknowledged_deletions += len(notes.deleted)
    missing = [id for id in wanted if id not in stored]
    if missing:
        print(f"{index!r} lost {missing[:20]}", file=sys.stderr)
    outcome.lost += len(missing)
    outcome.altered += len(notes.deleted & stored.keys())
    kept = [id for id in wanted if id in stored]
    outcome.altered += sum(not np.array_equal(stored[id], wanted[id]) for id in kept)

    rng = random.Random(1)
    for id in rng.sample(kept, min(_SAMPLE, len(kept))):
        # Several may be equally near only if they are equal, which none are.
        nearest = index.search(wanted[id], k=1, exact=True)[0]
        if nearest.id != id or nearest.distance != 0:
            outcome.altered += 1
        if not np.array_equal(index.get(id), wanted[id]):
            outcome.altered += 1
    if len(index) != len(stored):
        print(f"{index!r}: {len(index)} != {len(stored)}", file=sys.stderr)
        outcome.wrong_counts += 1
    check_graph(index, [wanted[id] for id in kept[:_SAMPLE]], outcome)


def check_graph(index: VectorIndex, queries: list[Matrix], outcome: Outcome) -> None:
    name = index.sql_index
    if name is None:
        return
    outcome.graphs += 1
    # An insertion that was cut off may leave a node that no edge leads to, of a row
    # that was never committed: VACUUM takes it away.
    index.vacuum()
    with index.connection() as connection:
        found = connection.execute(
            sql.SQL("SELECT * FROM chassis_index_check(%s::regclass)"), (name,)
        ).fetchall()
    if found or (queries and index.recall(np.stack(queries), k=5) < 0.9):
        print(f"{index!r}: {found}", file=sys.stderr)
        outcome.damaged_graphs += 1


def tally(directory: Path, outcome: Outcome) -> None:
    for number, notes in enumerate(read_notes(directory, outcome)):
        if not (directory / f"index{number}.chassis").exists():
            outcome.lost += len(notes.rows)
            continue
        with open_index(directory, number) as index:
            compare(index, notes, outcome)


def read_log(directory: Path, outcome: Outcome) -> None:
    text = (directory / ".chassis" / "log").read_text(errors="replace")
    outcome.starts = text.count("starting PostgreSQL")
    outcome.recoveries = text.count("automatic recovery in progress")
    outcome.watcher_stops = text.count("no user is left")


def run(directory: Path, *, seconds: float, workers: int, seed: int) -> Outcome:
    """One run; the directory is left as it is, without a server."""
    outcome = Outcome()
    rng = random.Random(seed)
    # Forked, so that what importing everything costs is paid once.
    context = multiprocessing.get_context("fork")
    end = time.monotonic() + seconds
    running: list[BaseProcess] = []
    while time.monotonic() < end:
        running = [each for each in running if each.is_alive()]
        while len(running) < workers:
            outcome.workers += 1
            left = end - time.monotonic()
            process = context.Process(
                target=work, args=(directory, outcome.workers, seed, left)
            )
            process.start()
            running.append(process)
        if rng.random() < 0.1:
            rng.choice(running).kill()
            outcome.worker_kills += 1
        elif rng.random() < 0.007:
            # All at once, and nobody for a while: the server stops by itself.
            for each in running:
                each.kill()
            outcome.worker_kills += len(running)
            time.sleep(3)
        time.sleep(0.1)
    for each in running:
        each.join()
    tally(directory, outcome)
    read_log(directory, outcome)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="an empty one, which is kept")
    given = parser.parse_args()
    directory = given.directory or Path(tempfile.mkdtemp(prefix="chassis-stress-"))
    outcome = run(
        directory, seconds=given.seconds, workers=given.workers, seed=given.seed
    )
    print(outcome)
    if not outcome.good:
        print(f"kept: {directory}")
        return 1
    if not given.directory:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
