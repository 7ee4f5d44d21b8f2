"""pgvector-python with pg8000, the driver in pure Python.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from pg8000.exceptions import DatabaseError
from pg8000.native import Connection
from pgvector import HalfVector, SparseVector, Vector
from pgvector.pg8000 import register_vector

from databases import Database
from samples import CASES, ROWS, Case, nearest
from values import bits, unwrap, wrap


@pytest.fixture
def connection(database: Database) -> Iterator[Any]:
    made = Connection(database.user, database=database.name, unix_sock=database.socket)
    with closing(made):
        made.run("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(made)
        yield made


def parameter(case: Case, row: Any) -> Any:
    return bits(row) if case.type == "bit" else wrap(case.type, row)


def fill(connection: Any, case: Case) -> None:
    connection.run(
        f"CREATE TABLE items (id bigserial PRIMARY KEY, embedding {case.column})"
    )
    for row in case.rows:
        connection.run(
            "INSERT INTO items (embedding) VALUES (:embedding)",
            embedding=parameter(case, row),
        )


def test_documentation(connection: Any, database: Database) -> None:
    connection.run("CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector(3))")
    embedding = np.array([1, 2, 3])
    connection.run("INSERT INTO items (embedding) VALUES (:e)", e=embedding)
    connection.run("INSERT INTO items (embedding) VALUES ('[4,5,6]'), (NULL)")
    connection.run("CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)")
    connection.run(
        "CREATE INDEX ON items USING ivfflat (embedding vector_l2_ops)"
        " WITH (lists = 100)"
    )
    found = connection.run(
        "SELECT * FROM items ORDER BY embedding <-> :e LIMIT 5", e=embedding
    )
    assert found[0][0] == 1
    assert unwrap(found[0][1]) == [1, 2, 3]
    methods = database.indexes("items")
    assert sorted(methods.values()) == ["hnsw", "ivfflat"]
    for name, method in methods.items():
        database.check_index(name, method)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_search(connection: Any, database: Database, case: Case) -> None:
    fill(connection, case)
    connection.run(
        f"CREATE INDEX items_idx ON items USING hnsw (embedding {case.opclass})"
    )
    database.check_index("items_idx", opclass=case.opclass)
    statement = f"SELECT id FROM items ORDER BY embedding {case.operator} :q LIMIT 5"
    at = parameter(case, case.query)
    plans = database.plans()
    assert [id_ for [id_] in connection.run(statement, q=at)] == case.nearest
    assert plans.used("items_idx")


def test_values_come_back(connection: Any) -> None:
    numbers = [1.5, 0.0, -2.0]
    [[vector, also, half, sparse, bit, null]] = connection.run(
        "SELECT CAST(:v AS vector), CAST(:w AS vector), CAST(:h AS halfvec),"
        " CAST(:s AS sparsevec), CAST('101' AS bit(3)), CAST(NULL AS vector)",
        v=np.array(numbers),
        w=Vector(numbers),
        h=HalfVector(numbers),
        s=SparseVector(numbers),
    )
    assert [unwrap(value) for value in (vector, also, half, sparse)] == [numbers] * 4
    assert (bit, null) == ("101", None)


def test_filter_and_delete(connection: Any, database: Database) -> None:
    case = CASES[0]
    fill(connection, case)
    connection.run(
        "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
    )
    order = nearest("<->", case.rows, case.query, ROWS)

    def search(divisor: int) -> list[int]:
        found = connection.run(
            "SELECT id FROM items WHERE id % CAST(:divisor AS int) = 0"
            " ORDER BY embedding <-> :q LIMIT 5",
            divisor=divisor,
            q=case.query,
        )
        return [id_ for [id_] in found]

    plans = database.plans()
    assert search(2) == [i for i in order if i % 2 == 0][:5]
    assert plans.used("items_idx")
    connection.run("DELETE FROM items WHERE id = :id", id=order[0])
    assert search(1) == order[1:6]
    database.check_index("items_idx")


def test_errors_have_their_class(connection: Any) -> None:
    connection.run("CREATE TABLE items (embedding vector(3))")
    with pytest.raises(DatabaseError) as caught:
        connection.run("INSERT INTO items VALUES (:e)", e=np.array([1, 2]))
    fields = caught.value.args[0]
    assert (fields["C"], fields["M"]) == ("22000", "expected 3 dimensions, not 2")
