"""``AsyncVectorIndex``: the same index for programs that run on asyncio.

Every method of ``VectorIndex`` that talks to the server is a coroutine here, of
the same name and parameters::

    async with AsyncVectorIndex.open("embeddings.chassis", 768) as index:
        await index.add(vector)
        results = await index.search(query, k=10)

Three cannot keep their form: ``len(index)`` is ``await index.count()``, ``id in
index`` is ``await index.contains(id)``, and ``connection()`` is
``await index.with_connection(work)``.

Separate because importing asyncio takes time that most programs need not spend.
It runs ``VectorIndex`` in private threads and contains no SQL: the cost of
handing a call to a thread is small beside a round trip to a server, and there
is one implementation of buffering, leases and recovery instead of two.  Writes
share one thread, which keeps them in the order of their calls; reads have
several, so that they overlap with each other and with writes.

Cancellation: a call that has not begun is dropped.  A read that has begun is
abandoned, its result discarded.  A write that has begun takes place all the same,
as it would if the connection to a server broke after it was sent.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import psycopg

from .exceptions import ChassisError
from .index import VectorIndex
from .options import IndexOptions, Metric, PathLike

__all__ = ["AsyncVectorIndex"]

T = TypeVar("T")

# Python 3.9 has neither name, and only the type checker needs them.
if TYPE_CHECKING:
    from typing import Concatenate, ParamSpec

    P = ParamSpec("P")
    Method = Callable[Concatenate[VectorIndex, P], T]
    AsyncMethod = Callable[Concatenate["AsyncVectorIndex", P], Coroutine[Any, Any, T]]

# Reads that run at once; more wait for a thread.  The index itself limits its
# connections (max_readers), so that more threads than that gain nothing.
READERS = 16


def _in_reader(method: Method[P, T]) -> AsyncMethod[P, T]:
    """Return the coroutine that calls ``method`` in one of the reading threads."""

    @functools.wraps(method)
    async def call(
        self: AsyncVectorIndex, /, *arguments: P.args, **keywords: P.kwargs
    ) -> T:
        work = functools.partial(method, self._index, *arguments, **keywords)
        return await self._run(self._readers, work)

    return call


def _in_writer(method: Method[P, T]) -> AsyncMethod[P, T]:
    """Return the coroutine that calls ``method`` in the writing thread."""

    @functools.wraps(method)
    async def call(
        self: AsyncVectorIndex, /, *arguments: P.args, **keywords: P.kwargs
    ) -> T:
        work = functools.partial(method, self._index, *arguments, **keywords)
        return await self._run(self._writer, work)

    return call


class _Opening(Awaitable["AsyncVectorIndex"]):
    """An index about to be opened: to be awaited, or entered with ``async with``."""

    def __init__(self, make: Callable[[], VectorIndex]) -> None:
        self._make = make
        self._opened: AsyncVectorIndex | None = None

    def __await__(self) -> Generator[Any, None, AsyncVectorIndex]:
        return self._open().__await__()

    async def _open(self) -> AsyncVectorIndex:
        future = _in_new_thread(self._make)
        try:
            return AsyncVectorIndex(await asyncio.wrap_future(future))
        except asyncio.CancelledError:
            future.add_done_callback(_close_unwanted)
            raise

    async def __aenter__(self) -> AsyncVectorIndex:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._opened is not None
        await self._opened.__aexit__(kind, error, traceback)


def _in_new_thread(work: Callable[[], T]) -> Future[T]:
    """Run ``work`` in a thread that ends afterwards."""
    executor = ThreadPoolExecutor(1, "chassis-async")
    try:
        return executor.submit(contextvars.copy_context().run, work)
    finally:
        executor.shutdown(wait=False)


def _close_unwanted(future: Future[VectorIndex]) -> None:
    """Close what was opened for a task that has been cancelled meanwhile."""
    if not future.cancelled() and future.exception() is None:
        # Not here: this may be the event loop's thread.
        threading.Thread(target=future.result().close, name="chassis-close").start()


class AsyncVectorIndex:
    """A ``VectorIndex`` whose methods are coroutines; see there for what they do.

    Made by ``open``, ``attach`` and ``load``, whose results are awaited or entered
    with ``async with``.  May be used by any number of tasks.  Where a method takes
    ``progress``, a callable is called in the thread that works.
    """

    def __init__(self, index: VectorIndex) -> None:
        """Use ``index``, which belongs to the new object from then on."""
        self._index = index
        self._readers = ThreadPoolExecutor(READERS, "chassis-read")
        self._writer = ThreadPoolExecutor(1, "chassis-write")
        self._closing: Future[None] | None = None

    # --- opening and closing --------------------------------------------------

    @classmethod
    def open(
        cls,
        path: PathLike,
        dimensions: int | None = None,
        options: IndexOptions | None = None,
        **keywords: Any,
    ) -> _Opening:
        """Open or create an index; without ``dimensions`` it has to exist.

        ``keywords`` are those of ``VectorIndex``.
        """
        if dimensions is None:
            return _Opening(
                functools.partial(VectorIndex.open, path, options=options, **keywords)
            )
        return _Opening(
            functools.partial(VectorIndex, path, dimensions, options, **keywords)
        )

    @classmethod
    def attach(cls, connection: Any, table: str, **keywords: Any) -> _Opening:
        """Use a table that exists, as ``VectorIndex.attach`` does."""
        return _Opening(
            functools.partial(VectorIndex.attach, connection, table, **keywords)
        )

    @classmethod
    def load(cls, file: PathLike, path: PathLike, **keywords: Any) -> _Opening:
        """Create an index from a file, as ``VectorIndex.load`` does."""
        return _Opening(functools.partial(VectorIndex.load, file, path, **keywords))

    async def close(self) -> None:
        """Wait for all calls that have begun, then flush and free everything."""
        await self._close(self._index.close)

    async def __aenter__(self) -> AsyncVectorIndex:
        self._need_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close(
            functools.partial(self._index.__exit__, kind, error, traceback)
        )

    async def _close(self, finish: Callable[[], None]) -> None:
        if self._closing is None:
            self._closing = _in_new_thread(functools.partial(self._shut_down, finish))
        # Closing goes on when the task that asked for it is cancelled.
        await asyncio.shield(asyncio.wrap_future(self._closing))

    def _shut_down(self, finish: Callable[[], None]) -> None:
        self._readers.shutdown()
        self._writer.shutdown()
        finish()

    # --- running --------------------------------------------------------------

    def _need_open(self) -> None:
        if self._closing is not None:
            raise ChassisError("Index is closed")

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        self._need_open()
        # As asyncio.to_thread() does: context variables are those of the caller.
        future = executor.submit(contextvars.copy_context().run, work)
        return await asyncio.wrap_future(future)

    # --- writing --------------------------------------------------------------

    add = _in_writer(VectorIndex.add)
    add_batch = _in_writer(VectorIndex.add_batch)
    upsert = _in_writer(VectorIndex.upsert)
    delete = _in_writer(VectorIndex.delete)
    delete_where = _in_writer(VectorIndex.delete_where)
    set_metadata = _in_writer(VectorIndex.set_metadata)
    discard = _in_writer(VectorIndex.discard)
    flush = _in_writer(VectorIndex.flush)
    vacuum = _in_writer(VectorIndex.vacuum)
    rebuild = _in_writer(VectorIndex.rebuild)
    drop_index = _in_writer(VectorIndex.drop_index)
    drop = _in_writer(VectorIndex.drop)

    # --- reading --------------------------------------------------------------

    search = _in_reader(VectorIndex.search)
    search_batch = _in_reader(VectorIndex.search_batch)
    recall = _in_reader(VectorIndex.recall)
    get = _in_reader(VectorIndex.get)
    get_many = _in_reader(VectorIndex.get_many)
    metadata = _in_reader(VectorIndex.metadata)
    contains = _in_reader(VectorIndex.__contains__)
    count = _in_reader(VectorIndex.__len__)
    is_empty = _in_reader(VectorIndex.is_empty)
    stats = _in_reader(VectorIndex.stats)
    save = _in_reader(VectorIndex.save)
    export = save

    async def sql_index(self) -> str | None:
        """Return the name of the graph in SQL, or None while there is none."""
        return await self._run(self._readers, lambda: self._index.sql_index)

    async def with_connection(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Call ``work`` with a psycopg connection, in a thread; return its result."""

        def call() -> T:
            with self._index.connection() as connection:
                return work(connection)

        return await self._run(self._readers, call)

    async def vectors(
        self, batch_size: int = 1024
    ) -> AsyncIterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Iterate over all ids and vectors in blocks, from one snapshot."""
        # The snapshot's connection stays with one thread from first to last.
        executor = ThreadPoolExecutor(1, "chassis-iterate")
        iterator = self._index.vectors(batch_size)
        try:
            while True:
                block = await self._run(executor, lambda: next(iterator, None))
                if block is None:
                    return
                yield block
        finally:
            # Queued behind a step that may still run for a cancelled task.
            close: Any = getattr(iterator, "close", None)
            executor.submit(close)
            executor.shutdown(wait=False)

    async def __aiter__(self) -> AsyncIterator[int]:
        """Iterate over the ids, as they were when the iteration began."""
        async for ids, _ in self.vectors(4096):
            for number in ids.tolist():
                yield number

    # --- what needs no server ---------------------------------------------------

    @property
    def dimensions(self) -> int:
        """The number of dimensions of every vector."""
        self._need_open()
        return self._index.dimensions

    @property
    def path(self) -> Path:
        """The path, as given."""
        return self._index.path

    @property
    def options(self) -> IndexOptions:
        """The parameters in force."""
        return self._index.options

    @property
    def metric(self) -> Metric:
        """The distance."""
        return self._index.metric

    @property
    def closed(self) -> bool:
        """Whether the index is closed, or about to be."""
        return self._closing is not None or self._index.closed

    @property
    def read_only(self) -> bool:
        """Whether this handle, or the server behind it, refuses to write."""
        return self._index.read_only

    @property
    def dsn(self) -> str:
        """A connection string without password."""
        return self._index.dsn

    @property
    def table(self) -> str:
        """The table, quoted and with its schema."""
        return self._index.table

    def __repr__(self) -> str:
        return f"Async{self._index!r}"
