"""The writer: lease, ids, and writes that fail or whose outcome is in doubt.

Two writers of different processes are two connection strings here that differ in
the name of the application: only handles on the same string share a writer.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pychassis import (
    ChassisError,
    IndexLockedError,
    IndexNotFoundError,
    StorageFullError,
    VectorIndex,
)
from pychassis._connect import Source
from pychassis._link import Link
from pychassis._writer import Writer


@pytest.fixture
def index(database: str) -> Iterator[VectorIndex]:
    made = VectorIndex("items", 2, connection=database, timeout=20)
    yield made
    with contextlib.suppress(ChassisError):
        made.close()


@pytest.fixture
def other(database: str, index: VectorIndex) -> Iterator[VectorIndex]:
    """The same index, as another process would have it."""
    dsn = make_conninfo(database, application_name="other")
    made = VectorIndex.open("items", connection=dsn, timeout=0.2)
    yield made
    with contextlib.suppress(ChassisError):
        made.close()


@pytest.fixture
def ask(database: str) -> Iterator[Callable[..., Any]]:
    """Runs SQL beside the package; the first value, if any."""
    with psycopg.connect(database, autocommit=True) as connection:

        def run(statement: str, *values: Any) -> Any:
            cursor = connection.execute(statement.encode(), values or None)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

        yield run


CATALOG = "chassis_data.indexes"


def test_ids_are_taken_before_they_are_given(
    index: VectorIndex, ask: Callable[..., Any]
) -> None:
    assert index.add([0, 0]) == 0
    assert ask(f"SELECT next_id FROM {CATALOG}") == 4096
    assert ask(f"SELECT holder IS NOT NULL FROM {CATALOG}")
    index.flush()
    assert ask(f"SELECT next_id FROM {CATALOG}") == 1
    assert ask(f"SELECT holder IS NULL FROM {CATALOG}")
    assert index.add([0, 0], id=9999) == 9999
    assert ask(f"SELECT next_id FROM {CATALOG}") >= 10_000
    assert index.add([0, 0]) == 10_000


def test_a_full_buffer_goes_on_with_new_ids(index: VectorIndex) -> None:
    assert [index.add([i, 0]) for i in range(9000)] == list(range(9000))
    assert len(index) == 9000


def test_a_second_writer_waits_and_then_gives_up(
    index: VectorIndex, other: VectorIndex
) -> None:
    index.add([0, 0])
    with pytest.raises(IndexLockedError, match="process") as caught:
        other.add([1, 1])
    assert caught.value.sqlstate == "55P03"
    index.flush()
    assert other.add([1, 1]) == 1
    other.flush()
    assert sorted(index) == [0, 1]


def test_a_dead_writer_is_replaced_at_once(
    index: VectorIndex, other: VectorIndex, ask: Callable[..., Any]
) -> None:
    """Its session, and with it the lock, is gone long before its lease ends."""
    index.add([0, 0])
    ask(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l"
        f" JOIN {CATALOG} i ON l.locktype = 'advisory' AND l.objsubid = 1"
        "  AND i.holder_lock = (l.classid::int8 << 32) | l.objid::int8"
    )
    assert other.add([1, 1]) == 4096
    other.flush()


def test_lost_lease_writes_nothing_and_keeps_the_rows(
    index: VectorIndex, other: VectorIndex, ask: Callable[..., Any]
) -> None:
    index.add_batch([[0, 0]])
    index.add([1, 1])
    ask(f"UPDATE {CATALOG} SET lease_until = '-infinity'")
    assert other.add([2, 2]) == 4096
    with pytest.raises(IndexLockedError, match="1 vectors are kept"):
        index.flush()
    assert ask("SELECT count(*) FROM chassis_data.items") == 1
    other.flush()
    index.flush()
    assert sorted(other) == [0, 1, 4096]
    assert len(index) == 3


def test_lease_lost_after_everything_was_written(
    index: VectorIndex, other: VectorIndex, ask: Callable[..., Any]
) -> None:
    index.add_batch([[0, 0]])
    ask(f"UPDATE {CATALOG} SET lease_until = '-infinity'")
    other.add([1, 1])
    index.flush()
    other.flush()
    assert len(index) == 2


def test_rows_lost_in_a_crash_are_named(
    index: VectorIndex, ask: Callable[..., Any]
) -> None:
    """As after a crash of the server: the last commits were not on disk."""
    index.add_batch([[0, 0]])
    index.add_batch([[1, 1], [2, 2]])
    ask(f"UPDATE {CATALOG} SET spill = spill - 1, row_count = row_count - 2")
    ask("DELETE FROM chassis_data.items WHERE id > 0")
    with pytest.raises(ChassisError, match="lost the vectors with ids 1, 2 "):
        index.flush()
    assert index.add([3, 3]) == 3
    index.flush()
    assert sorted(index) == [0, 3]


def test_rows_lost_with_the_lease_are_named(
    index: VectorIndex, other: VectorIndex, ask: Callable[..., Any]
) -> None:
    index.add_batch([[i, i] for i in range(20)])
    ask(f"UPDATE {CATALOG} SET lease_until = '-infinity', row_count = 0")
    ask("DELETE FROM chassis_data.items")
    other.add([1, 1])
    with pytest.raises(ChassisError, match="20 vectors with ids 0 to 19"):
        index.flush()


def test_index_dropped_by_another(index: VectorIndex, other: VectorIndex) -> None:
    index.add([0, 0])
    index.flush()
    other.drop()
    with pytest.raises((IndexNotFoundError, IndexLockedError, ChassisError)):
        index.add([1, 1])
    assert other.closed


def failing(error: type[psycopg.Error]) -> Callable[..., int]:
    def fail(*_: Any, **__: Any) -> int:
        raise error("as if")

    return fail


def test_a_write_that_fails_keeps_the_rows(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add([0, 0])
    index.flush()
    index.add([1, 1])
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_write_small", failing(psycopg.errors.DiskFull))
        with pytest.raises(StorageFullError, match="free disk space") as caught:
            index.flush()
        assert caught.value.sqlstate == "53100"
        assert isinstance(caught.value.__cause__, psycopg.errors.DiskFull)
    index.flush()
    assert len(index) == 2


def test_further_adds_raise_what_the_background_met(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add([0, 0])
    writer: Any = index._writer
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_write_small", failing(psycopg.errors.DiskFull))
        writer.tick(time.monotonic() + 10)
        for _ in range(2):
            with pytest.raises(StorageFullError):
                index.add([1, 1])
            with pytest.raises(StorageFullError):
                index.add([1, 1], metadata={})
            with pytest.raises(StorageFullError):
                index.add_batch([[1, 1]])
        assert index.discard() == [0]
    assert index.add([2, 2]) == 1
    index.flush()
    assert list(index) == [1]


@pytest.mark.parametrize("rows", [3, 500])
def test_connection_lost_before_the_commit(
    index: VectorIndex,
    ask: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
) -> None:
    """Sent again on another connection, once."""
    lost: list[int] = []
    original = Link.execute

    def execute(self: Link, statement: Any, parameters: Any = ()) -> int:
        result = original(self, statement, parameters)
        if not lost:
            lost.append(self.pgconn.backend_pid)
            ask("SELECT pg_terminate_backend(%s)", lost[0])
        return result

    index.add_batch([[0, 0]])
    if rows > 64:
        monkeypatch.setattr(Link, "execute", execute)
    else:
        ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
            " pg_backend_pid() AND datname = current_database()"
        )
    index.add_batch(np.ones((rows, 2)))
    monkeypatch.undo()
    index.flush()
    assert len(index) == rows + 1
    assert index.stats(exact=True).count == rows + 1


def test_connection_lost_after_the_commit(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count in the catalogue tells that the write is in."""
    original = Source.transaction
    lost: list[Link] = []

    @contextlib.contextmanager
    def transaction(self: Source, link: Link) -> Iterator[None]:
        with original(self, link):
            yield
        if not lost:
            lost.append(link)
            link.connection.close()
            raise psycopg.OperationalError("as if the answer were lost")

    index.add_batch([[0, 0]])
    monkeypatch.setattr(Source, "transaction", transaction)
    index.add_batch(np.ones((500, 2)))
    monkeypatch.undo()
    assert lost
    index.flush()
    assert index.stats(exact=True).count == len(index) == 501


