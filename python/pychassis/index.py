"""``VectorIndex``: the interface users program against.

Checks arguments and says what every method promises; the work is done by the
modules it imports, which know nothing of this class.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import psycopg

from . import _open, _rows, _search, _wire
from ._build import Builder
from ._handle import AnyWriter, Resources, logged_failure
from ._rows import Snapshot
from .exceptions import ChassisError
from .options import (
    IndexOptions,
    MatrixLike,
    Metadata,
    Metric,
    PathLike,
    Progress,
    VectorLike,
    check_integer,
)
from .results import IndexStats, SearchBatch, SearchResult

if TYPE_CHECKING:
    import psycopg_pool

__all__ = ["Connectable", "VectorIndex"]

Connectable = (
    "str | psycopg.Connection[Any] | psycopg_pool.ConnectionPool[Any]"
    " | Callable[[], psycopg.Connection[Any]] | None"
)
Engine = Literal["auto", "chassis", "pgvector"]

# Far above what anybody counts to, and far below where int8 ends, so that ids can
# go on after any that a user chooses.
MAX_ID = 2**62
MAX_K = 2**31 - 1


class VectorIndex:
    """A set of vectors in PostgreSQL, searched by nearness.

    ``path`` names the index.  Without ``connection`` (and with the environment
    variable CHASSIS_DATABASE_URL unset) it is a file in a directory that has a
    private server of its own, started when needed.  With ``connection`` (a
    connection string, a psycopg connection or pool, or a callable that returns a
    new connection) it is a name in that database's catalogue.

    An index that does not exist is created, unless ``create`` is false.
    ``options`` of an existing index: see ``IndexOptions``; None takes the stored
    ones.  ``read_only`` writes nothing and takes no lock.  ``schema`` holds the
    catalogue and the tables, ``table`` names the table (existing servers only).
    ``timeout`` limits, in seconds, how long to wait for the server to start and
    for another process that writes.  ``max_readers`` limits the connections that
    searching threads use at once.  ``prepare=False`` prepares no statements, for
    poolers that cannot keep them.

    One process writes at a time: a second one waits, then gets IndexLockedError.
    Within a process every thread and every handle may write.  Any number of
    threads and processes search, also meanwhile.

    Raises InvalidPathError, IndexNotFoundError, DimensionMismatchError,
    ServerError; ValueError and TypeError for arguments that make no sense.
    """

    def __init__(
        self,
        path: PathLike,
        dimensions: int,
        options: IndexOptions | None = None,
        *,
        connection: (
            str
            | psycopg.Connection[Any]
            | psycopg_pool.ConnectionPool[Any]
            | Callable[[], psycopg.Connection[Any]]
            | None
        ) = None,
        schema: str | None = None,
        table: str | None = None,
        create: bool = True,
        read_only: bool = False,
        timeout: float = 60.0,
        engine: Engine = "auto",
        max_readers: int | None = None,
        prepare: bool = True,
    ) -> None:
        self._setup(
            _open.Request(
                path=path,
                dimensions=dimensions,
                options=options,
                connection=connection,
                schema=schema,
                table=table,
                create=create and not read_only,
                read_only=read_only,
                timeout=timeout,
                engine=engine,
                max_readers=max_readers,
                prepare=prepare,
            )
        )

    @classmethod
    def open(
        cls, path: PathLike, *, options: IndexOptions | None = None, **keywords: Any
    ) -> VectorIndex:
        """An existing index, whose dimensions are read back.

        ``keywords`` are those of the constructor.  Raises IndexNotFoundError.
        """
        keywords["create"] = False
        return cls._make(
            _open.Request(path=path, dimensions=None, options=options, **keywords)
        )

    @classmethod
    def attach(
        cls,
        connection: (
            str
            | psycopg.Connection[Any]
            | psycopg_pool.ConnectionPool[Any]
            | Callable[[], psycopg.Connection[Any]]
        ),
        table: str,
        column: str = "embedding",
        id_column: str = "id",
        metadata_column: str | None = None,
        *,
        schema: str | None = None,
        options: IndexOptions | None = None,
        read_only: bool = False,
        timeout: float = 60.0,
        max_readers: int | None = None,
        prepare: bool = True,
    ) -> VectorIndex:
        """Searches and extends a table that exists; never alters or drops it.

        ``id_column`` must be an integer.  Rows are written at once, each call a
        transaction of its own; ids come from the column's default where it has
        one.  Without ``options`` the metric is that of the column's index.
        """
        return cls._make(
            _open.Request(
                path=table,
                dimensions=None,
                options=options,
                connection=connection,
                schema=schema,
                create=False,
                read_only=read_only,
                timeout=timeout,
                max_readers=max_readers,
                prepare=prepare,
                attach=_open.Attach(table, column, id_column, metadata_column),
            )
        )

    @classmethod
    def _make(cls, request: _open.Request) -> VectorIndex:
        made = cls.__new__(cls)
        made._setup(request)
        return made

    def _setup(self, request: _open.Request) -> None:
        """Everything a handle consists of; a failure leaves nothing behind."""
        opened = _open.open_index(request)
        self._request = request
        self._spec = opened.spec
        self._path = opened.path
        self._options = opened.options
        self._resources = Resources.of(opened, request.timeout)
        self._source = self._resources.source
        self._writer = self._resources.writer
        self._encode = _wire.query_encoder(self._spec.dimensions)
        self._check_row = _wire.row_checker(self._spec.dimensions)
        self._searcher = _search.Searcher(
            self._source, self._spec, self._options.ef_search
        )
        self._rows = _rows.Rows(self._source, self._spec)
        self._builder = Builder(self._source, self._spec, self._options)
        self._count = -1

    # --- the documented interface ---------------------------------------------

    def add(
        self,
        vector: VectorLike,
        *,
        id: int | None = None,
        metadata: Metadata | None = None,
    ) -> int:
        """Adds a vector and returns its id; ``flush()`` makes it durable.

        Ids count from 0.  ``id`` may name one that is free; later ones go on after
        the highest.  Searches of this process see the vector at once, others at
        the latest after a second.  Raises DimensionMismatchError, TypeError for
        what is no number, ValueError for NaN, infinity and an id that is taken,
        IndexLockedError when another process writes.
        """
        writer = self._writer
        if writer is None or self._resources.closed:
            writer = self._need_writer()
        row = self._check_row(vector)
        if id is None and metadata is None:
            return writer.add(row)
        if id is not None:
            id = check_integer("id", id, 0, MAX_ID)
        return writer.add_with(row, id, _wire.encode_metadata(metadata))

    def search(
        self,
        query: VectorLike,
        k: int = 10,
        *,
        ef_search: int | None = None,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        with_metadata: bool = False,
    ) -> list[SearchResult]:
        """The ``k`` nearest vectors, closest first; fewer if there are fewer.

        ``where`` keeps only vectors whose metadata match (``{"year": {"$gt":
        2000}}``), ``exact`` compares with every vector, ``ef_search`` replaces the
        option for this call.
        """
        if self._resources.closed:
            self._refuse_closed()
        if k.__class__ is not int or k < 1:
            k = check_integer("k", k, 1, MAX_K)
        wire = self._encode(query)
        writer, searcher = self._writer, self._searcher
        plain = ef_search is None and where is None and not (exact or with_metadata)
        if writer is not None and writer.pending:
            buffered = writer.peek() if plain else None
            if buffered is not None:
                return searcher.search_both(wire, k, *buffered)
            writer.before_read()
        if not searcher.indexed and monotonic() >= searcher.look_at:
            searcher.look(self._builder.has_graph, self._rows.count)
        if plain:
            return searcher.search(wire, k)
        return searcher.search_with(
            wire, k, self._search_how(ef_search, where, exact), with_metadata
        )

    def flush(self, *, progress: Progress = False) -> None:
        """Makes everything added so far durable, and builds the graph when due."""
        self._need_open()
        if self._writer is not None:
            self._writer.flush()
            self._build_if_due(progress)

    def close(self) -> None:
        """Flushes and frees everything; does nothing on a closed index.

        The last close in a process lets go of the directory's server, which stops
        when no other process uses it.
        """
        self._close(build=True)

    def __len__(self) -> int:
        """How many vectors the index has, those not yet flushed included."""
        self._need_open()
        writer, rows = self._writer, self._rows
        self._count = rows.count() if writer is None else writer.count(rows.count)
        return self._count

    def is_empty(self) -> bool:
        """Whether there are no vectors."""
        return len(self) == 0

    @property
    def dimensions(self) -> int:
        """The number of dimensions of every vector."""
        self._need_open()
        return self._spec.dimensions

    @property
    def path(self) -> Path:
        """The path, as given."""
        return self._path

    @property
    def options(self) -> IndexOptions:
        """The parameters in force."""
        return self._options

    def __enter__(self) -> VectorIndex:
        self._need_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        # The exception under way says more than a second one would.
        with logged_failure("close the index after an exception"):
            self._close(build=False)

    def __repr__(self) -> str:
        state = ", closed" if self._resources.closed else ""
        count = f", vectors={self._count}" if self._count >= 0 else ""
        return (
            f"VectorIndex({str(self._path)!r}, "
            f"dimensions={self._spec.dimensions}{count}{state})"
        )

    def __bool__(self) -> bool:
        """True, even when empty: a handle is not a container to test."""
        return True

    def __del__(self) -> None:
        # Garbage collection may run anywhere, also inside psycopg with its locks
        # held: no lock and no I/O here, only a message to the janitor.
        resources = getattr(self, "_resources", None)
        if resources is not None:
            resources.abandon()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as "open the same index again"."""
        self._need_open()
        if self._writer is not None and self._writer.unflushed:
            raise ChassisError(
                "Cannot pickle an index with vectors that are not flushed: they "
                "would be missing in the copy. Call flush() first"
            )
        return _reopen, (self._request.for_pickle(),)

    # --- beyond it: writing ---------------------------------------------------

    def add_batch(
        self,
        vectors: MatrixLike,
        *,
        ids: npt.ArrayLike | None = None,
        metadata: Sequence[Metadata | None] | None = None,
        batch_size: int = 4096,
        progress: Progress = False,
    ) -> npt.NDArray[np.int64]:
        """Adds the rows of a matrix and returns their ids; much faster than add().

        Everything is checked before the first row is written.  Rows are written
        ``batch_size`` at a time; should the server fail in between, the exception
        names the ids that are in.
        """
        writer = self._need_writer()
        matrix = _wire.as_matrix(vectors, self._spec.dimensions)
        chosen = None if ids is None else _wire.as_ids(ids, len(matrix), MAX_ID)
        documents = _wire.encode_documents(metadata, len(matrix))
        batch_size = check_integer("batch_size", batch_size, 1, 2**20)
        return writer.add_batch(matrix, chosen, documents, batch_size, progress)

    def upsert(
        self,
        ids: npt.ArrayLike,
        vectors: MatrixLike,
        *,
        metadata: Sequence[Metadata | None] | None = None,
    ) -> None:
        """Adds vectors under ``ids``, replacing those that exist.

        Without ``metadata`` existing metadata stay; with it None removes them.
        """
        writer = self._need_writer()
        matrix = _wire.as_matrix(vectors, self._spec.dimensions)
        chosen = _wire.as_ids(ids, len(matrix), MAX_ID)
        documents = _wire.encode_documents(metadata, len(matrix))
        writer.upsert(chosen, matrix, documents)

    def delete(self, ids: int | Iterable[int]) -> int:
        """Deletes by id; how many there were.  Their ids are not used again."""
        writer = self._need_writer()
        return writer.delete(_wire.as_id_list(ids))

    def delete_where(self, where: Mapping[str, Any]) -> int:
        """Deletes the vectors whose metadata match; how many there were."""
        return self._need_writer().delete_where(where)

    def set_metadata(self, id: int, metadata: Metadata | None) -> None:
        """Replaces the metadata of a vector; KeyError if there is no such id."""
        writer = self._need_writer()
        number = check_integer("id", id, 0, MAX_ID)
        if not writer.set_metadata(number, _wire.encode_metadata(metadata)):
            raise KeyError(number)

    def discard(self) -> list[int]:
        """Drops what was added and not yet sent to the server; returns the ids.

        The way out when the server keeps refusing it, a full disk for example.
        """
        return self._need_writer().discard()

    # --- beyond it: reading ---------------------------------------------------

    def search_batch(
        self,
        queries: MatrixLike,
        k: int = 10,
        *,
        ef_search: int | None = None,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        threads: int | None = None,
    ) -> SearchBatch:
        """Searches for every row of a matrix, faster than one by one.

        ``threads`` connections work at once; by default one for every 256 queries
        and processor.
        """
        self._need_open()
        k = check_integer("k", k, 1, MAX_K)
        matrix = _wire.as_matrix(queries, self._spec.dimensions)
        if threads is not None:
            threads = check_integer("threads", threads, 1, 1024)
        self._settle_for_read()
        return self._searcher.search_batch(
            matrix, k, self._search_how(ef_search, where, exact), threads
        )

    def recall(
        self, queries: MatrixLike, k: int = 10, *, ef_search: int | None = None
    ) -> float:
        """The share of the true ``k`` nearest that a search finds, 0 to 1."""
        found = self.search_batch(queries, k, ef_search=ef_search)
        return _search.recall(found, self.search_batch(queries, k, exact=True))

    def get(self, id: int) -> npt.NDArray[np.float32]:
        """The vector with this id; KeyError if there is none."""
        matrix = self.get_many([check_integer("id", id, 0, MAX_ID)])
        vector: npt.NDArray[np.float32] = matrix[0]
        return vector

    def get_many(self, ids: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The vectors with these ids, as rows; KeyError names what is missing."""
        self._need_open()
        wanted = _wire.as_ids(ids, None, MAX_ID)
        self._settle_for_read()
        return self._rows.get_many(wanted)

    def metadata(self, id: int) -> dict[str, Any] | None:
        """The metadata of a vector; KeyError if there is no such id."""
        self._need_open()
        number = check_integer("id", id, 0, MAX_ID)
        self._settle_for_read()
        return self._rows.metadata(number)

    def __contains__(self, id: object) -> bool:
        self._need_open()
        try:
            number = check_integer("id", id, 0, MAX_ID)
        except (TypeError, ValueError):
            return False
        self._settle_for_read()
        return self._rows.contains(number)

    def __iter__(self) -> Iterator[int]:
        """The ids, ascending, as they were when the iteration began."""
        for ids, _ in self.vectors(batch_size=4096):
            yield from ids.tolist()

    def vectors(
        self, batch_size: int = 1024
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """All ids and vectors, ascending, in blocks, from one snapshot."""
        size = check_integer("batch_size", batch_size, 1, 2**20)
        with self._snapshot(size) as snapshot:
            for ids, vectors, _ in snapshot:
                yield ids, vectors

    @contextlib.contextmanager
    def _snapshot(self, block_rows: int = 4096) -> Iterator[Snapshot]:
        """One consistent view of everything, to be read in blocks."""
        self._need_open()
        self._settle_for_read()
        with self._rows.snapshot(block_rows) as snapshot:
            yield snapshot

    def _advance_next_id(self, next_id: int) -> None:
        """Lets ids go on at ``next_id`` or later."""
        self._need_writer().advance_next_id(next_id)

    # --- beyond it: care ------------------------------------------------------

    def stats(self, *, exact: bool = False) -> IndexStats:
        """Sizes, parameters and state; ``exact`` counts the rows one by one."""
        self._need_open()
        buffered = 0 if self._writer is None else self._writer.buffered
        return self._rows.stats(self._path, self._options, buffered, exact)

    def vacuum(self) -> None:
        """Reclaims the space of deleted vectors and refreshes the statistics."""
        self._need_writer().flush()
        self._builder.vacuum()

    def rebuild(
        self, options: IndexOptions | None = None, *, progress: Progress = False
    ) -> None:
        """Builds the graph anew, with other parameters if given.

        Searches go on with the old one meanwhile.
        """
        self._need_writer().flush()
        if options is not None:
            self._options = self._builder.change_options(options)
            self._searcher.ef_search = self._options.ef_search
            self._spec = self._builder.spec
            self._searcher.use(self._spec)
        self._builder.rebuild(progress)

    def drop_index(self) -> None:
        """Drops the graph and keeps the vectors: searches become exact and slow."""
        self._need_writer().flush()
        self._builder.drop_index()
        self._searcher.indexed = False

    def drop(self) -> None:
        """Deletes the index with all its vectors, and closes it."""
        self._need_writer().discard()
        _open.drop(self._source, self._spec)
        _open.remove_marker(self._path, self._spec)
        self._resources.release(flush=False)

    def save(self, file: PathLike, *, progress: Progress = False) -> None:
        """Writes everything into one portable file; ``load()`` reads it."""
        from . import _archive

        _archive.export_index(self, file, progress=progress)

    export = save

    @classmethod
    def load(cls, file: PathLike, path: PathLike, **keywords: Any) -> VectorIndex:
        """Creates an index from a file written by ``save()``."""
        from . import _archive

        return _archive.import_index(file, path, **keywords)

    @property
    def metric(self) -> Metric:
        """The distance: "l2", "cosine", "ip" (negative inner product) or "l1"."""
        return self._spec.metric

    @property
    def closed(self) -> bool:
        """Whether the index is closed."""
        return self._resources.closed

    @property
    def read_only(self) -> bool:
        """Whether this handle, or the server behind it, refuses to write."""
        return self._writer is None

    @property
    def dsn(self) -> str:
        """A connection string for psql and other programs, without password."""
        return self._source.dsn()

    @property
    def table(self) -> str:
        """The table, quoted and with its schema."""
        return self._spec.qualified_name

    @property
    def sql_index(self) -> str | None:
        """The name of the graph in SQL, or None while there is none."""
        self._need_open()
        return self._builder.sql_index()

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A psycopg connection, to join ``table`` with others; closed afterwards.

        What was added before is visible in it.  A borrowed connection is handed
        out itself and stays open.
        """
        self._need_open()
        self._settle_for_read()
        with self._source.lend() as connection:
            yield connection

    # --- how ------------------------------------------------------------------

    def _need_open(self) -> None:
        if self._resources.closed:
            self._refuse_closed()

    def _refuse_closed(self) -> None:
        raise ChassisError("Index is closed")

    def _need_writer(self) -> AnyWriter:
        self._need_open()
        if self._writer is None:
            raise ChassisError(
                f"The index {str(self._path)!r} was opened for reading only, or its "
                "server is read-only: open it on the primary, without read_only"
            )
        return self._writer

    def _settle_for_read(self) -> None:
        writer = self._writer
        if writer is not None and writer.pending:
            writer.before_read()

    def _search_how(
        self, ef_search: int | None, where: Mapping[str, Any] | None, exact: bool
    ) -> _search.How:
        if ef_search is not None:
            limit = self._spec.engine.max_ef_search
            ef_search = check_integer("ef_search", ef_search, 1, limit)
        return _search.How(ef_search, where, exact)

    def _build_if_due(self, progress: Progress) -> None:
        if self._builder.build_if_due(self._rows.count, progress):
            self._searcher.indexed = True

    def _close(self, *, build: bool) -> None:
        if self._resources.closed:
            return
        try:
            if build and self._writer is not None:
                self._writer.flush()
                self._build_if_due(False)
        except BaseException:
            self._resources.release(flush=False)
            raise
        self._resources.release(flush=True)


def _reopen(request: _open.Request) -> VectorIndex:
    """What unpickling calls."""
    return VectorIndex._make(request)
