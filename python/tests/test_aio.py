"""AsyncVectorIndex: the same answers, without ever holding up the event loop.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from psycopg import sql
from servers import Deadline

from pychassis import (
    AsyncVectorIndex,
    ChassisError,
    DimensionMismatchError,
    IndexNotFoundError,
    IndexOptions,
    VectorIndex,
)

T = TypeVar("T")
Vectors = Callable[[int, int], npt.NDArray[np.float32]]

# For a loaded machine: what is waited for here comes at once or never.
PATIENCE = 120.0


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds."""

    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), PATIENCE)


@contextmanager
def locked_table(index: VectorIndex | AsyncVectorIndex) -> Iterator[Callable[[], int]]:
    """Nobody reads or writes the table; gives how many sessions wait for it."""
    with (
        psycopg.connect(index.dsn) as holder,
        psycopg.connect(index.dsn, autocommit=True) as observer,
    ):
        table = sql.SQL(index.table)
        holder.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))

        def waiting() -> int:
            row = observer.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            ).fetchone()
            assert row is not None
            return int(row[0])

        yield waiting


# ------------------------------------------------------------- the same interface


# What cannot keep its form, and what takes its place.
RENAMED = {
    "__len__": "count",
    "__contains__": "contains",
    "connection": "with_connection",
}
OPENING = {"open", "attach", "load"}


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_every_method_has_its_counterpart() -> None:
    wanted = {RENAMED.get(name, name) for name in public(VectorIndex)}
    wanted |= set(RENAMED.values())
    assert public(AsyncVectorIndex) == wanted


def test_parameters_are_the_same() -> None:
    for name in public(VectorIndex) - OPENING - RENAMED.keys():
        there, here = getattr(VectorIndex, name), getattr(AsyncVectorIndex, name)
        if isinstance(there, property):
            assert isinstance(here, property) or name == "sql_index"
            continue
        assert inspect.iscoroutinefunction(here) or inspect.isasyncgenfunction(here)
        parameters = list(inspect.signature(there).parameters.values())
        assert list(inspect.signature(here).parameters.values()) == parameters, name
        assert here.__doc__


# --------------------------------------------------------------------- what it does


def test_the_whole_interface(path: Path, vectors: Vectors, tmp_path: Path) -> None:
    rows = vectors(40, 3)

    async def work() -> None:
        options = IndexOptions(ef_search=33)
        async with AsyncVectorIndex.open(path, 3, options) as index:
            assert repr(index).startswith("AsyncVectorIndex(")
            assert (index.dimensions, index.metric, index.path) == (3, "l2", path)
            assert index.options.ef_search == 33
            assert not index.closed
            assert not index.read_only
            assert await index.is_empty()
            assert await index.add(rows[0], metadata={"n": 0}) == 0
            ids = await index.add_batch(rows[1:], metadata=[{"n": 1}] * 39)
            assert ids.tolist() == list(range(1, 40))
            assert await index.count() == 40
            assert await index.contains(39)
            assert not await index.contains(40)
            assert (await index.search(rows[7], k=1))[0].id == 7
            hits = await index.search(rows[0], k=5, where={"n": 0})
            assert [hit.id for hit in hits] == [0]
            batch = await index.search_batch(rows[:4], k=2)
            assert batch.ids[:, 0].tolist() == [0, 1, 2, 3]
            assert await index.recall(rows[:4], k=2) == 1.0
            assert np.array_equal(await index.get(5), rows[5])
            assert np.array_equal(await index.get_many([5, 6]), rows[5:7])
            assert await index.metadata(3) == {"n": 1}
            await index.set_metadata(3, {"n": 3})
            assert await index.delete_where({"n": 3}) == 1
            await index.upsert([3], rows[3:4])
            assert await index.delete([38, 39]) == 2
            await index.flush()
            assert [number async for number in index] == list(range(38))
            blocks = [block async for block in index.vectors(batch_size=10)]
            assert np.array_equal(np.concatenate([b[1] for b in blocks]), rows[:38])
            assert (await index.stats()).count == 38
            assert await index.sql_index() is None
            await index.rebuild()
            assert await index.sql_index() is not None
            await index.drop_index()
            await index.vacuum()
            assert await index.discard() == []
            count = sql.SQL("SELECT count(*) FROM {}").format(sql.SQL(index.table))
            found = await index.with_connection(lambda c: c.execute(count).fetchone())
            assert found == (38,)
            await index.save(tmp_path / "a.zip")
        copy = path.with_name(path.name + "-copy")
        async with AsyncVectorIndex.load(tmp_path / "a.zip", copy) as index:
            assert await index.count() == 38
            await index.drop()

    run(work())


