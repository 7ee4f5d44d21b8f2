"""Searching: one query, one query with conditions, many queries.

The plain search is the path everything else is measured by: one prepared statement,
one message there and one back, nothing parsed by Python but the result.  It knows
an index's table and connections, not who writes to it.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
import math
import os
import struct
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from . import _sql, _wire
from ._catalog import Spec
from ._connect import Source
from ._link import Link, Row, Statement, Wire
from .options import Ids, Metric, Vectors
from .results import SearchBatch, SearchResult

__all__: list[str] = []

logger = logging.getLogger("pychassis.search")

# Queries per statement of a batch: enough to hide the cost of a message, few enough
# for several connections to share a thousand.
CHUNK = 256

# A search that compares with more rows than this one by one is worth a word.
MANY_UNINDEXED = 20_000
# How often a search may look whether it is one of those, in seconds.
LOOK_EVERY = 5.0

_UNPACK_ID = struct.Struct(">q").unpack
_UNPACK_DISTANCE = struct.Struct(">d").unpack


@dataclass(frozen=True)
class How:
    """What a search was asked for beyond query and k."""

    ef_search: int | None = None
    where: Mapping[str, Any] | None = None
    exact: bool = False


class Searcher:
    """The searches of one handle.

    ``ef_search`` is the handle's; where the index has another, every search sets
    it for its own transaction.
    """

    def __init__(self, source: Source, spec: Spec, ef_search: int) -> None:
        self._source = source
        self._spec = spec
        self.ef_search = ef_search
        # What is known of the graph: looked at again from time to time, as long
        # as there is none, and never when there is no need to know.
        self.indexed = spec.attached
        self.look_at = 0.0
        self._statements: dict[int, bytes] = {}

    # --- one ---

    def search(self, wire: bytes, k: int) -> list[SearchResult]:
        """The plain search; ``wire`` is the query in binary."""
        source = self._source
        if source.borrowed or not self._plain():
            return self.search_with(wire, k, How(), False)
        statement = self._statements.get(k)
        if statement is None:
            statement = self._statement(k)
        link = source.take_reader()
        try:
            result = link.run(statement, (wire,))
        except psycopg.Error:
            # Once more at leisure: it may have been the connection.
            source.give_reader(link)
            result = source.read(lambda link: link.run(statement, (wire,)), "search")
        except BaseException:
            source.give_reader(link)
            raise
        else:
            source.give_reader(link)
        value = result.get_value
        found = [
            SearchResult(
                _UNPACK_ID(value(row, 0))[0],  # type: ignore[arg-type]
                _UNPACK_DISTANCE(value(row, 1))[0],  # type: ignore[arg-type]
            )
            for row in range(result.ntuples)
        ]
        return _sorted(found)

    def search_both(
        self, wire: bytes, k: int, ids: Ids, rows: Vectors
    ) -> list[SearchResult]:
        """As ``search()``, of the server's rows and of some still in memory.

        A row that reached the server since they were looked at counts once.
        """
        away = _distances(self._spec.metric, rows, _wire.decode_vector(wire))
        nearest = np.argsort(away, kind="stable")[:k]
        mine = {int(ids[row]): float(away[row]) for row in nearest}
        found = [each for each in self.search(wire, k) if each.id not in mine]
        found += [SearchResult(id, distance) for id, distance in mine.items()]
        found.sort(key=lambda each: each.distance)
        return found[:k]

    def _plain(self) -> bool:
        """Whether a search needs no setting of its own."""
        spec = self._spec
        return spec.engine.ef_in_index and self.ef_search == spec.ef_search

    def _row_condition(self) -> sql.Composable:
        """Only somebody else's table has rows without a vector."""
        if self._spec.attached:
            return _sql.fill(_sql.HAS_VECTOR, self._spec)
        return _sql.EVERY_ROW

    def _statement(self, k: int) -> bytes:
        if len(self._statements) > 256:
            self._statements.clear()
        condition = self._row_condition()
        made = _sql.compiled(
            _sql.SEARCH, self._spec, condition=condition, k=sql.Literal(k)
        )
        self._statements[k] = made
        return made

    def search_with(
        self, wire: bytes, k: int, how: How, with_metadata: bool
    ) -> list[SearchResult]:
        """A search with settings, conditions, or metadata in its results."""
        spec = self._spec
        wanted = (
            _sql.fill(sql.SQL("{metadata}::text"), spec)
            if with_metadata
            else sql.SQL("NULL")
        )
        query = sql.SQL("p.q")
        statement, values = self._compose(
            _sql.SEARCH_WITH, query, k, how, wanted=wanted
        )
        rows = self._run(statement, [Wire(wire), *values])
        found = [
            SearchResult(id, distance, _wire.decode_metadata(text))
            for id, distance, text in rows
        ]
        return _sorted(found)

    def _compose(
        self,
        template: sql.SQL,
        query: sql.Composable,
        k: int,
        how: How,
        **more: sql.Composable,
    ) -> tuple[sql.Composed, list[Any]]:
        """The statement, and its parameters after the query."""
        spec = self._spec
        condition = self._row_condition()
        values: list[Any] = []
        if how.where is not None:
            filtered, values = self._condition(how.where)
            condition = sql.SQL("{} AND {}").format(condition, filtered)
        order = _sql.BY_EXACT_DISTANCE if how.exact else _sql.BY_DISTANCE
        composed = _sql.fill(
            template,
            spec,
            settings=sql.SQL("") if how.exact else self._settings(how),
            condition=condition,
            order=_sql.fill(order, spec, query=query),
            k=sql.Literal(k),
            **more,
        )
        return composed, values

    def _condition(self, where: Mapping[str, Any]) -> tuple[sql.Composable, list[Any]]:
        from ._filters import compile_where

        column = self._spec.metadata_column
        if column is None:
            raise ValueError(
                "where= needs metadata: attach the table with metadata_column="
            )
        condition, values = compile_where(where, sql.Identifier(column))
        return sql.SQL("({})").format(condition), values

    def _settings(self, how: How) -> sql.Composable:
        engine = self._spec.engine
        settings = list(engine.session_settings)
        ef_search = how.ef_search or self.ef_search
        if how.ef_search or not self._plain():
            settings.append((engine.ef_setting, str(ef_search)))
        return sql.Composed(
            [
                _sql.SETTING.format(name=sql.Literal(name), value=sql.Literal(value))
                for name, value in settings
            ]
        )

    def _run(self, statement: Statement, values: list[Any]) -> list[Row]:
        """The rows, in binary; settings do not outlast the search."""

        def action(link: Link) -> list[Row]:
            with link.cursor(binary=True) as cursor:
                cursor.execute(statement, values, prepare=False)
                return cursor.fetchall()

        def action_apart(link: Link) -> list[Row]:
            # In the user's transaction a setting would stay until its end.
            with link.connection.transaction(force_rollback=True):
                return action(link)

        chosen = action_apart if self._source.borrowed else action
        return self._source.read(chosen, "search")

    # --- many ---

    def search_batch(
        self, matrix: Vectors, k: int, how: How, threads: int | None
    ) -> SearchBatch:
        """Searches for each row, in chunks, over several connections."""
        count = len(matrix)
        ids = np.full((count, k), -1, np.int64)
        distances = np.full((count, k), np.inf, np.float32)
        counts = np.zeros(count, np.intp)
        query = sql.SQL("u.q")
        statement, values = self._compose(_sql.SEARCH_BATCH, query, k, how)
        threads = self._threads(count, threads)
        size = max(1, min(CHUNK, math.ceil(count / threads)))

        def chunk(start: int) -> None:
            part = slice(start, start + size)
            wire = _wire.encode_vectors(matrix[part], self._spec.vector_oid)
            rows = self._run_arrays(statement, [Wire(wire), *values])
            _place(rows, ids[part], distances[part], counts[part])

        starts = range(0, count, size)
        if threads == 1 or len(starts) < 2:
            for start in starts:
                chunk(start)
        else:
            with ThreadPoolExecutor(threads, "pychassis-search") as executor:
                list(executor.map(chunk, starts))
        return SearchBatch(ids, distances, counts)

    def _threads(self, count: int, wanted: int | None) -> int:
        if self._source.borrowed:
            return 1
        if wanted is None:
            wanted = min(os.cpu_count() or 1, math.ceil(count / CHUNK))
        return max(1, min(wanted, self._source.limit))

    def _run_arrays(
        self, statement: Statement, values: list[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Query numbers from 1, ids and distances of all results of a chunk."""

        def action(link: Link) -> tuple[Any, Any, Any]:
            with link.cursor(binary=True) as cursor:
                cursor.execute(statement, values, prepare=False)
                result = cursor.pgresult
                assert result is not None
                return (
                    _wire.decode_array(result.get_value(0, 0), ">i8"),
                    _wire.decode_array(result.get_value(0, 1), ">i8"),
                    _wire.decode_array(result.get_value(0, 2), ">f8"),
                )

        def action_apart(link: Link) -> tuple[Any, Any, Any]:
            with link.connection.transaction(force_rollback=True):
                return action(link)

        chosen = action_apart if self._source.borrowed else action
        return self._source.read(chosen, "search")

    def use(self, spec: Spec) -> None:
        """The parameters of the graph were changed."""
        self._spec = spec

    def look(self, has_graph: Callable[[], bool], count: Callable[[], int]) -> None:
        """Says once that searches compare with every row, when there are many."""
        self.look_at = time.monotonic() + LOOK_EVERY
        self.indexed = has_graph()
        if self.indexed:
            return
        rows = count()
        if rows > MANY_UNINDEXED:
            self.look_at = math.inf
            logger.warning(
                "%r has %d vectors and no graph yet, so that a search compares with "
                "every one: call flush() to build it",
                self._spec.name,
                rows,
            )


def _distances(metric: Metric, rows: Vectors, query: Vectors) -> npt.NDArray[Any]:
    """The operators' distances, as the server defines them."""
    away: npt.NDArray[Any]
    if metric == "l2":
        apart = rows.astype(np.float64) - query
        away = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        return away
    if metric == "l1":
        away = np.abs(rows.astype(np.float64) - query).sum(axis=1)
        return away
    product: npt.NDArray[Any] = rows.astype(np.float64) @ query.astype(np.float64)
    if metric == "ip":
        return -product
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A vector of zeros has no direction, and its distance is NaN there, too.
        away = 1.0 - np.clip(product / lengths, -1.0, 1.0)
    return away


def _sorted(found: list[SearchResult]) -> list[SearchResult]:
    """Closest first: a search that had to go on may find a closer one late."""
    last = -math.inf
    for result in found:
        if result.distance < last:
            found.sort(key=lambda each: each.distance)
            break
        last = result.distance
    return found


def _place(
    rows: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]],
    ids: npt.NDArray[np.int64],
    distances: npt.NDArray[np.float32],
    counts: npt.NDArray[np.intp],
) -> None:
    """Puts the results of a chunk into its part of the arrays, closest first."""
    numbers, found, away = rows
    if not len(numbers):
        return
    order = np.lexsort((away, numbers))
    query = numbers[order].astype(np.intp) - 1
    held = np.bincount(query, minlength=len(counts))
    first = np.concatenate(([0], np.cumsum(held)[:-1]))
    place = np.arange(len(query)) - first[query]
    ids[query, place] = found[order]
    distances[query, place] = away[order]
    counts[:] = held


def recall(found: SearchBatch, true: SearchBatch) -> float:
    """The mean share of ``true`` that ``found`` has; ties in distance count."""
    wanted = int(true.counts.sum())
    if not wanted:
        return 1.0
    hits = 0
    for row in range(len(true)):
        count = int(true.counts[row])
        if count:
            # A neighbor as close as the last true one is as good as it.
            last = float(true.distances[row, count - 1])
            limit = last + abs(last) * 1e-6 + 1e-12
            hits += int((found.distances[row, :count] <= limit).sum())
    return hits / wanted
