"""Searches of rows in memory and on the server agree, whatever the metric.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pychassis import (
    IndexOptions,
    Metric,
    SearchBatch,
    SearchResult,
    VectorIndex,
    _writer,
)
from pychassis._search import _place, _sorted, recall

Matrix = Any


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip", "l1"])
def test_rows_in_memory_have_the_distances_of_the_server(
    path: Path,
    vectors: Callable[[int, int], Matrix],
    metric: Metric,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However slow the machine is, they stay in memory.
    monkeypatch.setattr(_writer, "LATEST_SPILL", 3600.0)
    data = vectors(40, 16)
    queries = vectors(5, 16)
    with VectorIndex(path, 16, IndexOptions(metric=metric)) as index:
        index.add_batch(data[:20])
        for row in data[20:]:
            index.add(row)
        for query in queries:
            assert index.stats().buffered == 20
            mixed = index.search(query, k=7)
            exact = exact_search(data, query, metric)[:7]
            assert [each.id for each in mixed] == [number for number, _ in exact]
            for each, (_, distance) in zip(mixed, exact):
                assert each.distance == pytest.approx(distance, rel=1e-4, abs=1e-5)
        index.flush()
        for query in queries:
            sent = index.search(query, k=7)
            exact = exact_search(data, query, metric)[:7]
            assert [each.id for each in sent] == [number for number, _ in exact]


def exact_search(data: Matrix, query: Matrix, metric: str) -> list[tuple[int, float]]:
    a, q = data.astype(float), query.astype(float)
    if metric == "l2":
        away = np.sqrt(((a - q) ** 2).sum(axis=1))
    elif metric == "l1":
        away = np.abs(a - q).sum(axis=1)
    elif metric == "ip":
        away = -(a @ q)
    else:
        away = 1 - (a @ q) / (np.linalg.norm(a, axis=1) * np.linalg.norm(q))
    order = np.argsort(away, kind="stable")
    return [(int(number), float(away[number])) for number in order]


def test_many_buffered_rows_are_sent_before_a_search(
    path: Path, vectors: Callable[[int, int], Matrix]
) -> None:
    data = vectors(300, 3000)
    with VectorIndex(path, 3000) as index:
        for row in data:
            index.add(row)
        found = index.search(data[250], k=1)
        assert found[0].id == 250
        assert index.stats().buffered == 0


def test_batches_are_sorted_and_padded() -> None:
    ids = np.full((3, 2), -1, np.int64)
    distances = np.full((3, 2), np.inf, np.float32)
    counts = np.zeros(3, np.intp)
    rows = (np.array([3, 1, 3]), np.array([7, 5, 8]), np.array([2.0, 1.0, 1.0]))
    _place(rows, ids, distances, counts)
    assert ids.tolist() == [[5, -1], [-1, -1], [8, 7]]
    assert counts.tolist() == [1, 0, 2]
    batch = SearchBatch(ids, distances, counts)
    assert batch[2] == [SearchResult(8, 1.0), SearchResult(7, 2.0)]
    assert batch[1] == []
    assert batch[-1] == batch[2]
    assert len(batch[1:]) == 2
    assert "queries=3, k=2" in repr(batch)


def test_results_out_of_order_are_sorted() -> None:
    found = [SearchResult(1, 1.0), SearchResult(2, 3.0), SearchResult(3, 2.0)]
    assert [each.id for each in _sorted(found)] == [1, 3, 2]


def test_recall_counts_ties_and_nothing() -> None:
    none = SearchBatch(
        np.full((1, 1), -1), np.full((1, 1), np.inf, np.float32), np.zeros(1, np.intp)
    )
    assert recall(none, none) == 1.0

    def batch(*distances: float) -> SearchBatch:
        row = np.array([distances], np.float32)
        return SearchBatch(np.arange(len(distances))[None], row, np.array([row.size]))

    assert recall(batch(-2, -1), batch(-2, -1)) == 1.0
    assert recall(batch(1, 5), batch(1, 2)) == 0.5