def test_opening_in_both_ways(path: Path) -> None:
    async def work() -> None:
        index = await AsyncVectorIndex.open(path, 3)
        await index.add([1, 2, 3])
        await index.close()
        await index.close()
        assert index.closed
        async with AsyncVectorIndex.open(path) as again:
            assert await again.count() == 1
        with pytest.raises(DimensionMismatchError):
            await AsyncVectorIndex.open(path, 4)
        with pytest.raises(IndexNotFoundError):
            async with AsyncVectorIndex.open(path.with_name("none")):
                pass

    run(work())


def test_attaching(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS aio_items")
        connection.execute("CREATE TABLE aio_items (id bigint, embedding vector(2))")
        connection.execute("INSERT INTO aio_items VALUES (4, '[1,2]')")

    async def work() -> None:
        async with AsyncVectorIndex.attach(server, "aio_items") as index:
            assert [hit.id for hit in await index.search([1, 2])] == [4]

    run(work())


def test_a_closed_index(path: Path) -> None:
    async def work() -> None:
        index = await AsyncVectorIndex.open(path, 3)
        await index.close()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: index.add([1, 2, 3]),
            lambda: index.search([1, 2, 3]),
            index.flush,
            index.count,
            index.is_empty,
            index.__aenter__,
        ]
        for call in calls:
            with pytest.raises(ChassisError, match="Index is closed"):
                await call()
        with pytest.raises(ChassisError, match="Index is closed"):
            assert index.dimensions
        assert index.path == path
        assert "closed" in repr(index)

    run(work())


def test_exceptions_arrive_as_they_are(path: Path) -> None:
    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            with pytest.raises(DimensionMismatchError):
                await index.add([1, 2])
            with pytest.raises(ValueError, match="k must be"):
                await index.search([1, 2, 3], k=0)
            with pytest.raises(KeyError):
                await index.get(7)

    run(work())


def test_an_exception_in_the_block_passes_and_keeps_the_rows(path: Path) -> None:
    async def work() -> None:
        with pytest.raises(ZeroDivisionError):
            async with AsyncVectorIndex.open(path, 3) as index:
                await index.add([1, 2, 3])
                raise ZeroDivisionError
        assert index.closed

    run(work())
    with VectorIndex.open(path) as index:
        assert len(index) == 1


def test_context_variables_are_the_caller_s(path: Path) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def work() -> None:
        variable.set("here")
        async with AsyncVectorIndex.open(path, 3) as index:
            assert await index.with_connection(lambda c: variable.get()) == "here"

    run(work())


def test_more_than_one_event_loop(path: Path) -> None:
    index = run(_open(path))
    run(_add(index))
    run(_close(index))
    with VectorIndex.open(path) as again:
        assert len(again) == 1


async def _open(path: Path) -> AsyncVectorIndex:
    return await AsyncVectorIndex.open(path, 3)


async def _add(index: AsyncVectorIndex) -> None:
    await index.add([1, 2, 3])


async def _close(index: AsyncVectorIndex) -> None:
    await index.close()


# --------------------------------------------------------------------- concurrency


def test_many_adds_keep_their_order(path: Path, vectors: Vectors) -> None:
    rows = vectors(200, 3)

    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            ids = await asyncio.gather(*(index.add(row) for row in rows))
            assert ids == list(range(200))
            assert np.array_equal(await index.get_many(ids), rows)

    run(work())


def test_waiting_for_the_server_does_not_hold_up_the_event_loop(path: Path) -> None:
    """Searches wait for a lock at the same time, and the loop goes on meanwhile."""

    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            await index.add([1, 2, 3])
            await index.flush()
            with locked_table(index) as waiting:
                searches = [
                    asyncio.create_task(index.search([1, 2, 3])) for _ in range(4)
                ]
                # The loop runs this all the time, or it would never end.
                await until(lambda: waiting() >= 4)
                assert not any(task.done() for task in searches)
            answers = await asyncio.gather(*searches)
            assert [[hit.id for hit in answer] for answer in answers] == [[0]] * 4

    run(work())


