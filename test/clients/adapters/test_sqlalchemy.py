"""pgvector-python's SQLAlchemy types, with each driver that they support.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pgvector.psycopg2
import pytest
from pgvector import HalfVector, SparseVector, Vector
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR, avg, sum
from sqlalchemy import (
    ARRAY,
    Engine,
    Index,
    MetaData,
    Table,
    cast,
    create_engine,
    delete,
    event,
    func,
    inspect,
    literal,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from databases import Database
from samples import CASES, ROWS, Case, distances, nearest, query, values
from values import bits, unwrap

COLUMNS = {"vector": "a", "halfvec": "b", "sparsevec": "c", "bit": "d"}


def new_model() -> Any:
    """A class of its own for each test: an index becomes part of its table."""

    class Base(DeclarativeBase):
        pass

    class Item(Base):
        __tablename__ = "items"

        id: Mapped[int] = mapped_column(primary_key=True)
        a: Mapped[Any] = mapped_column(VECTOR(8), nullable=True)
        b: Mapped[Any] = mapped_column(HALFVEC(8), nullable=True)
        c: Mapped[Any] = mapped_column(SPARSEVEC(24), nullable=True)
        d: Mapped[Any] = mapped_column(BIT(64), nullable=True)

    return Item


@dataclass
class Store:
    """An engine, and a table with the samples in it."""

    engine: Engine
    item: Any

    def column(self, case: Case) -> Any:
        return getattr(self.item, COLUMNS[case.type])

    def distance(self, case: Case) -> Any:
        at: Any = bits(case.query) if case.type == "bit" else case.query
        if case.type == "sparsevec":
            at = SparseVector(case.query)
        return getattr(self.column(case), case.method)(at)

    def create_index(self, case: Case, name: str = "items_idx") -> None:
        Index(
            name,
            self.column(case),
            postgresql_using="hnsw",
            postgresql_with={"m": 16, "ef_construction": 64},
            postgresql_ops={COLUMNS[case.type]: case.opclass},
        ).create(self.engine)

    def ids(self, statement: Any) -> list[int]:
        with Session(self.engine) as session:
            return [item.id for item in session.scalars(statement)]


def new_items(model: Any) -> list[Any]:
    return [
        model(
            id=i + 1,
            a=values("vector")[i],
            b=values("halfvec")[i].tolist(),
            c=SparseVector(values("sparsevec")[i]),
            d=bits(values("bit")[i]),
        )
        for i in range(ROWS)
    ]


def make_store(database: Database, driver: str) -> Iterator[Store]:
    # pg8000's URL has no place for a socket
    arguments = {"unix_sock": database.socket} if driver == "pg8000" else {}
    url = f"postgresql+pg8000://{database.user}@/{database.name}"
    engine = create_engine(
        url if driver == "pg8000" else database.url(driver), connect_args=arguments
    )
    with Session(engine) as session:
        session.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
        session.commit()
    model = new_model()
    model.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(new_items(model))
        session.commit()
    yield Store(engine, model)
    engine.dispose()


@pytest.fixture(params=["psycopg", "psycopg2", "pg8000"])
def each_driver(request: pytest.FixtureRequest, database: Database) -> Iterator[Store]:
    yield from make_store(database, request.param)


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    yield from make_store(database, "psycopg")


def test_documentation(each_driver: Store, database: Database) -> None:
    """A table of every type, an index, the nearest, a filter, with each driver."""
    store = each_driver
    case = CASES[0]
    store.create_index(case)
    database.check_index("items_idx", opclass="vector_l2_ops")
    plans = database.plans()
    distance = store.distance(case)
    assert store.ids(select(store.item).order_by(distance).limit(5)) == case.nearest
    assert plans.used("items_idx")
    away = sorted(distances("<->", case.rows, case.query))
    with Session(store.engine) as session:
        found = session.scalars(select(distance).order_by(distance).limit(5)).all()
        assert found == pytest.approx(away[:5], rel=1e-5)
        near = select(store.item).filter(distance < case.radius(3))
        assert {item.id for item in session.scalars(near)} == set(case.nearest[:3])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_search(store: Store, database: Database, case: Case) -> None:
    store.create_index(case)
    database.check_index("items_idx", opclass=case.opclass)
    statement = select(store.item).order_by(store.distance(case)).limit(5)
    plans = database.plans()
    assert store.ids(statement) == case.nearest
    assert plans.used("items_idx")


def test_values_come_back(each_driver: Store) -> None:
    with Session(each_driver.engine) as session:
        session.add(each_driver.item(id=100))
        session.commit()
        first = session.get(each_driver.item, 1)
        assert first is not None
        assert unwrap(first.a) == values("vector")[0].tolist()
        assert unwrap(first.b) == values("halfvec")[0].tolist()
        assert unwrap(first.c) == values("sparsevec")[0].tolist()
        assert first.d == bits(values("bit")[0])
        empty = session.get(each_driver.item, 100)
        assert empty is not None
        assert (empty.a, empty.b, empty.c, empty.d) == (None,) * 4


def test_averages(store: Store) -> None:
    with Session(store.engine) as session:
        mean = session.scalars(select(avg(store.item.a))).one()
        total = session.scalars(select(sum(store.item.b))).one()
    assert unwrap(mean) == pytest.approx(values("vector").mean(axis=0), abs=1e-5)
    assert unwrap(total) == pytest.approx(values("halfvec").sum(axis=0), abs=0.05)


def test_filter_and_delete(store: Store, database: Database) -> None:
    case = CASES[0]
    store.create_index(case)
    order = nearest("<->", case.rows, case.query, ROWS)
    search = select(store.item).order_by(store.distance(case)).limit(5)
    plans = database.plans()
    even = search.where(store.item.id % 2 == 0)
    assert store.ids(even) == [i for i in order if i % 2 == 0][:5]
    assert plans.used("items_idx")
    with Session(store.engine) as session:
        session.execute(delete(store.item).where(store.item.id.in_(order[:2])))
        changed = session.get(store.item, order[-1])
        assert changed is not None
        changed.a = case.query
        session.commit()
    assert store.ids(search) == [order[-1], *order[2:6]]
    database.check_index("items_idx")


def test_halfvec_index_over_vectors(store: Store, database: Database) -> None:
    """The documentation's half-precision indexing."""
    halves = func.cast(store.item.a, HALFVEC(8))
    Index(
        "items_half",
        halves.label("embedding"),
        postgresql_using="hnsw",
        postgresql_with={"m": 16, "ef_construction": 64},
        postgresql_ops={"embedding": "halfvec_l2_ops"},
    ).create(store.engine)
    database.check_index("items_half", opclass="halfvec_l2_ops")
    plans = database.plans()
    statement = select(store.item).order_by(halves.l2_distance(query("vector")))
    assert store.ids(statement.limit(5)) == CASES[0].nearest
    assert plans.used("items_half")


