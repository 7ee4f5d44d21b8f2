"""The catalogue: names of tables, and what is looked for before anything is made.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import psycopg
import pytest

from pychassis import (
    ChassisError,
    DimensionMismatchError,
    IndexNotFoundError,
    IndexOptions,
    VectorIndex,
    _catalog,
    _connect,
    _search,
)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("embeddings.chassis", "embeddings"),
        ("data/My Index.v2.chassis", "my_index_v2"),
        ("C:\\data\\a.b", "a"),
        ("2024", "index_2024"),
        ("...", "index_"),
        ("日本", "index_"),
        (".hidden", "hidden"),
        ("x" * 100, "x" * 63),
    ],
)
def test_slug(name: str, table: str) -> None:
    assert _catalog.slug(name) == table


def source(database: str) -> _connect.Source:
    return _connect.make_source(database, prepare=True, timeout=5)


def test_state_and_listing(database: str) -> None:
    made = source(database)
    with made.reading("look") as link:
        assert _catalog.state(link, "chassis_data") == _catalog.State(
            False, False, False
        )
        assert _catalog.list_indexes(link) == []
    VectorIndex("a b.chassis", 3, connection=database).close()
    VectorIndex("a_b", 4, connection=database).close()
    VectorIndex("indexes", 5, connection=database).close()
    with made.reading("look") as link:
        assert _catalog.state(link, "chassis_data").has_catalog
        rows = _catalog.list_indexes(link)
        spec = _catalog.find(link, "chassis_data", name="a_b")
        assert spec is not None
        assert spec.dimensions == 4
        assert _catalog.find(link, "chassis_data", name="none") is None
    made.close()
    assert [row["name"] for row in rows] == ["a b.chassis", "a_b", "indexes"]
    tables = [row["table"] for row in rows]
    assert tables[0] == "a_b"
    assert tables[1].startswith("a_b_")
    assert tables[2].startswith("indexes_")


def test_options_at_reopen(database: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pychassis")
    first = IndexOptions(8, 100, 30, "cosine")
    VectorIndex("items", 3, first, connection=database).close()
    with VectorIndex("items", 3, connection=database) as index:
        assert index.options == first
    other = IndexOptions(12, 150, 77)
    with VectorIndex("items", 3, other, connection=database) as index:
        assert index.options == IndexOptions(12, 150, 77, "cosine")
        assert "rebuild()" in caplog.text
    with VectorIndex("items", 3, connection=database) as index:
        # those of the graph are stored, ef_search was the handle's own
        assert index.options == IndexOptions(12, 150, 30, "cosine")
        with pytest.raises(ChassisError, match="cosine"):
            VectorIndex("items", 3, IndexOptions(metric="l2"), connection=database)
        with pytest.raises(ChassisError, match="cosine"):
            index.rebuild(IndexOptions(metric="l1"))
        index.rebuild(IndexOptions(16, 64, 90))
        assert index.options == IndexOptions(16, 64, 90, "cosine")
    with pytest.raises(DimensionMismatchError, match="has 3 dimensions, not 4"):
        VectorIndex("items", 4, connection=database)


def test_table_that_is_taken(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.mine (id int)")
    with pytest.raises(ChassisError, match="attach"):
        VectorIndex("items", 3, connection=database, schema="public", table="mine")
    for bad in ("", "a%b"):
        with pytest.raises(ValueError, match="percent"):
            VectorIndex("items", 3, connection=database, table=bad)


def test_row_without_a_table(database: str) -> None:
    VectorIndex("items", 3, connection=database).close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE chassis_data.items")
    with pytest.raises(IndexNotFoundError, match="its table is gone"):
        VectorIndex("items", 3, connection=database)


@pytest.mark.parametrize("bad", [5, b"x", object()])
def test_what_is_no_connection(bad: Any) -> None:
    with pytest.raises(TypeError, match="connection"):
        VectorIndex("items", 3, connection=bad)


def test_callable_that_returns_no_connection() -> None:
    with pytest.raises(TypeError, match="must return"):
        VectorIndex("items", 3, connection=lambda: 5)  # type: ignore[arg-type,return-value]


def test_many_rows_without_a_graph_are_worth_a_word(
    database: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_search, "MANY_UNINDEXED", 10)
    with VectorIndex("items", 2, connection=database) as index:
        index.add_batch(np.zeros((20, 2)))
        for _ in range(3):
            index.search([0, 0])
        said = [each for each in caplog.records if "no graph yet" in each.message]
        assert len(said) == 1
        index.rebuild()
        index.search([0, 0])
        index.drop_index()
        assert index.sql_index is None


def test_build_policies(database: str) -> None:
    for build, rows, built in (("eager", 1, True), ("manual", 2500, False)):
        options = IndexOptions(build=build)  # type: ignore[arg-type]
        with VectorIndex(build, 2, options, connection=database) as index:
            index.add_batch(np.random.default_rng(1).random((rows, 2)))
            index.flush()
            assert (index.sql_index is not None) == built
            reported: list[tuple[int, int]] = []

            def report(done: int, total: int, to: Any = reported) -> None:
                to.append((done, total))

            index.rebuild(progress=report)
            assert reported[-1] == (100, 100)
            assert index.sql_index is not None
            index.vacuum()
