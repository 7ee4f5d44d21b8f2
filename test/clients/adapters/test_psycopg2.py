"""pgvector-python with psycopg2.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import psycopg2
import psycopg2.errors
import pytest
from pgvector import HalfVector, SparseVector
from pgvector.psycopg2 import register_vector

from databases import Database
from samples import CASES, ROWS, Case, nearest
from values import bits, unwrap, wrap


@pytest.fixture
def cursor(database: Database) -> Iterator[Any]:
    with closing(psycopg2.connect(database.dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as made:
            made.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
            yield made


def parameter(case: Case, row: Any) -> Any:
    """psycopg2 has no class for bit strings: they go as text."""
    return bits(row) if case.type == "bit" else wrap(case.type, row)


def fill(cursor: Any, case: Case) -> None:
    cursor.execute(
        f"CREATE TABLE items (id bigserial PRIMARY KEY, embedding {case.column})"
    )
    for row in case.rows:
        cursor.execute(
            "INSERT INTO items (embedding) VALUES (%s)", (parameter(case, row),)
        )


def test_documentation(cursor: Any, database: Database) -> None:
    cursor.execute("CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector(3))")
    embedding = np.array([1, 2, 3])
    cursor.execute("INSERT INTO items (embedding) VALUES (%s)", (embedding,))
    cursor.execute("INSERT INTO items (embedding) VALUES ('[4,5,6]'), (NULL)")
    cursor.execute("CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)")
    cursor.execute(
        "CREATE INDEX ON items USING ivfflat (embedding vector_l2_ops)"
        " WITH (lists = 100)"
    )
    cursor.execute(
        "SELECT * FROM items ORDER BY embedding <-> %s LIMIT 5", (embedding,)
    )
    found = cursor.fetchall()
    assert found[0][0] == 1
    assert unwrap(found[0][1]) == [1, 2, 3]
    methods = database.indexes("items")
    assert sorted(methods.values()) == ["hnsw", "ivfflat"]
    for name, method in methods.items():
        database.check_index(name, method)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_search(cursor: Any, database: Database, case: Case) -> None:
    fill(cursor, case)
    cursor.execute(
        f"CREATE INDEX items_idx ON items USING hnsw (embedding {case.opclass})"
    )
    database.check_index("items_idx", opclass=case.opclass)
    operator = case.operator.replace("%", "%%")
    statement = f"SELECT id FROM items ORDER BY embedding {operator} %s LIMIT 5"
    at = (parameter(case, case.query),)
    plans = database.plans()
    cursor.execute(statement, at)
    assert [id_ for (id_,) in cursor.fetchall()] == case.nearest
    assert plans.used("items_idx")
    cursor.execute(f"EXPLAIN {statement}", at)
    lines = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Scan using items_idx" in lines


def test_values_come_back(cursor: Any) -> None:
    numbers = [1.5, 0.0, -2.0]
    cursor.execute(
        "SELECT %s::vector, %s::halfvec, %s::sparsevec, '101'::bit(3), NULL::vector",
        (np.array(numbers), HalfVector(numbers), SparseVector(numbers)),
    )
    vector, half, sparse, bit, null = cursor.fetchone()
    assert [unwrap(vector), unwrap(half), unwrap(sparse)] == [numbers] * 3
    assert (bit, null) == ("101", None)


def test_arrays(cursor: Any) -> None:
    cursor.execute("SELECT ARRAY['[1,2]'::vector, '[3,4]']")
    [array] = cursor.fetchone()
    assert [unwrap(value) for value in array] == [[1, 2], [3, 4]]


def test_filter_and_delete(cursor: Any, database: Database) -> None:
    case = CASES[0]
    fill(cursor, case)
    cursor.execute(
        "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
    )
    order = nearest("<->", case.rows, case.query, ROWS)

    def search(where: str) -> list[int]:
        cursor.execute(
            f"SELECT id FROM items WHERE {where} ORDER BY embedding <-> %s LIMIT 5",
            (case.query,),
        )
        return [id_ for (id_,) in cursor.fetchall()]

    plans = database.plans()
    assert search("id %% 2 = 0") == [i for i in order if i % 2 == 0][:5]
    assert plans.used("items_idx")
    cursor.execute("DELETE FROM items WHERE id = %s", (order[0],))
    assert search("true") == order[1:6]
    database.check_index("items_idx")


def test_errors_have_their_class(cursor: Any) -> None:
    cursor.execute("CREATE TABLE items (embedding vector(3))")
    with pytest.raises(psycopg2.errors.DataException, match="expected 3 dimensions"):
        cursor.execute("INSERT INTO items VALUES (%s)", (np.array([1, 2]),))
