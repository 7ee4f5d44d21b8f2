"""Haystack's PgvectorDocumentStore and its retrievers.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.components.writers import DocumentWriter
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import Secret
from haystack_integrations.components.retrievers.pgvector import (
    PgvectorEmbeddingRetriever,
    PgvectorKeywordRetriever,
)
from haystack_integrations.document_stores.pgvector import PgvectorDocumentStore

from databases import Database
from samples import DIMENSIONS, ROWS, distances, embed, nearest, query, text, values

Make = Callable[..., PgvectorDocumentStore]

pytestmark = pytest.mark.filterwarnings("default")

FUNCTIONS = [
    ("l2_distance", "l2", "<->"),
    ("cosine_similarity", "cosine", "<=>"),
    ("inner_product", "ip", "<#>"),
]
INDEX = "haystack_hnsw_index"


@pytest.fixture
def make(database: Database) -> Iterator[Make]:
    stores: list[PgvectorDocumentStore] = []

    def create(function: str = "l2_distance", **options: Any) -> PgvectorDocumentStore:
        store = PgvectorDocumentStore(
            connection_string=Secret.from_token(database.url()),
            table_name="docs",
            embedding_dimension=DIMENSIONS,
            vector_function=function,  # type: ignore[arg-type]
            search_strategy="hnsw",
            hnsw_index_creation_kwargs={"m": 16, "ef_construction": 64},
            hnsw_ef_search=40,
            **options,
        )
        stores.append(store)
        return store

    yield create
    for store in stores:
        if store._connection is not None:
            store._connection.close()


def documents() -> list[Document]:
    return [
        Document(
            id=str(n),
            content=text(n),
            embedding=embed(text(n)),
            meta={"number": n, "parity": "even" if n % 2 == 0 else "odd"},
        )
        for n in range(1, ROWS + 1)
    ]


def ids(found: list[Document]) -> list[int]:
    return [int(document.id) for document in found]


def retrieve(store: PgvectorDocumentStore, **options: Any) -> list[Document]:
    retriever = PgvectorEmbeddingRetriever(document_store=store, top_k=5)
    found = retriever.run(query_embedding=embed("query"), **options)["documents"]
    return list(found)


@pytest.mark.parametrize("type_", ["vector", "halfvec"])
@pytest.mark.parametrize(("function", "metric", "operator"), FUNCTIONS)
def test_search(
    make: Make,
    database: Database,
    type_: str,
    function: str,
    metric: str,
    operator: str,
) -> None:
    store = make(function, vector_type=type_)
    assert store.write_documents(documents()) == ROWS
    assert store.count_documents() == ROWS
    database.check_index(INDEX, opclass=f"{type_}_{metric}_ops")
    plans = database.plans()
    found = retrieve(store)
    assert ids(found) == nearest(operator, values("vector"), query("vector"))
    away = sorted(distances(operator, values("vector"), query("vector")))[:5]
    score = {
        "l2_distance": away,
        "cosine_similarity": [1 - distance for distance in away],
        "inner_product": [-distance for distance in away],
    }[function]
    assert [document.score for document in found] == pytest.approx(score, abs=1e-5)
    assert plans.used(INDEX)


def test_filter(make: Make, database: Database) -> None:
    store = make()
    store.write_documents(documents())
    order = nearest("<->", values("vector"), query("vector"), ROWS)
    even = {"field": "meta.parity", "operator": "==", "value": "even"}
    plans = database.plans()
    assert ids(retrieve(store, filters=even)) == [n for n in order if n % 2 == 0][:5]
    assert plans.used(INDEX)
    between = {
        "operator": "AND",
        "conditions": [
            {"field": "meta.number", "operator": ">", "value": 10},
            {"field": "meta.number", "operator": "<=", "value": 20},
        ],
    }
    assert (
        ids(retrieve(store, filters=between)) == [n for n in order if 10 < n <= 20][:5]
    )
    assert {*ids(store.filter_documents(between))} == set(range(11, 21))


def test_write_policies_and_delete(make: Make, database: Database) -> None:
    store = make()
    store.write_documents(documents())
    order = nearest("<->", values("vector"), query("vector"), ROWS)
    with pytest.raises(DuplicateDocumentError):
        store.write_documents(documents()[:1])
    changed = Document(id=str(order[-1]), content="x", embedding=embed("query"))
    store.write_documents([changed], policy=DuplicatePolicy.OVERWRITE)
    store.delete_documents([str(n) for n in order[:2]])
    assert ids(retrieve(store)) == [order[-1], *order[2:6]]
    [kept] = store.filter_documents(
        {"field": "content", "operator": "==", "value": text(order[2])}
    )
    assert kept.embedding == embed(text(order[2]))
    database.check_index(INDEX)


def test_index_is_found_and_made_anew(make: Make, database: Database) -> None:
    """It looks its index up by name in pg_indexes."""
    make().write_documents(documents())
    [(before,)] = database.rows("SELECT %s::regclass::oid", INDEX)
    again = make()
    assert again.count_documents() == ROWS
    [(same,)] = database.rows("SELECT %s::regclass::oid", INDEX)
    assert same == before
    another = make(hnsw_recreate_index_if_exists=True)
    assert ids(retrieve(another)) == nearest("<->", values("vector"), query("vector"))
    [(after,)] = database.rows("SELECT %s::regclass::oid", INDEX)
    assert after != before
    database.check_index(INDEX, opclass="vector_l2_ops")


def test_pipelines(make: Make, database: Database) -> None:
    store = make()
    indexing = Pipeline()
    indexing.add_component("writer", DocumentWriter(document_store=store))
    indexing.run({"writer": {"documents": documents()}})
    searching = Pipeline()
    searching.add_component(
        "by_vector", PgvectorEmbeddingRetriever(document_store=store, top_k=5)
    )
    searching.add_component(
        "by_word", PgvectorKeywordRetriever(document_store=store, top_k=5)
    )
    plans = database.plans()
    found = searching.run(
        {
            "by_vector": {"query_embedding": embed("query")},
            "by_word": {"query": "30"},
        }
    )
    expected = nearest("<->", values("vector"), query("vector"))
    assert ids(found["by_vector"]["documents"]) == expected
    assert ids(found["by_word"]["documents"]) == [30]
    assert plans.used(INDEX)


def test_async(make: Make, database: Database) -> None:
    store = make()

    async def whole() -> list[Document]:
        await store.write_documents_async(documents())
        retriever = PgvectorEmbeddingRetriever(document_store=store, top_k=5)
        found = await retriever.run_async(query_embedding=embed("query"))
        if store._async_connection is not None:
            await store._async_connection.close()
        return list(found["documents"])

    plans = database.plans()
    expected = nearest("<->", values("vector"), query("vector"))
    assert ids(asyncio.run(whole())) == expected
    assert plans.used(INDEX)
