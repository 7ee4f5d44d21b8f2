"""LlamaIndex's PGVectorStore.

It orders by cosine distance only, and its HNSW index is made when the first node is
added.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.vector_stores.postgres import PGVectorStore

from databases import Database
from samples import DIMENSIONS, ROWS, distances, embed, nearest, query, text, values

Make = Callable[..., Any]

HNSW = {"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 40}

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def make(database: Database) -> Iterator[Make]:
    stores: list[Any] = []

    def create(**options: Any) -> Any:
        store = PGVectorStore.from_params(
            connection_string=database.url("psycopg2"),
            async_connection_string=database.url("asyncpg"),
            table_name="docs",
            embed_dim=DIMENSIONS,
            # the store takes its own settings out of the dictionary
            **{"hnsw_kwargs": dict(HNSW), **options},
        )
        stores.append(store)
        return store

    yield create
    for store in stores:
        asyncio.run(store.close())


def nodes() -> list[TextNode]:
    return [
        TextNode(
            id_=str(n),
            text=text(n),
            embedding=embed(text(n)),
            metadata={"number": n, "parity": "even" if n % 2 == 0 else "odd"},
        )
        for n in range(1, ROWS + 1)
    ]


def ask(**options: Any) -> VectorStoreQuery:
    return VectorStoreQuery(
        query_embedding=embed("query"), similarity_top_k=5, **options
    )


def ids(result: Any) -> list[int]:
    return [int(id_) for id_ in result.ids]


ORDER = nearest("<=>", values("vector"), query("vector"), ROWS)
INDEX = "data_docs_embedding_idx"


def test_search(make: Make, database: Database) -> None:
    store = make()
    store.add(nodes())
    database.check_index(INDEX, opclass="vector_cosine_ops")
    plans = database.plans()
    result = store.query(ask())
    assert ids(result) == ORDER[:5]
    assert plans.used(INDEX)
    away = sorted(distances("<=>", values("vector"), query("vector")))
    assert result.similarities == pytest.approx([1 - d for d in away[:5]], abs=1e-5)


def test_documentation(make: Make, database: Database) -> None:
    """The tutorial's way: an index object over the store, and a retriever of it."""
    store = make()
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(
        nodes(), storage_context=context, embed_model=MockEmbedding(DIMENSIONS)
    )
    plans = database.plans()
    retriever = VectorStoreIndex.from_vector_store(
        store, embed_model=index._embed_model
    ).as_retriever(similarity_top_k=3)
    # the mock model's only answer is 0.5 in every place
    found = [int(node.node.node_id) for node in retriever.retrieve("anything")]
    assert found == nearest("<=>", values("vector"), query("vector") * 0 + 0.5, 3)
    assert plans.used(INDEX)


def test_filter(make: Make, database: Database) -> None:
    store = make()
    store.add(nodes())
    even = MetadataFilters(filters=[MetadataFilter(key="parity", value="even")])
    plans = database.plans()
    assert ids(store.query(ask(filters=even))) == [n for n in ORDER if n % 2 == 0][:5]
    assert plans.used(INDEX)
    between = MetadataFilters(
        filters=[
            MetadataFilter(key="number", value=10, operator=FilterOperator.GT),
            MetadataFilter(key="number", value=20, operator=FilterOperator.LTE),
        ],
        condition=FilterCondition.AND,
    )
    assert (
        ids(store.query(ask(filters=between))) == [n for n in ORDER if 10 < n <= 20][:5]
    )


def test_delete(make: Make, database: Database) -> None:
    store = make()
    store.add(nodes())
    store.delete_nodes(node_ids=[str(n) for n in ORDER[:3]])
    assert ids(store.query(ask())) == ORDER[3:8]
    database.check_index(INDEX)
    store.clear()
    assert ids(store.query(ask())) == []


def test_settings_of_a_query(make: Make) -> None:
    """What it turns into SET hnsw.ef_search and SET ivfflat.probes."""
    store = make()
    store.add(nodes())
    result = store.query(ask(), hnsw_ef_search=100, ivfflat_probes=4)
    assert ids(result) == ORDER[:5]


def test_halfvec(make: Make, database: Database) -> None:
    store = make(
        use_halfvec=True, hnsw_kwargs={**HNSW, "hnsw_dist_method": "halfvec_cosine_ops"}
    )
    store.add(nodes())
    database.check_index(INDEX, opclass="halfvec_cosine_ops")
    plans = database.plans()
    # the samples are exact as 16-bit floats
    assert ids(store.query(ask())) == ORDER[:5]
    assert plans.used(INDEX)


def test_halfvec_by_default(make: Make, database: Database) -> None:
    """Its index is then for a distance that its queries do not order by."""
    store = make(use_halfvec=True)
    store.add(nodes())
    database.check_index(INDEX, opclass="halfvec_l2_ops")
    assert ids(store.query(ask())) == ORDER[:5]


def test_hybrid(make: Make, database: Database) -> None:
    """Text search beside the vectors, each with its own index."""
    store = make(hybrid_search=True, text_search_config="english")
    store.add(nodes())
    result = store.query(ask(mode="hybrid", query_str="30", sparse_top_k=2))
    assert {30, *ORDER[:5]} == set(ids(result))
    database.check_index(INDEX)


def test_async(make: Make, database: Database) -> None:
    store = make()

    async def whole() -> Any:
        await store.async_add(nodes())
        found = await store.aquery(ask())
        await store.close()
        return found

    plans = database.plans()
    assert ids(asyncio.run(whole())) == ORDER[:5]
    assert plans.used(INDEX)
