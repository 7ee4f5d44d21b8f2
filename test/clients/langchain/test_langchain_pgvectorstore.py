"""LangChain's PGEngine and PGVectorStore: a table for each store, with its indexes.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import (
    DistanceStrategy,
    HNSWIndex,
    HNSWQueryOptions,
    IVFFlatIndex,
    IVFFlatQueryOptions,
)

from databases import Database
from embeddings import SampleEmbeddings
from samples import DIMENSIONS, ROWS, distances, nearest, query, text, values

pytestmark = pytest.mark.filterwarnings("default")

STRATEGIES = [
    (DistanceStrategy.EUCLIDEAN, "<->"),
    (DistanceStrategy.COSINE_DISTANCE, "<=>"),
    (DistanceStrategy.INNER_PRODUCT, "<#>"),
]


def identifier(number: int) -> str:
    """The store's own ids are UUIDs."""
    return str(uuid.UUID(int=number))


@pytest.fixture
def engine(database: Database) -> Iterator[PGEngine]:
    made = PGEngine.from_connection_string(url=database.url("asyncpg"))
    made.init_vectorstore_table(
        table_name="docs",
        vector_size=DIMENSIONS,
        metadata_columns=[Column("number", "INTEGER")],
    )
    yield made
    asyncio.run(made.close())


def make_store(engine: PGEngine, **options: Any) -> PGVectorStore:
    return PGVectorStore.create_sync(
        engine=engine,
        table_name="docs",
        embedding_service=SampleEmbeddings(),
        metadata_columns=["number"],
        **options,
    )


def fill(store: PGVectorStore) -> None:
    store.add_documents(
        [
            Document(page_content=text(n), metadata={"number": n, "even": n % 2 == 0})
            for n in range(1, ROWS + 1)
        ],
        ids=[identifier(n) for n in range(1, ROWS + 1)],
    )


def numbers(found: list[Document]) -> list[int]:
    return [document.metadata["number"] for document in found]


@pytest.mark.parametrize(("strategy", "operator"), STRATEGIES)
def test_hnsw(
    engine: PGEngine, database: Database, strategy: DistanceStrategy, operator: str
) -> None:
    store = make_store(
        engine,
        distance_strategy=strategy,
        index_query_options=HNSWQueryOptions(ef_search=64),
    )
    fill(store)
    store.apply_vector_index(
        HNSWIndex(name="docs_idx", distance_strategy=strategy, m=8, ef_construction=32)
    )
    assert store.is_valid_index("docs_idx")
    database.check_index("docs_idx", opclass=strategy.index_function)
    order = nearest(operator, values("vector"), query("vector"))
    plans = database.plans()
    assert numbers(store.similarity_search("query", k=5)) == order
    assert plans.used("docs_idx")
    scored = store.similarity_search_with_score("query", k=5)
    away = sorted(distances(operator, values("vector"), query("vector")))
    # inner_product() is not negated, unlike its operator
    sign = -1 if operator == "<#>" else 1
    assert [score for _, score in scored] == pytest.approx(
        [sign * distance for distance in away[:5]], abs=1e-5
    )


def test_index_life(engine: PGEngine, database: Database) -> None:
    """Its default name, made concurrently, rebuilt and dropped."""
    store = make_store(engine)
    fill(store)
    store.apply_vector_index(HNSWIndex(), concurrently=True)
    [(name, method)] = database.indexes("docs").items()
    assert method == "hnsw"
    store.reindex(name)
    database.check_index(name, opclass="vector_cosine_ops")
    plans = database.plans()
    expected = nearest("<=>", values("vector"), query("vector"))
    assert numbers(store.similarity_search("query", k=5)) == expected
    assert plans.used(name)
    store.drop_vector_index(name)
    assert database.indexes("docs") == {}


def test_ivfflat(engine: PGEngine, database: Database) -> None:
    store = make_store(engine, index_query_options=IVFFlatQueryOptions(probes=2))
    fill(store)
    store.apply_vector_index(IVFFlatIndex(name="docs_lists", lists=2))
    database.check_index("docs_lists", "ivfflat", opclass="vector_cosine_ops")
    plans = database.plans()
    expected = nearest("<=>", values("vector"), query("vector"))
    assert numbers(store.similarity_search("query", k=5)) == expected
    assert plans.used("docs_lists")


@pytest.mark.ours
def test_chassis_by_its_own_name(engine: PGEngine, database: Database) -> None:
    """Without the alias's access method: the index type is a field of the class."""
    store = make_store(engine)
    fill(store)
    store.apply_vector_index(
        HNSWIndex(name="docs_idx", index_type="chassis", extension_name="chassis")
    )
    database.check_index("docs_idx", "chassis", opclass="vector_cosine_ops")
    plans = database.plans()
    expected = nearest("<=>", values("vector"), query("vector"))
    assert numbers(store.similarity_search("query", k=5)) == expected
    assert plans.used("docs_idx")


def test_filter(engine: PGEngine, database: Database) -> None:
    store = make_store(engine)
    fill(store)
    store.apply_vector_index(HNSWIndex(name="docs_idx"))
    order = nearest("<=>", values("vector"), query("vector"), ROWS)
    plans = database.plans()
    found = store.similarity_search("query", k=4, filter={"number": {"$gte": 18}})
    assert numbers(found) == [n for n in order if n >= 18][:4]
    assert plans.used("docs_idx")
    found = store.similarity_search("query", k=4, filter={"number": {"$in": [5, 6, 7]}})
    assert numbers(found) == [n for n in order if n in (5, 6, 7)]


def test_delete_and_upsert(engine: PGEngine, database: Database) -> None:
    store = make_store(engine)
    fill(store)
    store.apply_vector_index(HNSWIndex(name="docs_idx"))
    order = nearest("<=>", values("vector"), query("vector"), ROWS)
    store.delete(ids=[identifier(n) for n in order[:2]])
    store.add_documents(
        [Document(page_content="query", metadata={"number": 99})],
        ids=[identifier(order[3])],
    )
    found = numbers(store.similarity_search("query", k=3))
    assert found == [99, order[2], order[4]]
    database.check_index("docs_idx")


def test_retriever_and_mmr(engine: PGEngine) -> None:
    store = make_store(engine)
    fill(store)
    order = nearest("<=>", values("vector"), query("vector"), ROWS)
    retriever = store.as_retriever(search_kwargs={"k": 3})
    assert numbers(retriever.invoke("query")) == order[:3]
    found = numbers(store.max_marginal_relevance_search("query", k=3, fetch_k=10))
    assert found[0] == order[0]
    assert set(found) <= set(order[:10])


def test_async(database: Database) -> None:
    async def whole() -> list[int]:
        engine = PGEngine.from_connection_string(url=database.url("asyncpg"))
        await engine.ainit_vectorstore_table("docs", DIMENSIONS)
        store = await PGVectorStore.create(engine, SampleEmbeddings(), "docs")
        await store.aadd_texts(
            [text(n) for n in range(1, ROWS + 1)],
            metadatas=[{"number": n} for n in range(1, ROWS + 1)],
        )
        await store.aapply_vector_index(HNSWIndex(name="docs_idx"))
        found = numbers(await store.asimilarity_search("query", k=5))
        await engine.close()
        return found

    plans = database.plans()
    assert asyncio.run(whole()) == nearest("<=>", values("vector"), query("vector"))
    assert plans.used("docs_idx")
