"""Several client processes at once: queries or inserts, in a closed loop.

Why separate: processes must be started, set off together and asked for their
counts, whatever they do meanwhile.  It knows one connection string and one
statement; it judges nothing.

Processes and not threads, as one interpreter runs one thread at a time.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from psycopg import pq

from .server import cpu_seconds


@dataclass(frozen=True)
class Work:
    """What every client does: one prepared statement over and over.

    ``settings`` are statements run first.  With ``seconds`` a client goes
    round its parameters until the time is over, else through them once.
    """

    conninfo: str
    settings: tuple[str, ...]
    statement: str
    seconds: float | None


@dataclass(frozen=True)
class Outcome:
    """Statements a second of all clients, and what one cost the server.

    ``server_us`` is processor time of the backends in microseconds a statement;
    ``p99_us`` the 99th percentile of what clients waited.
    """

    clients: int
    per_second: float
    server_us: float
    median_us: float
    p99_us: float
    statements: int


Parameters = Sequence[tuple[bytes, ...]]


def _client(work: Work, parameters: Parameters, barrier: Any, answers: Any) -> None:
    """One client process."""
    try:
        connection = psycopg.connect(work.conninfo, autocommit=True)
        for setting in work.settings:
            connection.execute(setting)
        raw = connection.pgconn
        prepared = raw.prepare(b"w", work.statement.encode())
        good = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
        if prepared.status not in good:
            raise RuntimeError(prepared.error_message.decode())
        formats = [1] * len(parameters[0])
        if work.seconds is not None:
            for row in parameters[:20]:
                raw.exec_prepared(b"w", row, formats, 1)
        pid = raw.backend_pid
        barrier.wait()
        before = cpu_seconds(pid)
        waited = []
        start = now = time.perf_counter()
        end = start + work.seconds if work.seconds is not None else float("inf")
        number = 0
        while now < end and (work.seconds is not None or number < len(parameters)):
            row = parameters[number % len(parameters)]
            result = raw.exec_prepared(b"w", row, formats, 1)
            if result.status not in good:
                raise RuntimeError(result.error_message.decode())
            then, now = now, time.perf_counter()
            waited.append(now - then)
            number += 1
        answers.put((start, now, cpu_seconds(pid) - before, waited))
        connection.close()
    except BaseException as error:
        barrier.abort()
        answers.put(error)
        raise


def run(work: Work, shares: Sequence[Parameters]) -> Outcome:
    """Runs one client for each share of parameters, all at once.

    Raises what a client raised.
    """
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(shares))
    answers = context.Queue()
    processes = [
        context.Process(target=_client, args=(work, share, barrier, answers))
        for share in shares
    ]
    for process in processes:
        process.start()
    got = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    for answer in got:
        if isinstance(answer, BaseException):
            raise answer
    waited = np.concatenate([np.array(a[3]) for a in got]) * 1e6
    seconds = max(a[1] for a in got) - min(a[0] for a in got)
    return Outcome(
        clients=len(shares),
        per_second=len(waited) / seconds,
        server_us=sum(a[2] for a in got) / len(waited) * 1e6,
        median_us=float(np.median(waited)),
        p99_us=float(np.percentile(waited, 99)),
        statements=len(waited),
    )