def test_connection_lost_while_flushing(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Source.transaction
    lost: list[Link] = []

    @contextlib.contextmanager
    def transaction(self: Source, link: Link) -> Iterator[None]:
        with original(self, link):
            yield
        if not lost:
            lost.append(link)
            link.connection.close()
            raise psycopg.OperationalError("as if the answer were lost")

    index.add_batch([[0, 0]])
    monkeypatch.setattr(Source, "transaction", transaction)
    index.flush()
    monkeypatch.undo()
    assert lost
    assert index.add([1, 1]) == 1
    index.flush()


def test_a_batch_that_fails_half_way_says_what_is_in(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Writer._insert
    calls = []

    def insert(self: Writer, *arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise psycopg.errors.DiskFull("as if")
        original(self, *arguments)

    monkeypatch.setattr(Writer, "_insert", insert)
    with pytest.raises(StorageFullError, match="first 200 of 500 .* ids 0 to 199"):
        index.add_batch(np.ones((500, 2)), batch_size=100)
    monkeypatch.undo()
    assert len(index) == 200
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_insert", failing(psycopg.errors.DiskFull))
        with pytest.raises(StorageFullError):
            index.add_batch(np.ones((500, 2)), batch_size=100)
    assert index.add([0, 0]) == 500


def test_a_row_is_seen_by_others_within_a_second_or_so(
    index: VectorIndex, other: VectorIndex
) -> None:
    index.add([0, 0])
    deadline = time.monotonic() + 60
    while not len(other):
        assert time.monotonic() < deadline


def test_an_idle_lease_is_given_up(index: VectorIndex, ask: Callable[..., Any]) -> None:
    index.add_batch([[0, 0]])
    writer: Any = index._writer
    assert writer.tick(time.monotonic())
    assert not writer.tick(time.monotonic() + 6)
    assert ask(f"SELECT next_id FROM {CATALOG}") == 1
    assert index.add([0, 0]) == 1


def test_two_handles_share_a_writer(database: str, index: VectorIndex) -> None:
    second = VectorIndex("items", 2, connection=database, timeout=0)
    assert index.add([0, 0]) == 0
    assert second.add([1, 1]) == 1
    assert len(index) == len(second) == 2
    second.close()
    assert index.add([2, 2]) == 2
    assert index.search([2, 2], k=1)[0].id == 2


def test_many_threads_add(index: VectorIndex) -> None:
    found: list[int] = []

    def work() -> None:
        found.extend([index.add([0, 0]) for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(2000))
    assert len(index) == 2000


def test_upsert_delete_and_counts(index: VectorIndex) -> None:
    index.add_batch(np.zeros((10, 2)), metadata=[{"n": n} for n in range(10)])
    index.upsert([3, 50], [[3, 3], [5, 5]])
    assert index.metadata(3) == {"n": 3}
    index.upsert([3], [[3, 3]], metadata=[None])
    assert index.metadata(3) is None
    assert len(index) == 11
    assert index.add([0, 0]) == 51
    assert index.delete([0, 0, 1, 1000]) == 2
    assert index.delete_where({"n": {"$gte": 8}}) == 2
    assert len(index) == index.stats(exact=True).count == 8
    index.set_metadata(2, {"new": True})
    assert index.metadata(2) == {"new": True}
    with pytest.raises(KeyError):
        index.set_metadata(0, None)
    index.upsert([], np.empty((0, 2)))


def test_ids_that_are_in_use(index: VectorIndex) -> None:
    index.add_batch(np.zeros((5, 2)))
    assert index.add([0, 0], id=100) == 100
    for taken in (3, 100):
        with pytest.raises(ValueError, match="in use"):
            index.add([0, 0], id=taken)
    with pytest.raises(ValueError, match="ids in use: 1, 2"):
        index.add_batch(np.zeros((3, 2)), ids=[2, 1, 200])
    many = list(range(300, 320))
    index.add_batch(np.zeros((20, 2)), ids=many)
    with pytest.raises(ValueError, match="and more"):
        index.add_batch(np.zeros((20, 2)), ids=many)
    assert index.add_batch(np.zeros((2, 2)), ids=[50, 40]).tolist() == [50, 40]


def test_next_id_can_be_moved_on(index: VectorIndex) -> None:
    index._advance_next_id(500)
    assert index.add([0, 0]) == 500
    index._advance_next_id(3)
    assert index.add([0, 0]) == 501
