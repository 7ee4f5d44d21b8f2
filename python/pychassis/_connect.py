"""Where connections come from: a string, a callable, a pool, the user's own, or
the embedded server.

A ``Source`` is shared by all handles of a process on the same database, because
connections are: searching threads take one each and leave it for the next.  It
knows how to get, keep, replace and close connections, and nothing of indexes.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from . import _fork
from ._janitor import janitor
from ._link import Link
from .exceptions import (
    ChassisError,
    ServerError,
    is_lost_connection,
    is_stale_statement,
    map_error,
    outdated_graph,
    scrub,
)

if TYPE_CHECKING:
    import psycopg_pool

    from ._embedded import Cluster

__all__: list[str] = []

logger = logging.getLogger("pychassis.connect")

T = TypeVar("T")

EMBEDDED_READERS = 16
SERVER_READERS = 4

# Connections that nobody used for so long are closed, in seconds.
IDLE = 60.0

# What a lost server is given to come back before an error is raised.
_FIRST_PAUSE, _LAST_PAUSE = 0.005, 0.2


def pauses(timeout: float) -> Iterator[float]:
    """Sleeps between attempts, longer each time, until ``timeout`` is over."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        yield left
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LAST_PAUSE)


class Source:
    """Connections to one database; reference counted through ``open_source``.

    Its own connections are in autocommit mode and carry no session state, so that
    a pooler may stand in between.
    """

    borrowed = False
    embedded = False

    def __init__(self, key: object, *, preparing: bool, timeout: float) -> None:
        self.key = key
        self.timeout = timeout
        self.preparing = preparing
        self.limit = SERVER_READERS
        self.users = 0
        self.closed = False
        self._reset()
        _fork.register(self)

    def _reset(self) -> None:
        self._free: list[Link] = []
        self._all: set[Link] = set()
        self._readers = 0
        self._waiting = 0
        self._changed = threading.Condition(threading.Lock())

    def after_fork(self) -> None:
        for link in self._all:
            _fork.abandon_connection(link.connection)
        self._reset()

    # --- to be said by each kind ---

    def _connect(self) -> psycopg.Connection[Any]:
        """A new connection in autocommit mode."""
        raise NotImplementedError

    def _discard(self, link: Link) -> None:
        """The last of a connection that is broken or no longer wanted."""
        link.close()

    def dsn(self) -> str:
        """A connection string without password."""
        with self.reading("read the connection's parameters") as link:
            parameters = link.connection.info.get_parameters()
        return _without_password(parameters)

    def ensure_running(self) -> None:
        """Called after a connection was lost."""

    def mend(self, error: psycopg.Error) -> bool:
        """Whether what a statement stumbled over is repaired: then send it again."""
        return False

    def wait_durable(self) -> None:
        """Returns when a new cluster's own files are safe on disk."""

    def release(self) -> None:
        """The last user is gone and the connections are closed."""

    # --- links ---

    def _new_link(self, *, alone: bool = False) -> Link:
        """A new connection; waits while the server has none to spare.

        Unless it must be ``alone``, one that became free meanwhile will do.
        """
        error: psycopg.Error | None = None
        for _ in pauses(self.timeout):
            if not alone and (link := self._take_free()) is not None:
                return link
            try:
                return self._made(self._connect())
            except psycopg.OperationalError as failure:
                error = failure
                if not _worth_waiting(failure):
                    break
        if error is None:
            raise ServerError(f"No connection within timeout={self.timeout:g} s")
        raise map_error(error, "connect to the server") from error

    def _made(self, connection: psycopg.Connection[Any]) -> Link:
        direct = _is_direct(connection)
        link = Link(connection, direct=direct, preparing=self.preparing and direct)
        with self._changed:
            self._all.add(link)
        return link

    def _take_free(self) -> Link | None:
        """A connection that lies ready."""
        while True:
            try:
                link = self._free.pop()
            except IndexError:
                return None
            if not link.broken:
                return link
            self.drop(link)

    def take(self) -> Link:
        """A connection for oneself; ``give()`` it back."""
        return self._take_free() or self._new_link()

    def give(self, link: Link) -> None:
        """Back for the next; a broken one is dropped."""
        if self.closed or link.broken or not link.idle:
            self.drop(link)
            return
        link.used = time.monotonic()
        self._free.append(link)
        if len(self._free) == 1 and not self.closed:
            janitor.watch(self)

    def drop(self, link: Link) -> None:
        """Closes a connection that cannot be used again."""
        with self._changed:
            self._all.discard(link)
        self._discard(link)

    def take_reader(self) -> Link:
        """As ``take()``, but waits while ``limit`` readers are at work."""
        with self._changed:
            while self._readers >= self.limit:
                self._waiting += 1
                ready = self._changed.wait(self.timeout)
                self._waiting -= 1
                if not ready:
                    raise ServerError(
                        f"No connection became free within {self.timeout:g} s: "
                        f"{self.limit} threads search at the moment. Raise "
                        "max_readers, or search in fewer threads"
                    )
            self._readers += 1
        try:
            return self.take()
        except BaseException:
            self._reader_done()
            raise

    def give_reader(self, link: Link) -> None:
        self.give(link)
        self._reader_done()

    def drop_reader(self, link: Link) -> None:
        self.drop(link)
        self._reader_done()

    def _reader_done(self) -> None:
        with self._changed:
            self._readers -= 1
            if self._waiting:
                self._changed.notify()

    @contextlib.contextmanager
    def reading(self, doing: str) -> Iterator[Link]:
        """A connection for several statements; psycopg's errors become ours."""
        link = self.take_reader()
        try:
            yield link
        except psycopg.Error as error:
            raise map_error(error, doing) from error
        finally:
            self.give_reader(link)

    def read(self, action: Callable[[Link], T], doing: str) -> T:
        """Runs ``action``, again if the connection was lost or a graph was mended.

        ``action`` must only read; ``doing`` is for the message of an exception.
        """
        for attempt in (1, 2, 3):
            link = self.take_reader()
            try:
                result = action(link)
            except psycopg.Error as error:
                last = attempt == 3
                if not last and (is_lost_connection(error) or self._stale(error)):
                    self.drop_reader(link)
                    self.forget_free(error)
                    continue
                self.give_reader(link)
                if not last and self.mend(error):
                    continue
                raise map_error(error, doing) from error
            except BaseException:
                self.give_reader(link)
                raise
            self.give_reader(link)
            return result
        raise AssertionError("unreachable")

    def _stale(self, error: psycopg.Error) -> bool:
        """A pooler lost a prepared statement: prepare none from now on."""
        if not is_stale_statement(error):
            return False
        self.preparing = False
        return True

    def forget_free(self, error: psycopg.Error) -> None:
        """After one connection was lost the others most likely are, too."""
        logger.info("connection lost (%s), connecting again", scrub(str(error)).strip())
        while self._free:
            with contextlib.suppress(IndexError):
                self.drop(self._free.pop())
        self.ensure_running()

    @contextlib.contextmanager
    def lend(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for the user, who may leave any state in it."""
        link = self._new_link(alone=True)
        try:
            yield link.connection
        finally:
            self.drop(link)

    @contextlib.contextmanager
    def transaction(self, link: Link) -> Iterator[None]:
        """A transaction of ours, or a savepoint in the user's.

        A borrowed connection without autocommit begins its own transaction with
        its first statement, as it would for the user; nobody but they end it.
        """
        connection = link.connection
        if self.borrowed and not connection.autocommit and link.idle:
            connection.execute("SELECT 1")
        with connection.transaction():
            yield

    def tick(self, now: float) -> bool:
        """Closes what lay idle; the oldest lie at the bottom."""
        while self._free and now - self._free[0].used > IDLE:
            try:
                link = self._free.pop(0)
            except IndexError:
                break
            self.drop(link)
        return bool(self._free) and not self.closed

    def close(self) -> None:
        """Closes all connections that are not in use; the others follow."""
        self.closed = True
        while self._free:
            with contextlib.suppress(IndexError):
                self.drop(self._free.pop())
        self.release()


class ConninfoSource(Source):
    """A connection string."""

    def __init__(self, conninfo: str, **keywords: Any) -> None:
        self._parameters = _parse(conninfo)
        key = ("conninfo", tuple(sorted(self._parameters.items())))
        super().__init__(key, **keywords)

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            **{"fallback_application_name": "pychassis", **self._parameters},
            autocommit=True,
            prepare_threshold=None,
        )

    def dsn(self) -> str:
        return _without_password(self._parameters)


class CallableSource(Source):
    """A callable that returns a new connection, which is then ours."""

    def __init__(
        self, factory: Callable[[], psycopg.Connection[Any]], **keywords: Any
    ) -> None:
        self._factory = factory
        super().__init__(("callable", factory), **keywords)

    def _connect(self) -> psycopg.Connection[Any]:
        connection = self._factory()
        if not isinstance(connection, psycopg.Connection):
            raise TypeError(
                "connection must return a psycopg.Connection, not "
                f"{type(connection).__name__}"
            )
        connection.autocommit = True
        connection.prepare_threshold = None
        return connection


class PoolSource(Source):
    """A psycopg pool: every connection goes back after each use."""

    def __init__(self, pool: psycopg_pool.ConnectionPool[Any], **keywords: Any) -> None:
        self._pool = pool
        super().__init__(("pool", id(pool)), **keywords)

    def _reset(self) -> None:
        super()._reset()
        # Prepared statements belong to the connection, which the pool keeps.
        self._links: dict[int, Link] = {}
        self._autocommit: dict[int, bool] = {}

    def after_fork(self) -> None:
        # The pool's connections are its owner's business.
        self._reset()

    def take(self) -> Link:
        try:
            connection = self._pool.getconn(timeout=self.timeout)
        except psycopg.Error as error:
            raise map_error(error, "get a connection from the pool") from error
        link = self._links.get(id(connection))
        if link is None or link.connection is not connection:
            direct = _is_direct(connection)
            link = Link(connection, direct=False, preparing=self.preparing and direct)
            self._links[id(connection)] = link
        self._autocommit[id(connection)] = connection.autocommit
        if not connection.autocommit:
            connection.autocommit = True
        return link

    def give(self, link: Link) -> None:
        connection = link.connection
        before = self._autocommit.pop(id(connection), True)
        if link.broken:
            self._links.pop(id(connection), None)
        elif not before and link.idle:
            connection.autocommit = False
        self._pool.putconn(connection)

    def drop(self, link: Link) -> None:
        link.close()
        self.give(link)

    @contextlib.contextmanager
    def lend(self) -> Iterator[psycopg.Connection[Any]]:
        link = self.take()
        try:
            yield link.connection
        finally:
            # Closed: the user may have left settings in the session.
            self.drop(link)


class BorrowedSource(Source):
    """The user's own connection: never committed, rolled back or closed by us."""

    borrowed = True

    def __init__(self, connection: psycopg.Connection[Any], **keywords: Any) -> None:
        self.connection = connection
        super().__init__(("borrowed", id(connection)), **keywords)
        self.limit = 1

    def _reset(self) -> None:
        super()._reset()
        self._lock = threading.RLock()
        self._link = Link(self.connection, direct=False, preparing=False)

    def after_fork(self) -> None:
        self._reset()

    def take(self) -> Link:
        self._lock.acquire()
        if self.connection.closed:
            self._lock.release()
            raise ServerError(
                "The connection that the index was given is closed: open the index "
                "again with another one"
            )
        return self._link

    def give(self, link: Link) -> None:
        self._lock.release()

    drop = give

    # One thread at a time is what the lock is for, and the writer reads, too.
    take_reader, give_reader, drop_reader = take, give, give

    def dsn(self) -> str:
        return _without_password(self.connection.info.get_parameters())

    @contextlib.contextmanager
    def lend(self) -> Iterator[psycopg.Connection[Any]]:
        yield self.connection

    def forget_free(self, error: psycopg.Error) -> None:
        """There is no other connection."""

    def close(self) -> None:
        self.closed = True


class EmbeddedSource(Source):
    """The private server of a directory."""

    embedded = True

    def __init__(self, cluster: Cluster, **keywords: Any) -> None:
        self.cluster = cluster
        super().__init__(("embedded", id(cluster)), **keywords)
        self.limit = EMBEDDED_READERS

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            return self._connect_once()
        except psycopg.OperationalError as error:
            logger.info("the server does not answer (%s)", str(error).strip())
            self.cluster.ensure_running(self.timeout)
            return self._connect_once()

    def _connect_once(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            **{"fallback_application_name": "pychassis", **self.cluster.conninfo()},
            autocommit=True,
            prepare_threshold=None,
        )

    def dsn(self) -> str:
        # Our own way there leads through a descriptor of this process.
        conninfo = self.cluster.conninfo()
        wanted = {name: conninfo.get(name) for name in ("port", "dbname", "user")}
        host = str(self.cluster.socket_directory)
        return _without_password({"host": host, **wanted})

    def ensure_running(self) -> None:
        self.cluster.ensure_running(self.timeout)

    def mend(self, error: psycopg.Error) -> bool:
        """A graph of another version's format is built anew."""
        if outdated_graph(error) is None:
            return False
        from ._outdated import build_anew

        link = self.take()
        try:
            return build_anew(link, error)
        except psycopg.Error as failure:
            raise map_error(failure, "build the graph anew") from failure
        finally:
            self.give(link)

    def wait_durable(self) -> None:
        self.cluster.wait_durable()

    def release(self) -> None:
        self.cluster.release()


# --- sharing ------------------------------------------------------------------


class _Registry:
    """The sources of this process by key."""

    def __init__(self) -> None:
        self.sources: dict[object, Source] = {}
        self.lock = threading.Lock()
        _fork.register(self)

    def after_fork(self) -> None:
        """The sources stay, each with connections of the child's own."""
        self.lock = threading.Lock()


_registry = _Registry()


def open_source(made: Source, max_readers: int | None) -> Source:
    """``made``, or the one of the process that leads to the same database.

    The caller is a user of it until ``close_source()``.
    """
    with _registry.lock:
        source = _registry.sources.setdefault(made.key, made)
        source.users += 1
        if max_readers is not None and not source.borrowed:
            default = EMBEDDED_READERS if source.embedded else SERVER_READERS
            source.limit = max(max_readers, source.limit if source.users > 1 else 0)
            source.limit = source.limit or default
        source.preparing = source.preparing and made.preparing
    if source is not made:
        # An embedded cluster was acquired for the one that is not needed.
        made.release()
    return source


def close_source(source: Source) -> None:
    """The last user closes the connections and lets go of the server."""
    with _registry.lock:
        source.users -= 1
        last = source.users == 0
        if last and _registry.sources.get(source.key) is source:
            del _registry.sources[source.key]
    if last:
        source.close()


def make_source(connection: object, *, prepare: bool, timeout: float) -> Source:
    """The source for what the user passed as ``connection``."""
    if isinstance(connection, str):
        return ConninfoSource(connection, preparing=prepare, timeout=timeout)
    if isinstance(connection, psycopg.Connection):
        return BorrowedSource(connection, preparing=False, timeout=timeout)
    kind = type(connection).__name__
    if isinstance(connection, psycopg.AsyncConnection) or "Async" in kind:
        raise TypeError(
            f"connection must be synchronous, not {kind}: pass a connection string, "
            "also to AsyncVectorIndex"
        )
    if hasattr(connection, "getconn") and hasattr(connection, "putconn"):
        return PoolSource(connection, preparing=prepare, timeout=timeout)  # type: ignore[arg-type]
    if callable(connection):
        return CallableSource(connection, preparing=prepare, timeout=timeout)
    raise TypeError(
        "connection must be a connection string, a psycopg connection or pool, or a "
        f"callable that returns a connection, not {kind}"
    )


def _parse(conninfo: str) -> dict[str, Any]:
    """The parameters of a connection string; a broken one is never repeated."""
    try:
        return dict(conninfo_to_dict(conninfo))
    except psycopg.ProgrammingError:
        # libpq's message quotes the string, password and all.
        cause = psycopg.ProgrammingError("malformed connection string")
        raise ServerError(
            "The connection string cannot be read: write it as "
            "postgresql://user@host/database or as host=... dbname=..."
        ) from cause


def _without_password(parameters: dict[str, Any]) -> str:
    secret = ("password", "sslpassword", "passfile", "fallback_application_name")
    shown = {
        name: value
        for name, value in parameters.items()
        if name not in secret and value not in ("", None)
    }
    return make_conninfo("", **shown)


def _is_direct(connection: psycopg.Connection[Any]) -> bool:
    """Whether the session behind the connection is ours as long as it lives.

    A pooler makes up the process id that it tells its client.
    """
    result = connection.pgconn.exec_(b"SELECT pg_catalog.pg_backend_pid()")
    value = result.get_value(0, 0) if result.ntuples else None
    return value is not None and int(value) == connection.info.backend_pid


def _worth_waiting(error: psycopg.OperationalError) -> bool:
    """No connection to spare, or a server that is just starting or stopping."""
    state = error.sqlstate
    if state is not None:
        return state in ("53300", "57P03", "57P01", "57P02")
    # Errors of the connection phase carry no SQLSTATE before psycopg 3.2.
    text = str(error)
    return any(
        sign in text
        for sign in (
            "too many clients",
            "remaining connection slots",
            "too many connections",
            "is starting up",
            "is shutting down",
        )
    )


def refuse_inside_transaction(source: Source, what: str) -> None:
    """For statements that no transaction may contain, on a borrowed connection."""
    if source.borrowed:
        raise ChassisError(
            f"Cannot {what} on a borrowed connection, which may be in a transaction: "
            "open the index with a connection string, or run the statement yourself"
        )
