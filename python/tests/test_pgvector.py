"""The same interface on a server that has only pgvector, as managed ones do.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import servers

from pychassis import ChassisError, IndexOptions, SearchResult, VectorIndex

Vectors = Callable[[int, int], npt.NDArray[np.float32]]


@pytest.fixture
def dsn(pgvector_server: servers.PrivateServer) -> str:
    return pgvector_server.conninfo(pgvector_server.create_database())


def test_server_is_what_the_tests_need(pgvector_server: servers.PrivateServer) -> None:
    found = dict(
        pgvector_server.execute(
            "SELECT name, default_version FROM pg_available_extensions"
            " WHERE name IN ('vector', 'chassis')"
        )
    )
    assert list(found) == ["vector"]
    assert tuple(map(int, found["vector"].split(".")))[:2] >= (0, 8)


def test_contract_with_an_index(
    dsn: str, vectors: Vectors, caplog: pytest.LogCaptureFixture
) -> None:
    data = vectors(2600, 16)
    with caplog.at_level(logging.INFO, logger="pychassis"):
        with VectorIndex("items", 16, connection=dsn) as index:
            assert [index.add(row) for row in data[:5]] == list(range(5))
            assert index.search(data[3], k=1) == [SearchResult(3, 0.0)]
            index.add_batch(data[5:], metadata=[{"n": i} for i in range(5, 2600)])
            index.flush()
            stats = index.stats()
            assert stats.engine == "pgvector"
            assert stats.count == 2600
            assert index.sql_index is not None
            found = index.search_batch(data[:100], k=3).ids[:, 0]
            assert found.tolist() == list(range(100))
            # more than ef_search, and through a filter, still k rows
            assert len(index.search(data[0], k=700)) == 700
            where = {"n": {"$gte": 2000, "$lt": 2100}}
            assert len(index.search(data[0], k=60, where=where)) == 60
            assert index.search(data[0], k=5, exact=True)[0].id == 0
            assert index.recall(data[:50] + 0.1, k=10, ef_search=400) > 0.9
            assert index.delete([0, 1]) == 2
            assert len(index) == 2598
            index.rebuild(IndexOptions(max_connections=8, ef_construction=64))
            assert index.search(data[2], k=1) == [SearchResult(2, 0.0)]
            index.vacuum()
        with VectorIndex.open("items", connection=dsn) as index:
            assert index.options.max_connections == 8
            assert len(index) == 2598
    chosen = [r for r in caplog.records if "pgvector" in r.getMessage()]
    assert len(chosen) == 1, "the engine is logged once"


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip", "l1"])
def test_metrics(dsn: str, metric: Any, vectors: Vectors) -> None:
    data = vectors(2100, 8)
    query = vectors(1, 8)[0]
    with VectorIndex("items", 8, IndexOptions(metric=metric), connection=dsn) as index:
        index.add_batch(data)
        index.flush()
        approximate = index.search(query, k=5, ef_search=1000)
        exact = index.search(query, k=5, exact=True)
        assert [r.id for r in approximate] == [r.id for r in exact]
        assert approximate[0].distance == pytest.approx(exact[0].distance, rel=1e-5)


def test_limits_of_the_engine_are_named(dsn: str) -> None:
    with pytest.raises(ValueError, match="1000"):
        VectorIndex("items", 8, IndexOptions(ef_construction=2000), connection=dsn)


def test_more_dimensions_than_its_index_takes(
    dsn: str, vectors: Vectors, caplog: pytest.LogCaptureFixture
) -> None:
    """hnsw stops at 2,000: vectors are kept and searched exactly, and it says so."""
    with (
        caplog.at_level(logging.WARNING, logger="pychassis"),
        VectorIndex("items", 2100, connection=dsn) as index,
    ):
        index.add_batch(vectors(2000, 2100))
        index.flush()
        assert index.sql_index is None
        assert len(index.search([0.5] * 2100, k=3)) == 3
    assert any("2000" in r.getMessage().replace(",", "") for r in caplog.records)


def test_engine_can_be_asked_for(dsn: str, database: str) -> None:
    with pytest.raises(ChassisError, match="chassis"):
        VectorIndex("items", 3, connection=dsn, engine="chassis")
    with pytest.raises(ChassisError, match="pgvector"):
        VectorIndex("items", 3, connection=database, engine="pgvector")
    with VectorIndex("items", 3, connection=database, engine="chassis") as index:
        assert index.stats().engine == "chassis"
    with VectorIndex("items", 3, connection=dsn, engine="pgvector") as index:
        assert index.stats().engine == "pgvector"


def test_unknown_engine(dsn: str) -> None:
    with pytest.raises(ValueError, match="engine"):
        VectorIndex("items", 3, connection=dsn, engine="hnsw")  # type: ignore[arg-type]


def test_attach_to_a_pgvector_table(
    dsn: str, pgvector_server: servers.PrivateServer
) -> None:
    from psycopg.conninfo import conninfo_to_dict

    name = str(conninfo_to_dict(dsn)["dbname"])
    pgvector_server.execute(
        "CREATE EXTENSION vector",
        "CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector(2))",
        "INSERT INTO items (embedding) VALUES ('[1,1]'), ('[2,2]'), (NULL)",
        "CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops)",
        dbname=name,
    )
    with VectorIndex.attach(dsn, "items") as index:
        assert index.metric == "cosine"
        assert {r.id for r in index.search([1, 0], k=5)} == {1, 2}
        assert index.add([0, 1]) == 4
        assert index.search([0, 1], k=1)[0].id == 4
