"""Kills users and servers of one cluster at random, and counts what is lost.

Ten workers open and close the cluster, and insert rows of which they note those the
server acknowledged.  Some end without closing, some are killed from outside, and
some kill the postmaster.  In the end every acknowledged row has to be there, and
every attempt to open has to have succeeded.

    python tests/stress_embedded.py [--seconds 60] [--workers 10] [--seed 1]

test_embedded_stress.py runs it for a few seconds; CHASSIS_STRESS_SECONDS and
CHASSIS_STRESS_SEED say otherwise.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pychassis._embedded import Cluster, acquire, status

_PATIENCE = 120.0


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
    acknowledged: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{value} {name}" for name, value in vars(self).items())


# --- a worker ------------------------------------------------------------------


class Worker:
    """Opens, inserts, closes; notes in a file what was acknowledged."""

    def __init__(self, directory: Path, seed: int, seconds: float) -> None:
        self.directory = directory
        self.random = random.Random(seed)
        self.seed = seed
        self.end = time.monotonic() + seconds
        self.notes = os.open(
            directory / f"notes-{seed}", os.O_WRONLY | os.O_CREAT | os.O_APPEND
        )
        self.next_row = 0

    def note(self, text: str) -> None:
        os.write(self.notes, f"{text}\n".encode())

    def connect(self, cluster: Cluster) -> psycopg.Connection:
        """As every user of a Cluster does it: a lost server is started again."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return psycopg.connect(**cluster.conninfo(), autocommit=True)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                cluster.ensure_running(_PATIENCE)

    def insert(self, connection: psycopg.Connection) -> None:
        row = self.next_row
        self.next_row += 1
        connection.execute("INSERT INTO stress VALUES (%s, %s)", (self.seed, row))
        self.note(f"row {row}")

    def misbehave(self) -> None:
        chance = self.random.random()
        if chance < 0.05:
            os._exit(0)
        if chance < 0.08:
            found = status(self.directory)
            if found is not None and found.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found.pid, signal.SIGKILL)
                    self.note("killed")

    def session(self) -> None:
        try:
            cluster = acquire(self.directory, timeout=_PATIENCE)
            connection = self.connect(cluster)
        except Exception as error:
            self.note(f"failed {type(error).__name__}: {error}".replace("\n", " | "))
            return
        self.note("open")
        try:
            for _ in range(self.random.randint(1, 12)):
                self.insert(connection)
                self.misbehave()
                time.sleep(self.random.random() * 0.02)
        except psycopg.Error:
            # The server was killed; whether that row is there nobody knows.
            pass
        finally:
            connection.close()
            cluster.release()

    def run(self) -> None:
        while time.monotonic() < self.end:
            self.session()
            # Now and then a pause long enough for the cluster to be left alone.
            pause = 2.5 if self.random.random() < 0.05 else 0.05
            time.sleep(self.random.random() * pause)


# --- the run -------------------------------------------------------------------


class Child:
    """A forked worker: what importing everything costs is paid once."""

    def __init__(self, directory: Path, seed: int, seconds: float) -> None:
        self.ended = False
        self.pid = os.fork()
        if self.pid == 0:
            try:
                Worker(directory, seed, seconds).run()
            finally:
                os._exit(0)

    def poll(self, flags: int = os.WNOHANG) -> bool:
        """Whether it has ended."""
        if not self.ended:
            self.ended = os.waitpid(self.pid, flags)[0] != 0
        return self.ended

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def prepare(directory: Path) -> None:
    cluster = acquire(directory)
    cluster.wait_durable()
    with psycopg.connect(**cluster.conninfo()) as connection:
        connection.execute(
            "CREATE TABLE stress (worker int, row int, PRIMARY KEY (worker, row))"
        )
    cluster.release()


def tally(directory: Path, outcome: Outcome) -> None:
    """Compare the workers' notes with the table."""
    expected: set[tuple[int, int]] = set()
    for file in directory.glob("notes-*"):
        worker = int(file.name.removeprefix("notes-"))
        for line in file.read_text().splitlines():
            word, _, rest = line.partition(" ")
            if word == "row":
                expected.add((worker, int(rest)))
            elif word == "open":
                outcome.opens += 1
            elif word == "killed":
                outcome.server_kills += 1
            elif word == "failed":
                outcome.failed_opens += 1
                print(f"worker {worker}: {rest}", file=sys.stderr)
    cluster = acquire(directory, timeout=_PATIENCE)
    with psycopg.connect(**cluster.conninfo()) as connection:
        found = set(connection.execute("SELECT worker, row FROM stress").fetchall())
    cluster.release()
    outcome.acknowledged = len(expected)
    outcome.lost = len(expected - found)


def read_log(directory: Path, outcome: Outcome) -> None:
    text = (directory / ".chassis" / "log").read_text(errors="replace")
    outcome.starts = text.count("starting PostgreSQL")
    outcome.recoveries = text.count("automatic recovery in progress")
    outcome.watcher_stops = text.count("no user is left")


def run(directory: Path, *, seconds: float, workers: int, seed: int) -> Outcome:
    """One run; the directory is left as it is, without a server."""
    outcome = Outcome()
    rng = random.Random(seed)
    prepare(directory)
    end = time.monotonic() + seconds
    running: list[Child] = []
    while time.monotonic() < end:
        running = [worker for worker in running if not worker.poll()]
        while len(running) < workers:
            outcome.workers += 1
            left = end - time.monotonic()
            running.append(Child(directory, seed * 100_000 + outcome.workers, left))
        if rng.random() < 0.1:
            rng.choice(running).kill()
            outcome.worker_kills += 1
        time.sleep(0.1)
    for worker in running:
        worker.poll(0)
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
    if outcome.failed_opens or outcome.lost or not outcome.acknowledged:
        print(f"kept: {directory}")
        return 1
    if not given.directory:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
