"""vecs, Supabase's client: collections in a schema of its own.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import vecs
from sqlalchemy.exc import ProgrammingError
from vecs import IndexArgsHNSW, IndexArgsIVFFlat, IndexMeasure, IndexMethod

from databases import Database
from samples import DIMENSIONS, ROWS, distances, nearest, query, values

pytestmark = pytest.mark.filterwarnings("default")

MEASURES = [
    (IndexMeasure.l2_distance, "vector_l2_ops", "<->"),
    (IndexMeasure.cosine_distance, "vector_cosine_ops", "<=>"),
    (IndexMeasure.max_inner_product, "vector_ip_ops", "<#>"),
    (IndexMeasure.l1_distance, "vector_l1_ops", "<+>"),
]


@pytest.fixture
def client(database: Database) -> Iterator[Any]:
    # Its driver.  For a plain postgresql:// SQLAlchemy 2.1 takes psycopg 3, which
    # sends parameters apart, and vecs has them in SET, which takes none: its queries
    # fail then on any server.
    with vecs.create_client(database.url("psycopg2")) as made:
        yield made


@pytest.fixture
def docs(client: Any) -> Any:
    collection = client.get_or_create_collection(name="docs", dimension=DIMENSIONS)
    collection.upsert(
        records=[
            (str(i + 1), row, {"number": i + 1, "even": i % 2 == 1})
            for i, row in enumerate(values("vector"))
        ]
    )
    return collection


def index_of(database: Database, method: str) -> str:
    """The name that vecs made up."""
    found = database.indexes("vecs.docs")
    [name] = [name for name, used in found.items() if used == method]
    return name


def test_plain_url(database: Database) -> None:
    """The reason for the driver in the URL: when this fails, leave it out again."""
    with vecs.create_client(database.url()) as client:
        docs = client.get_or_create_collection(name="docs", dimension=DIMENSIONS)
        with pytest.raises(ProgrammingError, match="syntax error") as caught:
            docs.query(data=query("vector"), limit=5)
    assert caught.value.statement.startswith("set local")  # type: ignore[union-attr]


@pytest.mark.parametrize(("measure", "opclass", "operator"), MEASURES)
def test_hnsw(
    docs: Any, database: Database, measure: Any, opclass: str, operator: str
) -> None:
    docs.create_index(
        method=IndexMethod.hnsw,
        measure=measure,
        index_arguments=IndexArgsHNSW(m=8, ef_construction=32),
    )
    name = index_of(database, "hnsw")
    database.check_index(f'vecs."{name}"', opclass=opclass)
    order = nearest(operator, values("vector"), query("vector"))
    plans = database.plans()
    with warnings.catch_warnings():
        # it warns when it finds no index that covers the query
        warnings.simplefilter("error")
        found = docs.query(
            data=query("vector"), limit=5, measure=measure, include_value=True
        )
    assert [int(id_) for id_, _ in found] == order
    away = sorted(distances(operator, values("vector"), query("vector")))
    assert [value for _, value in found] == pytest.approx(away[:5], abs=1e-5)
    assert plans.used(name)


def test_default_index(docs: Any, database: Database) -> None:
    """``auto`` asks for the extension's version and then takes hnsw."""
    docs.create_index()
    database.check_index(
        f'vecs."{index_of(database, "hnsw")}"', opclass="vector_cosine_ops"
    )
    found = docs.query(data=query("vector"), limit=5, ef_search=64)
    assert [int(id_) for id_ in found] == nearest(
        "<=>", values("vector"), query("vector")
    )


def test_ivfflat(docs: Any, database: Database) -> None:
    docs.create_index(
        method=IndexMethod.ivfflat, index_arguments=IndexArgsIVFFlat(n_lists=2)
    )
    name = index_of(database, "ivfflat")
    database.check_index(f'vecs."{name}"', "ivfflat", opclass="vector_cosine_ops")
    plans = database.plans()
    found = docs.query(data=query("vector"), limit=5, probes=2)
    assert [int(id_) for id_ in found] == nearest(
        "<=>", values("vector"), query("vector")
    )
    assert plans.used(name)


def test_filter(docs: Any) -> None:
    docs.create_index(measure=IndexMeasure.cosine_distance)
    order = nearest("<=>", values("vector"), query("vector"), ROWS)
    found = docs.query(data=query("vector"), limit=4, filters={"even": {"$eq": True}})
    assert [int(id_) for id_ in found] == [n for n in order if n % 2 == 0][:4]
    found = docs.query(
        data=query("vector"),
        limit=4,
        filters={"$and": [{"number": {"$gt": 10}}, {"number": {"$lte": 20}}]},
        include_metadata=True,
    )
    assert [meta["number"] for _, meta in found] == [n for n in order if 10 < n <= 20][
        :4
    ]


def test_upsert_fetch_and_delete(docs: Any, client: Any, database: Database) -> None:
    docs.create_index()
    order = nearest("<=>", values("vector"), query("vector"), ROWS)
    docs.delete(ids=[str(n) for n in order[:2]])
    docs.upsert(records=[(str(order[5]), query("vector"), {"changed": True})])
    found = docs.query(data=query("vector"), limit=3)
    assert [int(id_) for id_ in found] == [order[5], order[2], order[3]]
    [(_, value, metadata)] = docs.fetch(ids=[str(order[5])])
    assert list(value) == query("vector").tolist()
    assert metadata == {"changed": True}
    assert len(docs) == ROWS - 2
    # the dimension of an existing collection is read from its column
    [again] = client.list_collections()
    assert (again.name, again.dimension) == ("docs", DIMENSIONS)
    database.check_index(f'vecs."{index_of(database, "hnsw")}"')