def test_bit_index_over_vectors(store: Store, database: Database) -> None:
    """Binary quantization, and the order set right by the vectors themselves."""
    quantized = func.cast(func.binary_quantize(store.item.a), BIT(8))
    Index(
        "items_bits",
        quantized.label("embedding"),
        postgresql_using="hnsw",
        postgresql_with={"m": 16, "ef_construction": 64},
        postgresql_ops={"embedding": "bit_hamming_ops"},
    ).create(store.engine)
    database.check_index("items_bits", opclass="bit_hamming_ops")
    at = func.binary_quantize(cast(literal(query("vector"), VECTOR(8)), VECTOR(8)))
    inner = (
        select(store.item)
        .order_by(quantized.hamming_distance(at))
        .limit(ROWS)
        .subquery()
    )
    statement = select(inner.c.id).order_by(inner.c.a.l2_distance(query("vector")))
    plans = database.plans()
    with Session(store.engine) as session:
        assert session.scalars(statement.limit(5)).all() == CASES[0].nearest
    assert plans.used("items_bits")


def test_ivfflat(store: Store, database: Database) -> None:
    Index(
        "items_lists",
        store.item.a,
        postgresql_using="ivfflat",
        postgresql_with={"lists": 1},
        postgresql_ops={"a": "vector_l2_ops"},
    ).create(store.engine)
    database.check_index("items_lists", "ivfflat")
    plans = database.plans()
    statement = select(store.item).order_by(store.distance(CASES[0])).limit(5)
    assert store.ids(statement) == CASES[0].nearest
    assert plans.used("items_lists")


def test_reflection(store: Store) -> None:
    """What exists in the database comes back as the same types."""
    store.create_index(CASES[0])
    table = Table("items", MetaData(), autoload_with=store.engine)
    found = {column.name: column.type for column in table.columns}
    assert isinstance(found["a"], VECTOR)
    assert found["a"].dim == 8
    assert isinstance(found["b"], HALFVEC)
    assert found["b"].dim == 8
    assert isinstance(found["c"], SPARSEVEC)
    assert found["c"].dim == 24
    [index] = inspect(store.engine).get_indexes("items")
    options: Any = index["dialect_options"]
    assert options["postgresql_using"] == "hnsw"
    assert options["postgresql_with"] == {"m": "16", "ef_construction": "64"}


def test_arrays(database: Database, store: Store) -> None:
    class Base(DeclarativeBase):
        pass

    class Group(Base):
        __tablename__ = "groups"
        id: Mapped[int] = mapped_column(primary_key=True)
        vectors: Mapped[Any] = mapped_column(ARRAY(VECTOR(3)))
        halves: Mapped[Any] = mapped_column(ARRAY(HALFVEC(3)))

    engine = create_engine(database.url("psycopg2"))

    @event.listens_for(engine, "connect")
    def register(connection: Any, record: Any) -> None:
        pgvector.psycopg2.register_vector(connection, globally=False, arrays=True)

    Base.metadata.create_all(engine)
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    with Session(engine) as session:
        session.add(
            Group(
                id=1,
                vectors=[np.array(row) for row in rows],
                halves=[HalfVector(row) for row in rows],
            )
        )
        session.commit()
        group = session.get(Group, 1)
        assert group is not None
        assert [unwrap(value) for value in group.vectors] == rows
        assert [unwrap(value) for value in group.halves] == rows
    engine.dispose()


def test_asyncpg(store: Store, database: Database) -> None:
    """The async engine: asyncpg with the types as text, no codec registered."""
    store.create_index(CASES[0])

    async def search() -> list[int]:
        engine = create_async_engine(database.url("asyncpg"))
        try:
            async with AsyncSession(engine) as session:
                session.add(store.item(id=100, a=Vector([9] * 8)))
                await session.commit()
                kept = await session.get(store.item, 100)
                assert kept is not None
                assert unwrap(kept.a) == [9] * 8
                found = await session.scalars(
                    select(store.item).order_by(store.distance(CASES[0])).limit(5)
                )
                return [item.id for item in found]
        finally:
            await engine.dispose()

    plans = database.plans()
    assert asyncio.run(search()) == CASES[0].nearest
    assert plans.used("items_idx")


def test_errors(store: Store) -> None:
    with Session(store.engine) as session:
        session.add(store.item(id=100, a=[1, 2]))
        with pytest.raises(StatementError, match="expected 8 dimensions, not 2"):
            session.commit()
    with Session(store.engine) as session, pytest.raises(DBAPIError) as caught:
        session.execute(text("SELECT '[1,2]'::vector <-> '[1]'"))
    assert getattr(caught.value.orig, "sqlstate", None) == "22000"
