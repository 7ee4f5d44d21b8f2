"""pgvector-python with Peewee.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from peewee import Model, PostgresqlDatabase, fn
from pgvector import SparseVector
from pgvector.peewee import (
    FixedBitField,
    HalfVectorField,
    SparseVectorField,
    VectorField,
)

from databases import Database
from samples import CASES, ROWS, Case, distances, nearest, values
from values import bits, unwrap

COLUMNS = {"vector": "a", "halfvec": "b", "sparsevec": "c", "bit": "d"}


def new_model(connection: PostgresqlDatabase, case: Case | None, using: str) -> Any:
    """A model with an index for ``case``, as the documentation declares it."""

    class Item(Model):
        a = VectorField(dimensions=8, null=True)
        b = HalfVectorField(dimensions=8, null=True)
        c = SparseVectorField(dimensions=24, null=True)
        d = FixedBitField(max_length=64, null=True)

        class Meta:
            database = connection
            table_name = "items"

    if case is not None:
        Item.add_index(
            f"{COLUMNS[case.type]} {case.opclass}", using=using, name="items_idx"
        )
    return Item


@pytest.fixture
def make(database: Database) -> Iterator[Any]:
    """Makes the table with its index, and puts the samples in."""
    connection = PostgresqlDatabase(
        database.name, user=database.user, host=database.host, port=database.port
    )
    connection.connect()
    connection.execute_sql("CREATE EXTENSION IF NOT EXISTS vector")

    def create(case: Case | None = None, using: str = "hnsw") -> Any:
        model = new_model(connection, case, using)
        connection.create_tables([model])
        for i in range(ROWS):
            model.create(
                a=values("vector")[i],
                b=values("halfvec")[i].tolist(),
                c=SparseVector(values("sparsevec")[i]),
                d=bits(values("bit")[i]),
            )
        return model

    yield create
    connection.close()


def distance(model: Any, case: Case) -> Any:
    at: Any = bits(case.query) if case.type == "bit" else case.query
    if case.type == "sparsevec":
        at = SparseVector(case.query)
    return getattr(getattr(model, COLUMNS[case.type]), case.method)(at)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_search(make: Any, database: Database, case: Case) -> None:
    model = make(case)
    database.check_index("items_idx", opclass=case.opclass)
    plans = database.plans()
    found = model.select().order_by(distance(model, case)).limit(5)
    assert [item.id for item in found] == case.nearest
    assert plans.used("items_idx")


def test_distance_and_filter(make: Any) -> None:
    case = CASES[0]
    model = make()
    away = sorted(distances("<->", case.rows, case.query))
    at = distance(model, case)
    found = model.select(model.id, at.alias("distance")).order_by(at).limit(5)
    assert [item.distance for item in found] == pytest.approx(away[:5], rel=1e-5)
    near = model.select().where(at < case.radius(3))
    assert {item.id for item in near} == set(case.nearest[:3])


def test_values_and_averages(make: Any) -> None:
    model = make()
    model.create(id=100)
    first, empty = model.get_by_id(1), model.get_by_id(100)
    assert unwrap(first.a) == values("vector")[0].tolist()
    assert unwrap(first.b) == values("halfvec")[0].tolist()
    assert unwrap(first.c) == values("sparsevec")[0].tolist()
    assert first.d == bits(values("bit")[0])
    assert empty.a is None
    mean = model.select(fn.avg(model.a).coerce(True)).scalar()
    total = model.select(fn.sum(model.a).coerce(True)).scalar()
    assert unwrap(mean) == pytest.approx(values("vector").mean(axis=0), abs=1e-5)
    assert unwrap(total) == pytest.approx(values("vector").sum(axis=0), abs=1e-4)


def test_ivfflat(make: Any, database: Database) -> None:
    """The method is the caller's text.  A hundred lists, one of which is read."""
    model = make(CASES[0], "ivfflat")
    database.check_index("items_idx", "ivfflat")
    plans = database.plans()
    at = model.a.l2_distance(values("vector")[6])
    assert model.select().order_by(at).limit(1).get().id == 7
    assert plans.used("items_idx")


def test_update_and_delete(make: Any, database: Database) -> None:
    case = CASES[0]
    model = make(case)
    order = nearest("<->", case.rows, case.query, ROWS)
    model.delete().where(model.id << order[:2]).execute()
    model.update(a=case.query).where(model.id == order[-1]).execute()
    found = model.select().order_by(distance(model, case)).limit(5)
    assert [item.id for item in found] == [order[-1], *order[2:6]]
    database.check_index("items_idx")
