"""The graph: when it is built, how, and how far it has come.

Without a graph a search compares with every row, which is faster up to about two
thousand.  The first ``flush()`` from there on builds it in bulk, which is many times
faster than row by row; afterwards rows are linked as they are inserted.  Nothing
drops or rebuilds a graph but ``rebuild()``, ``drop_index()`` and ``drop()``.

It knows CREATE INDEX and the server's reports on it, and nothing of buffers.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from . import _catalog, _sql
from ._catalog import LOCK_BUILD, Spec, lock_key
from ._connect import Source, refuse_inside_transaction
from ._link import Link
from ._progress import Report, reporter
from ._render import render
from .exceptions import ChassisError, map_error
from .options import IndexOptions, Progress

__all__: list[str] = []

logger = logging.getLogger("pychassis.build")

# From so many rows on the graph is faster than comparing with all of them.
BUILD_FROM = 2_000

# How often the progress of a build is looked at, in seconds.
_LOOK_EVERY = 0.5

_GRAPH = sql.SQL(
    "SELECT ic.relname, i.indisvalid FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid"
    " JOIN pg_catalog.pg_am am ON am.oid = ic.relam"
    " JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]"
    " JOIN pg_catalog.pg_attribute a"
    "  ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = %s::oid AND am.amname = %s AND o.opcname = %s"
    " AND a.attname = %s AND i.indpred IS NULL"
    " ORDER BY i.indisvalid DESC, ic.relname"
)
# Through a pooler the catalogue is what tells that somebody builds.
_BUILDING = sql.SQL(
    "SELECT 1 FROM pg_catalog.pg_stat_progress_create_index WHERE relid = %s::oid"
)
_PROGRESS = sql.SQL(
    "SELECT phase, GREATEST(tuples_done, blocks_done),"
    " CASE WHEN tuples_done >= blocks_done THEN tuples_total ELSE blocks_total END"
    " FROM pg_catalog.pg_stat_progress_create_index WHERE relid = %s::oid"
)
_CREATE = sql.SQL(
    "CREATE INDEX {name} ON {table} USING {method} ({vector} {opclass})"
    " WITH ({options})"
)
_CREATE_CONCURRENTLY = sql.SQL(
    "CREATE INDEX CONCURRENTLY {name} ON {table} USING {method} ({vector} {opclass})"
    " WITH ({options})"
)
_OPTION = sql.SQL("{} = {}")
_DROP = sql.SQL("DROP INDEX IF EXISTS {name}")
_RENAME = sql.SQL("ALTER INDEX {old} RENAME TO {new}")
_TRY_LOCK = sql.SQL("SELECT pg_catalog.pg_try_advisory_lock(%s, %s)")
_UNLOCK = sql.SQL("SELECT pg_catalog.pg_advisory_unlock(%s, %s)")
_NO_LIMITS = sql.SQL("SET statement_timeout = 0; SET lock_timeout = 0")
_LIMITS_BACK = sql.SQL("RESET statement_timeout; RESET lock_timeout")
_VACUUM = sql.SQL("VACUUM (ANALYZE) {table}")
_ANALYZE = sql.SQL("ANALYZE {table}")
_HAS_INFO = sql.SQL(
    "SELECT pg_catalog.to_regprocedure("
    "pg_catalog.format('%%I.chassis_index_info(regclass)', %s::text)) IS NOT NULL"
)
_INFO = sql.SQL("SELECT * FROM {function}({index}::regclass)")


@dataclass(frozen=True)
class Graph:
    """The index on the vectors; not ``valid`` while it is built, or after that failed."""

    name: str
    valid: bool


def find_graph(link: Link, spec: Spec) -> Graph | None:
    """The graph that searches would use, or else one that is not ready."""
    engine = spec.engine
    values = (
        spec.relation,
        engine.access_method,
        f"vector_{spec.metric}_ops",
        spec.vector_column,
    )
    rows = link.query(_GRAPH, values)
    return Graph(*rows[0]) if rows else None


def describe(link: Link, spec: Spec) -> dict[str, Any]:
    """What the access method tells of the graph."""
    graph = find_graph(link, spec)
    if graph is None or not graph.valid or spec.engine.name != "chassis":
        return {}
    if not link.query(_HAS_INFO, (spec.engine.schema,))[0][0]:
        return {}
    function = sql.Identifier(spec.engine.schema, "chassis_index_info")
    name = render(sql.Identifier(spec.schema, graph.name))
    statement = _INFO.format(function=function, index=sql.Literal(name))
    return {"graph": dict(link.query(statement))}


def create_statement(
    spec: Spec, name: str, *, concurrently: bool = False
) -> sql.Composed:
    """CREATE INDEX with the stored parameters."""
    engine = spec.engine
    options = {
        "m": spec.max_connections,
        # Both access methods want twice m at least.
        "ef_construction": max(spec.ef_construction, 2 * spec.max_connections),
    }
    if engine.ef_in_index:
        options["ef_search"] = spec.ef_search
    return _sql.fill(
        _CREATE_CONCURRENTLY if concurrently else _CREATE,
        spec,
        name=sql.Identifier(name),
        method=sql.Identifier(engine.access_method),
        opclass=engine.operator_class(spec.metric),
        options=sql.SQL(", ").join(
            _OPTION.format(sql.Identifier(key), sql.Literal(value))
            for key, value in options.items()
        ),
    )


def _usable(link: Link) -> bool:
    """Whether the connection can take a statement: not lost, none under way."""
    return not link.broken and link.idle


class Builder:
    """Builds the graph of one index."""

    def __init__(self, source: Source, spec: Spec, options: IndexOptions) -> None:
        self._source = source
        self.spec = spec
        self._policy = options.build
        self._present = False
        self._said: set[str] = set()

    # --- when ---

    def build_if_due(self, count: Callable[[], int], progress: Progress) -> bool:
        """Called by ``flush()``; whether there is a graph now."""
        spec = self.spec
        if self._present or self._policy == "manual" or spec.attached:
            return self._present
        rows = count()
        if rows < (1 if self._policy == "eager" else BUILD_FROM):
            return False
        graph = self._find()
        if graph is not None and graph.valid:
            self._present = True
            return True
        if not self._may_build(graph):
            return False
        self._present = self._build(progress)
        return self._present

    def has_graph(self) -> bool:
        """Whether searches have a graph to use."""
        if not self._present:
            graph = self._find()
            self._present = graph is not None and graph.valid
        return self._present

    def _find(self) -> Graph | None:
        return self._source.read(
            lambda link: find_graph(link, self.spec), "look for the graph"
        )

    def _may_build(self, graph: Graph | None) -> bool:
        spec = self.spec
        if spec.dimensions > spec.engine.max_indexed_dimensions:
            self._say(
                f"{spec.engine.name} indexes at most "
                f"{spec.engine.max_indexed_dimensions} dimensions: searches in "
                f"{spec.name!r} compare with every vector"
            )
            return False
        if not spec.owner or self._source.borrowed:
            why = (
                "the connection is borrowed"
                if spec.owner
                else "this role does not own its table"
            )
            self._say(
                f"{spec.name!r} has no graph yet, and {why}: let the owner run "
                f"{self._statement_text()}"
            )
            return False
        return True

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            logger.warning("%s", text)

    def _statement_text(self) -> str:
        """What somebody else has to run, schema included."""
        name = self._index_name()
        return render(create_statement(self.spec, name, concurrently=True))

    def _index_name(self, suffix: str = "") -> str:
        ending = f"_{self.spec.vector_column}_idx{suffix}"
        table = self.spec.table.encode()[: 63 - len(ending)].decode(errors="ignore")
        return table + ending

    # --- how ---

    @contextlib.contextmanager
    def _alone(self, link: Link) -> Iterator[bool]:
        """Whether nobody else builds this graph; nobody will meanwhile."""
        keys = (LOCK_BUILD, lock_key(f"{self.spec.relation}"))
        if not link.direct:
            yield not link.query(_BUILDING, (self.spec.relation,))
            return
        if not link.query(_TRY_LOCK, keys)[0][0]:
            yield False
            return
        try:
            yield True
        finally:
            if _usable(link):
                link.query(_UNLOCK, keys)

    @contextlib.contextmanager
    def _unlimited(self, link: Link) -> Iterator[None]:
        """Time limits of the session are for queries, not for this.

        A pooler's session is not ours to set; there the limits stay.
        """
        if not link.direct:
            yield
            return
        link.execute(_NO_LIMITS)
        try:
            yield
        finally:
            if _usable(link):
                link.execute(_LIMITS_BACK)

    def _build(self, progress: Progress) -> bool:
        """Builds it, unless another process does; whether it is there now."""
        with self._lend() as link, self._alone(link) as alone:
            if not alone:
                logger.info("another process builds the graph of %r", self.spec.name)
                return False
            graph = find_graph(link, self.spec)
            if graph is not None and graph.valid:
                return True
            name = self._index_name()
            if graph is not None:
                # What an interrupted CREATE INDEX CONCURRENTLY left.
                link.execute(_DROP.format(name=self._qualified(graph.name)))
            self._create(link, name, progress)
            return True

    def _create(self, link: Link, name: str, progress: Progress) -> None:
        concurrently = not self._source.embedded
        statement = create_statement(self.spec, name, concurrently=concurrently)
        logger.info("building the graph of %r", self.spec.name)
        with self._unlimited(link), self._watched(progress):
            try:
                link.execute(statement)
            except BaseException:
                if concurrently and _usable(link):
                    with contextlib.suppress(psycopg.Error):
                        link.execute(_DROP.format(name=self._qualified(name)))
                raise
        link.execute(_sql.fill(_ANALYZE, self.spec))

    @contextlib.contextmanager
    def _lend(self) -> Iterator[Link]:
        """A connection for DDL, with psycopg's errors as ours."""
        link = self._source.take()
        try:
            yield link
        except psycopg.Error as error:
            raise map_error(error, "build the graph") from error
        finally:
            if not _usable(link) and not self._source.borrowed:
                # Interrupted in mid-statement: the server goes on unless told.
                with contextlib.suppress(psycopg.Error):
                    link.connection.cancel()
            self._source.give(link)

    def _qualified(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.spec.schema, name)

    @contextlib.contextmanager
    def _watched(self, progress: Progress) -> Iterator[None]:
        """Reports percent of the phase, read over a second connection."""
        if progress is False:
            yield
            return
        done = threading.Event()
        with reporter(progress, 100, "%") as report:
            thread = threading.Thread(
                target=self._watch, args=(report, done), daemon=True
            )
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join()
            report(100)

    def _watch(self, report: Report, done: threading.Event) -> None:
        values = (self.spec.relation,)
        reached = 0
        while not done.wait(_LOOK_EVERY):
            try:
                rows = self._source.read(
                    lambda link: link.query(_PROGRESS, values), "watch the build"
                )
            except ChassisError as error:
                logger.info("cannot watch the build: %s", error)
                return
            for phase, some, total in rows:
                report.phase(phase)
                if total:
                    reached = max(reached, min(99, 100 * some // total))
                    report(reached)

    # --- on request ---

    def change_options(self, options: IndexOptions) -> IndexOptions:
        """Stores parameters for the next build; the options then in force."""
        spec = self.spec
        refuse_inside_transaction(self._source, "change the options")
        options.validate(spec.engine.name)
        if options.metric not in (None, spec.metric):
            raise ChassisError(
                f"The index {spec.name!r} compares by {spec.metric}, and its results "
                f"depend on it: export it and import it with metric={options.metric!r}"
            )
        merged = replace(options, metric=spec.metric)
        if not spec.attached:
            with self._lend() as link:
                _catalog.change(link, spec, merged)
        self.spec = replace(
            spec,
            max_connections=merged.max_connections,
            ef_construction=merged.ef_construction,
            ef_search=merged.ef_search,
        )
        self._policy = merged.build
        return merged

    def rebuild(self, progress: Progress) -> None:
        """A new graph beside the old one, which then goes."""
        refuse_inside_transaction(self._source, "rebuild the graph")
        self._refuse_attached("rebuild")
        spec = self.spec
        if spec.dimensions > spec.engine.max_indexed_dimensions:
            raise ChassisError(
                f"{spec.engine.name} indexes at most "
                f"{spec.engine.max_indexed_dimensions} dimensions: there can be no graph"
            )
        with self._lend() as link, self._alone(link) as alone:
            if not alone:
                raise ChassisError(
                    f"Another process builds the graph of {self.spec.name!r}: try again"
                )
            old = find_graph(link, self.spec)
            name = self._index_name()
            if old is None:
                self._create(link, name, progress)
            else:
                new = self._index_name("_" + secrets.token_hex(4))
                self._create(link, new, progress)
                with link.connection.transaction():
                    link.execute(_DROP.format(name=self._qualified(old.name)))
                    link.execute(
                        _RENAME.format(
                            old=self._qualified(new), new=sql.Identifier(old.name)
                        )
                    )
            self._present = True

    def drop_index(self) -> None:
        """No graph; the next ``flush()`` builds it unless the policy is manual."""
        refuse_inside_transaction(self._source, "drop the graph")
        self._refuse_attached("drop")
        with self._lend() as link:
            graph = find_graph(link, self.spec)
            if graph is not None:
                link.execute(_DROP.format(name=self._qualified(graph.name)))
        self._present = False

    def _refuse_attached(self, what: str) -> None:
        if self.spec.attached:
            raise ChassisError(
                f"Cannot {what} the graph of an attached table, which is never altered:"
                f" {what} it with SQL"
            )

    def vacuum(self) -> None:
        """VACUUM and ANALYZE."""
        refuse_inside_transaction(self._source, "vacuum")
        try:
            self._vacuum()
        except ChassisError as error:
            cause = error.__cause__
            if not (isinstance(cause, psycopg.Error) and self._source.mend(cause)):
                raise
            self._vacuum()

    def _vacuum(self) -> None:
        with self._lend() as link, self._unlimited(link):
            link.execute(_sql.fill(_VACUUM, self.spec))

    def sql_index(self) -> str | None:
        """The graph's name in SQL."""
        graph = self._find()
        if graph is None or not graph.valid:
            return None
        return render(self._qualified(graph.name))
