"""LangChain's PGVector, its first store: two tables for all collections.

It makes no vector index.  Its users add one by hand, on a column that has a
dimension only when ``embedding_length`` is given; so does the fixture here.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_postgres import PGVector
from langchain_postgres.vectorstores import DistanceStrategy

from databases import Database
from embeddings import SampleEmbeddings
from samples import DIMENSIONS, ROWS, distances, nearest, query, text, values

Make = Callable[..., PGVector]

STRATEGIES = [
    (DistanceStrategy.EUCLIDEAN, "vector_l2_ops", "<->"),
    (DistanceStrategy.COSINE, "vector_cosine_ops", "<=>"),
    (DistanceStrategy.MAX_INNER_PRODUCT, "vector_ip_ops", "<#>"),
]

# One process has one model of the tables, whichever store made it first.
pytestmark = pytest.mark.filterwarnings("default")


def documents() -> list[Document]:
    return [
        Document(page_content=text(n), metadata={"number": n, "even": n % 2 == 0})
        for n in range(1, ROWS + 1)
    ]


@pytest.fixture
def make(database: Database) -> Iterator[Make]:
    stores: list[PGVector] = []

    def create(
        strategy: DistanceStrategy = DistanceStrategy.COSINE, **options: Any
    ) -> PGVector:
        store = PGVector(
            embeddings=SampleEmbeddings(),
            collection_name="docs",
            connection=database.url("psycopg"),
            embedding_length=DIMENSIONS,
            distance_strategy=strategy,
            use_jsonb=True,
            **options,
        )
        if not options.get("async_mode"):
            stores.append(store)
        return store

    yield create
    for store in stores:
        store._engine.dispose()  # type: ignore[union-attr]


def create_index(database: Database, opclass: str, method: str = "hnsw") -> None:
    database.rows(
        f"CREATE INDEX embedding_idx ON langchain_pg_embedding"
        f" USING {method} (embedding {opclass})"
    )
    # The table is joined with that of collections, which the planner would do
    # first if it thought the embeddings few.
    database.rows("ANALYZE")


def numbers(found: list[Document]) -> list[int]:
    return [document.metadata["number"] for document in found]


@pytest.mark.parametrize(("strategy", "opclass", "operator"), STRATEGIES)
def test_search(
    make: Make,
    database: Database,
    strategy: DistanceStrategy,
    opclass: str,
    operator: str,
) -> None:
    store = make(strategy)
    store.add_documents(documents(), ids=[text(n) for n in range(1, ROWS + 1)])
    create_index(database, opclass)
    database.check_index("embedding_idx", opclass=opclass)
    order = nearest(operator, values("vector"), query("vector"), 5)
    plans = database.plans()
    assert numbers(store.similarity_search("query", k=5)) == order
    assert plans.used("embedding_idx")
    scored = store.similarity_search_with_score("query", k=5)
    assert [document.metadata["number"] for document, _ in scored] == order
    away = sorted(distances(operator, values("vector"), query("vector")))
    assert [score for _, score in scored] == pytest.approx(away[:5], abs=1e-5)


def test_filter(make: Make) -> None:
    store = make()
    store.add_documents(documents())
    order = nearest("<=>", values("vector"), query("vector"), ROWS)

    def search(filter_: dict[str, Any]) -> list[int]:
        return numbers(store.similarity_search("query", k=4, filter=filter_))

    assert search({"even": {"$eq": True}}) == [n for n in order if n % 2 == 0][:4]
    assert search({"number": {"$in": [3, 4, 5, 6]}}) == [
        n for n in order if 3 <= n <= 6
    ]
    assert (
        search({"$and": [{"number": {"$gt": 10}}, {"number": {"$lte": 20}}]})
        == [n for n in order if 10 < n <= 20][:4]
    )


def test_delete_and_upsert(make: Make, database: Database) -> None:
    store = make()
    store.add_documents(documents(), ids=[text(n) for n in range(1, ROWS + 1)])
    create_index(database, "vector_cosine_ops")
    order = nearest("<=>", values("vector"), query("vector"), ROWS)
    store.delete(ids=[text(n) for n in order[:2]])
    # the same id again, with the embedding of another text
    store.add_documents(
        [Document(page_content="query", metadata={"number": 99})], ids=[text(order[3])]
    )
    found = numbers(store.similarity_search("query", k=3))
    assert found == [99, order[2], order[4]]
    database.check_index("embedding_idx")


def test_retrievers(make: Make) -> None:
    store = make()
    store.add_documents(documents())
    order = nearest("<=>", values("vector"), query("vector"), ROWS)
    plain = store.as_retriever(search_kwargs={"k": 3})
    assert numbers(plain.invoke("query")) == order[:3]
    diverse = store.as_retriever(
        search_type="mmr", search_kwargs={"k": 3, "fetch_k": 10}
    )
    found = numbers(diverse.invoke("query"))
    assert found[0] == order[0]
    assert set(found) <= set(order[:10])


def test_async(make: Make, database: Database) -> None:
    async def whole() -> list[int]:
        store = make(async_mode=True)
        await store.aadd_documents(documents())
        create_index(database, "vector_cosine_ops")
        found = numbers(await store.asimilarity_search("query", k=5))
        await store._async_engine.dispose()  # type: ignore[union-attr]
        return found

    plans = database.plans()
    assert asyncio.run(whole()) == nearest("<=>", values("vector"), query("vector"))
    assert plans.used("embedding_idx")


def test_length_is_checked(make: Make, database: Database) -> None:
    store = make()
    with pytest.raises(Exception, match="expected 8 dimensions, not 2"):
        store.add_embeddings(["short"], [[1.0, 2.0]])