def test_reads_go_on_while_a_write_waits(path: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            await index.add([1, 2, 3])
            await index.flush()
            begun, go_on = threading.Event(), threading.Event()

            def hold(done: int, total: int) -> None:
                begun.set()
                assert go_on.wait(PATIENCE)

            writing = asyncio.create_task(
                index.add_batch(np.ones((10, 3)), progress=hold)
            )
            await until(begun.is_set)
            assert (await index.search([1, 2, 3], k=1))[0].id == 0
            assert not writing.done()
            go_on.set()
            assert len(await writing) == 10

    run(work())


def test_two_indexes_at_once(new_path: Callable[[], Path], vectors: Vectors) -> None:
    rows = vectors(300, 3)

    async def fill(path: Path) -> int:
        async with AsyncVectorIndex.open(path, 3) as index:
            for part in np.array_split(rows, 10):
                await index.add_batch(part)
            return await index.count()

    async def work() -> list[int]:
        return await asyncio.gather(*(fill(new_path()) for _ in range(3)))

    assert run(work()) == [300] * 3


# -------------------------------------------------------------------- cancellation


def test_a_cancelled_search_is_abandoned(path: Path) -> None:
    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            await index.add([1, 2, 3])
            await index.flush()
            with locked_table(index) as waiting:
                task = asyncio.create_task(index.search([1, 2, 3]))
                await until(lambda: waiting() == 1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert len(await index.search([1, 2, 3])) == 1

    run(work())


def test_a_time_limit_works(path: Path) -> None:
    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            await index.add([1, 2, 3])
            await index.flush()
            with locked_table(index):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(index.search([1, 2, 3]), 0.05)
            assert await index.count() == 1

    run(work())


def test_a_cancelled_write_that_has_begun_takes_place(path: Path) -> None:
    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            begun, go_on = threading.Event(), threading.Event()

            def hold(done: int, total: int) -> None:
                begun.set()
                assert go_on.wait(PATIENCE)

            first = asyncio.create_task(
                index.add_batch(np.ones((10, 3)), progress=hold)
            )
            await until(begun.is_set)
            second = asyncio.create_task(index.add([2, 2, 2]))
            await asyncio.sleep(0)
            first.cancel()
            second.cancel()
            for task in (first, second):
                with pytest.raises(asyncio.CancelledError):
                    await task
            go_on.set()
            # The batch was under way; the single vector had not begun.
            assert await index.add([3, 3, 3]) == 10
            assert await index.count() == 11

    run(work())


def test_cancelled_opening_leaves_nothing_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    opened: list[VectorIndex] = []
    original = VectorIndex.__init__

    def slow(self: VectorIndex, *arguments: Any, **keywords: Any) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        original(self, *arguments, **keywords)
        opened.append(self)

    monkeypatch.setattr(VectorIndex, "__init__", slow)

    async def work() -> None:
        async def enter() -> None:
            async with AsyncVectorIndex.open(path, 3):
                raise AssertionError("entered")

        task = asyncio.create_task(enter())
        await until(begun.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await until(lambda: bool(opened) and opened[0].closed)

    run(work())


def test_closing_waits_for_what_has_begun(path: Path) -> None:
    async def work() -> None:
        index = await AsyncVectorIndex.open(path, 3)
        await index.add([1, 2, 3])
        await index.flush()
        with locked_table(index) as waiting:
            search = asyncio.create_task(index.search([1, 2, 3]))
            await until(lambda: waiting() == 1)
            closing = asyncio.create_task(index.close())
            await until(lambda: index.closed)
            with pytest.raises(ChassisError, match="Index is closed"):
                await index.count()
            # Who waits for the end may give up; the end comes all the same.
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert not search.done()
        assert len(await search) == 1
        await index.close()

    run(work())


def test_an_iteration_that_is_left_or_cancelled(path: Path, vectors: Vectors) -> None:
    rows = vectors(500, 3)

    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            await index.add_batch(rows)
            iteration = index.vectors(batch_size=100)
            first, _ = await iteration.__aiter__().__anext__()
            assert first.tolist() == list(range(100))
            await iteration.aclose()  # type: ignore[attr-defined]
            await index.flush()
            with locked_table(index) as waiting:
                task = asyncio.create_task(_collect(index))
                await until(lambda: waiting() == 1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert len(await _collect(index)) == 500

    run(work())


async def _collect(index: AsyncVectorIndex) -> list[int]:
    return [number async for number in index]


def test_threads_end_with_the_index(path: Path) -> None:
    def ours() -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            if thread.name.startswith(("chassis-read", "chassis-write", "chassis-it"))
        ]

    async def work() -> None:
        async with AsyncVectorIndex.open(path, 3) as index:
            await index.add([1, 2, 3])
            assert await _collect(index) == [0]
            assert ours()

    run(work())
    gc.collect()
    deadline = Deadline(PATIENCE)
    while ours():
        assert not deadline.passed(), ours()
