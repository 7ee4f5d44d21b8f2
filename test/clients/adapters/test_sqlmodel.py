"""pgvector-python with SQLModel.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR, avg, sum
from sqlalchemy import Column, Engine, Index, delete, text
from sqlmodel import Field, Session, SQLModel, create_engine, select

from databases import Database
from samples import CASES, ROWS, Case, distances, nearest, values
from values import bits, unwrap, wrap


class Item(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    a: Any = Field(default=None, sa_column=Column(VECTOR(8)))
    b: Any = Field(default=None, sa_column=Column(HALFVEC(8)))
    c: Any = Field(default=None, sa_column=Column(SPARSEVEC(24)))
    d: Any = Field(default=None, sa_column=Column(BIT(64)))


COLUMNS = {"vector": "a", "halfvec": "b", "sparsevec": "c", "bit": "d"}


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    made = create_engine(database.url("psycopg2"))
    with Session(made) as session:
        session.exec(text("CREATE EXTENSION IF NOT EXISTS vector"))  # type: ignore[call-overload]
        session.commit()
    SQLModel.metadata.create_all(made)
    with Session(made) as session:
        for i in range(ROWS):
            session.add(
                Item(
                    id=i + 1,
                    a=values("vector")[i],
                    b=values("halfvec")[i],
                    c=wrap("sparsevec", values("sparsevec")[i]),
                    d=bits(values("bit")[i]),
                )
            )
        session.commit()
    yield made
    made.dispose()


def distance(case: Case) -> Any:
    column = getattr(Item, COLUMNS[case.type])
    at = bits(case.query) if case.type == "bit" else wrap(case.type, case.query)
    return getattr(column, case.method)(at)


@pytest.fixture
def create_index(engine: Engine) -> Iterator[Any]:
    """Makes indexes, which become part of the model, and takes them out again."""
    made: list[Index] = []

    def create(case: Case, using: str = "hnsw", **options: int) -> None:
        column = COLUMNS[case.type]
        index = Index(
            "items_idx",
            getattr(Item, column),
            postgresql_using=using,
            postgresql_with=options or {"m": 16, "ef_construction": 64},
            postgresql_ops={column: case.opclass},
        )
        made.append(index)
        index.create(engine)

    yield create
    for index in made:
        assert index.table is not None
        index.table.indexes.remove(index)


def ids(engine: Engine, statement: Any) -> list[int | None]:
    with Session(engine) as session:
        return [item.id for item in session.exec(statement)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_search(
    engine: Engine, database: Database, create_index: Any, case: Case
) -> None:
    create_index(case)
    database.check_index("items_idx", opclass=case.opclass)
    plans = database.plans()
    statement = select(Item).order_by(distance(case)).limit(5)
    assert ids(engine, statement) == case.nearest
    assert plans.used("items_idx")


def test_distance_and_filter(engine: Engine) -> None:
    case = CASES[0]
    away = sorted(distances("<->", case.rows, case.query))
    with Session(engine) as session:
        found = session.exec(select(distance(case)).order_by(distance(case))).all()
    assert found == pytest.approx(away, rel=1e-5)
    near = select(Item).where(distance(case) < case.radius(3))
    assert set(ids(engine, near)) == set(case.nearest[:3])


def test_values_and_averages(engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Item(id=100))
        session.commit()
        first, empty = session.get(Item, 1), session.get(Item, 100)
        assert first is not None and empty is not None
        assert unwrap(first.a) == values("vector")[0].tolist()
        assert unwrap(first.b) == values("halfvec")[0].tolist()
        assert unwrap(first.c) == values("sparsevec")[0].tolist()
        assert first.d == bits(values("bit")[0])
        assert empty.a is None
        mean: Any = session.exec(select(avg(Item.a))).one()
        total: Any = session.exec(select(sum(Item.a))).one()
    assert unwrap(mean) == pytest.approx(values("vector").mean(axis=0), abs=1e-5)
    assert unwrap(total) == pytest.approx(values("vector").sum(axis=0), abs=1e-4)


def test_ivfflat(engine: Engine, database: Database, create_index: Any) -> None:
    create_index(CASES[0], "ivfflat", lists=1)
    database.check_index("items_idx", "ivfflat")
    plans = database.plans()
    statement = select(Item).order_by(distance(CASES[0])).limit(5)
    assert ids(engine, statement) == CASES[0].nearest
    assert plans.used("items_idx")


def test_delete(engine: Engine, database: Database, create_index: Any) -> None:
    case = CASES[0]
    create_index(case)
    order = nearest("<->", case.rows, case.query, ROWS)
    with Session(engine) as session:
        session.exec(delete(Item).where(Item.id.in_(order[:3])))  # type: ignore
        session.commit()
    statement = select(Item).order_by(distance(case)).limit(5)
    assert ids(engine, statement) == order[3:8]
    database.check_index("items_idx")
