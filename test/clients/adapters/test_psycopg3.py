"""pgvector-python with psycopg 3: text and binary, COPY, pools, async.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from pgvector import Bit, HalfVector, SparseVector, Vector
from pgvector.psycopg import register_vector, register_vector_async
from psycopg_pool import ConnectionPool

from databases import Database
from samples import CASES, DIMENSIONS, ROWS, Case, nearest, query, values
from values import bits, unwrap, wrap

Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with psycopg.connect(database.dsn, autocommit=True) as made:
        made.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(made)
        yield made


def fill(connection: Connection, case: Case) -> None:
    connection.execute(
        "CREATE TABLE items"
        f" (id bigserial PRIMARY KEY, embedding {case.column})".encode()
    )
    for row in case.rows:
        connection.execute(
            "INSERT INTO items (embedding) VALUES (%s)", (wrap(case.type, row),)
        )


def test_documentation(connection: Connection, database: Database) -> None:
    connection.execute(
        "CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector(3))"
    )
    embedding = np.array([1, 2, 3])
    connection.execute("INSERT INTO items (embedding) VALUES (%s)", (embedding,))
    connection.execute("INSERT INTO items (embedding) VALUES ('[4,5,6]'), (NULL)")
    connection.execute("CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)")
    connection.execute(
        "CREATE INDEX ON items USING ivfflat (embedding vector_l2_ops)"
        " WITH (lists = 100)"
    )
    found = connection.execute(
        "SELECT * FROM items ORDER BY embedding <-> %s LIMIT 5", (embedding,)
    ).fetchall()
    assert [row[0] for row in found][:1] == [1]
    assert unwrap(found[0][1]) == [1, 2, 3]
    methods = database.indexes("items")
    assert sorted(methods.values()) == ["hnsw", "ivfflat"]
    for name, method in methods.items():
        database.check_index(name, method)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_search(connection: Connection, database: Database, case: Case) -> None:
    fill(connection, case)
    connection.execute(
        f"CREATE INDEX items_idx ON items USING hnsw (embedding {case.opclass})"
        " WITH (m = 16, ef_construction = 64)".encode()
    )
    database.check_index("items_idx", opclass=case.opclass)
    operator = case.operator.replace("%", "%%")
    statement = f"SELECT id FROM items ORDER BY embedding {operator} %s LIMIT 5"
    at = (wrap(case.type, case.query),)
    plans = database.plans()
    found = connection.execute(statement.encode(), at).fetchall()
    assert [id_ for (id_,) in found] == case.nearest
    assert plans.used("items_idx")
    # and as the client's user would look
    lines = connection.execute(f"EXPLAIN {statement}".encode(), at).fetchall()
    assert "Index Scan using items_idx" in "\n".join(line for (line,) in lines)


@pytest.mark.parametrize("format_", ["t", "b"])
def test_values_come_back(connection: Connection, format_: str) -> None:
    """Parameters and results in text (%t) and binary (%b) format."""
    numbers = [1.5, 0.0, -2.0]
    for value, type_ in [
        (np.array(numbers), "vector"),
        (Vector(numbers), "vector"),
        (HalfVector(numbers), "halfvec"),
        (SparseVector(numbers), "sparsevec"),
    ]:
        statement = f"SELECT %{format_}::{type_}, %{format_}::{type_}::text"
        cursor = connection.execute(
            statement.encode(), (value, value), binary=format_ == "b"
        )
        row = cursor.fetchone()
        assert row is not None
        assert unwrap(row[0]) == numbers
        assert row[1] == ("{1:1.5,3:-2}/3" if type_ == "sparsevec" else "[1.5,0,-2]")
    row = connection.execute(
        f"SELECT %{format_}::bit(9)::text".encode(), (Bit("010100001"),)
    ).fetchone()
    assert row == ("010100001",)


def test_arrays_and_null(connection: Connection) -> None:
    connection.execute("CREATE TABLE items (id int, embeddings vector[])")
    given = [np.array([1.5, 2]), np.array([3.0, 4, 5])]
    connection.execute("INSERT INTO items VALUES (1, %s), (2, NULL)", (given,))
    rows = connection.execute("SELECT embeddings FROM items ORDER BY id").fetchall()
    assert [unwrap(value) for value in rows[0][0]] == [[1.5, 2], [3, 4, 5]]
    assert rows[1] == (None,)


def test_binary_copy_in_and_out(connection: Connection, database: Database) -> None:
    """The documentation's bulk loading, with a column of every type."""
    connection.execute(
        "CREATE TABLE items (id int, a vector(8), b halfvec(8), c bit(64),"
        " d sparsevec(24))"
    )
    types = ["vector", "halfvec", "bit", "sparsevec"]
    with connection.cursor().copy("COPY items FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["int4", *types])
        for i in range(ROWS):
            copy.write_row([i + 1, *(wrap(t, values(t)[i]) for t in types)])
    connection.execute("CREATE INDEX items_a ON items USING hnsw (a vector_l2_ops)")
    plans = database.plans()
    found = connection.execute(
        "SELECT id FROM items ORDER BY a <-> %s LIMIT 5", (query("vector"),)
    ).fetchall()
    assert [i for (i,) in found] == nearest("<->", values("vector"), query("vector"))
    assert plans.used("items_a")
    with connection.cursor().copy(
        "COPY (SELECT a, b, c::text, d FROM items ORDER BY id)"
        " TO STDOUT WITH (FORMAT BINARY)"
    ) as copy:
        copy.set_types(["vector", "halfvec", "text", "sparsevec"])
        rows = list(copy.rows())
    assert len(rows) == ROWS
    for i, (a, b, c, d) in enumerate(rows):
        assert unwrap(a) == values("vector")[i].tolist()
        assert unwrap(b) == values("halfvec")[i].tolist()
        assert c == bits(values("bit")[i])
        assert unwrap(d) == values("sparsevec")[i].tolist()


def test_filter_update_and_delete(connection: Connection, database: Database) -> None:
    case = CASES[0]
    fill(connection, case)
    connection.execute(
        "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
    )
    at = case.query
    order = nearest("<->", case.rows, at, ROWS)
    even = [i for i in order if i % 2 == 0]

    def search(where: str = "true") -> list[int]:
        rows = connection.execute(
            f"SELECT id FROM items WHERE {where}"
            " ORDER BY embedding <-> %s LIMIT 5".encode(),
            (at,),
        ).fetchall()
        return [id_ for (id_,) in rows]

    plans = database.plans()
    assert search("id %% 2 = 0") == even[:5]
    assert plans.used("items_idx")
    connection.execute("DELETE FROM items WHERE id = ANY (%s)", (order[:2],))
    assert search() == order[2:7]
    connection.execute("UPDATE items SET embedding = %s WHERE id = %s", (at, order[-1]))
    assert search() == [order[-1], *order[2:6]]
    connection.execute("VACUUM items")
    assert search() == [order[-1], *order[2:6]]
    database.check_index("items_idx")


def test_settings(connection: Connection, database: Database) -> None:
    """What pgvector's documentation tells users to set around a search."""
    case = CASES[0]
    fill(connection, case)
    connection.execute(
        "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
    )
    with connection.transaction():
        for setting in (
            "hnsw.ef_search = 100",
            "hnsw.iterative_scan = strict_order",
            "hnsw.max_scan_tuples = 20000",
            "hnsw.scan_mem_multiplier = 2",
        ):
            connection.execute(f"SET LOCAL {setting}".encode())
        rows = connection.execute(
            "SELECT id FROM items ORDER BY embedding <-> %s", (case.query,)
        ).fetchall()
        assert [i for (i,) in rows] == nearest("<->", case.rows, case.query, ROWS)
    assert connection.execute("SHOW hnsw.ef_search").fetchone() == ("40",)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="ef_search"):
        connection.execute("SET hnsw.ef_search = 0")


def test_errors_have_their_class(connection: Connection) -> None:
    connection.execute("CREATE TABLE items (embedding vector(3))")
    with pytest.raises(psycopg.errors.DataException, match="expected 3 dimensions"):
        connection.execute("INSERT INTO items VALUES (%s)", (np.array([1, 2]),))
    with pytest.raises(psycopg.errors.DataException, match="different vector dim"):
        connection.execute("SELECT '[1,2]'::vector <-> '[1]'")


def test_averages(connection: Connection) -> None:
    row = connection.execute(
        "SELECT avg(v), sum(v) FROM (VALUES ('[1,2]'::vector), ('[3,6]')) t (v)"
    ).fetchone()
    assert row is not None
    assert [unwrap(value) for value in row] == [[2, 4], [4, 8]]


def test_pool(connection: Connection, database: Database) -> None:
    with (
        ConnectionPool(
            database.dsn, configure=register_vector, min_size=1, open=True
        ) as pool,
        pool.connection() as pooled,
    ):
        row = pooled.execute("SELECT '[1,2,3]'::vector").fetchone()
        assert row is not None
        assert unwrap(row[0]) == [1, 2, 3]


def test_async(connection: Connection, database: Database) -> None:
    fill(connection, CASES[0])
    connection.execute(
        "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
    )

    async def search() -> list[int]:
        made = await psycopg.AsyncConnection.connect(database.dsn, autocommit=True)
        async with made:
            await register_vector_async(made)
            cursor = await made.execute(
                "SELECT id FROM items ORDER BY embedding <-> %s LIMIT 5",
                (CASES[0].query,),
            )
            return [id_ for (id_,) in await cursor.fetchall()]

    plans = database.plans()
    assert asyncio.run(search()) == CASES[0].nearest
    assert plans.used("items_idx")


def test_expressions_and_reranking(connection: Connection, database: Database) -> None:
    """Indexes on halfvec and on bits of a vector column, reranked by the vectors."""
    case = CASES[0]
    fill(connection, case)
    connection.execute(
        "CREATE INDEX items_half ON items"
        " USING hnsw ((embedding::halfvec(8)) halfvec_l2_ops)"
    )
    connection.execute(
        "CREATE INDEX items_bits ON items"
        " USING hnsw ((binary_quantize(embedding)::bit(8)) bit_hamming_ops)"
    )
    plans = database.plans()
    found = connection.execute(
        "SELECT id FROM items"
        f" ORDER BY embedding::halfvec({DIMENSIONS}) <-> %s LIMIT 5".encode(),
        (HalfVector(case.query),),
    ).fetchall()
    assert [i for (i,) in found] == case.nearest
    assert plans.used("items_half")
    found = connection.execute(
        "SELECT id FROM (SELECT * FROM items ORDER BY"
        " binary_quantize(embedding)::bit(8) <~> binary_quantize(%s::vector(8))"
        " LIMIT 36) nearest ORDER BY embedding <-> %s LIMIT 5",
        (case.query, case.query),
    ).fetchall()
    assert [i for (i,) in found] == case.nearest
    assert plans.used("items_bits")
