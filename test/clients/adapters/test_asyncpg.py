"""pgvector-python with asyncpg, which speaks the binary format only.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import numpy as np
import pytest
from pgvector import HalfVector, SparseVector, Vector
from pgvector.asyncpg import register_vector

from databases import Database
from samples import CASES, ROWS, Case, nearest, values
from values import bits, unwrap, wrap

Result = TypeVar("Result")


async def connect(database: Database) -> Any:
    connection = await asyncpg.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        database=database.name,
    )
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    await register_vector(connection)
    return connection


def run(database: Database, body: Callable[[Any], Awaitable[Result]]) -> Result:
    """What the coroutine gives that is handed a connection."""

    async def whole() -> Result:
        connection = await connect(database)
        try:
            return await body(connection)
        finally:
            await connection.close()

    return asyncio.run(whole())


def parameter(case: Case, row: Any) -> Any:
    if case.type == "bit":
        return asyncpg.BitString(bits(row))
    return wrap(case.type, row)


async def fill(connection: Any, case: Case) -> None:
    await connection.execute(
        f"CREATE TABLE items (id bigserial PRIMARY KEY, embedding {case.column})"
    )
    await connection.executemany(
        "INSERT INTO items (embedding) VALUES ($1)",
        [(parameter(case, row),) for row in case.rows],
    )


def test_documentation(database: Database) -> None:
    async def body(connection: Any) -> list[Any]:
        await connection.execute(
            "CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector(3))"
        )
        embedding = np.array([1, 2, 3])
        await connection.execute("INSERT INTO items (embedding) VALUES ($1)", embedding)
        await connection.execute(
            "INSERT INTO items (embedding) VALUES ('[4,5,6]'), (NULL)"
        )
        await connection.execute(
            "CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)"
        )
        await connection.execute(
            "CREATE INDEX ON items USING ivfflat (embedding vector_l2_ops)"
            " WITH (lists = 100)"
        )
        return list(
            await connection.fetch(
                "SELECT * FROM items ORDER BY embedding <-> $1 LIMIT 5", embedding
            )
        )

    found = run(database, body)
    assert found[0]["id"] == 1
    assert unwrap(found[0]["embedding"]) == [1, 2, 3]
    methods = database.indexes("items")
    assert sorted(methods.values()) == ["hnsw", "ivfflat"]
    for name, method in methods.items():
        database.check_index(name, method)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_search(database: Database, case: Case) -> None:
    async def body(connection: Any) -> list[int]:
        await fill(connection, case)
        await connection.execute(
            f"CREATE INDEX items_idx ON items USING hnsw (embedding {case.opclass})"
        )
        found = await connection.fetch(
            f"SELECT id FROM items ORDER BY embedding {case.operator} $1 LIMIT 5",
            parameter(case, case.query),
        )
        return [row["id"] for row in found]

    plans = database.plans()
    assert run(database, body) == case.nearest
    assert plans.used("items_idx")
    database.check_index("items_idx", opclass=case.opclass)


def test_values_come_back(database: Database) -> None:
    numbers = [1.5, 0.0, -2.0]

    async def body(connection: Any) -> Any:
        return await connection.fetchrow(
            "SELECT $1::vector, $2::halfvec, $3::sparsevec, $4::bit(3),"
            " NULL::vector, $1::vector::text",
            *(np.array(numbers), HalfVector(numbers), SparseVector(numbers)),
            asyncpg.BitString("101"),
        )

    vector, half, sparse, bit, null, text = run(database, body)
    assert [unwrap(vector), unwrap(half), unwrap(sparse)] == [numbers] * 3
    assert (bit.as_string(), null, text) == ("101", None, "[1.5,0,-2]")


def test_arrays(database: Database) -> None:
    given = [Vector([1.5, 2.0]), Vector([3.0, 4.0])]

    async def body(connection: Any) -> Any:
        return await connection.fetchval("SELECT $1::vector[]", given)

    assert [unwrap(value) for value in run(database, body)] == [[1.5, 2], [3, 4]]


def test_copy(database: Database) -> None:
    case = CASES[0]

    async def body(connection: Any) -> list[int]:
        await connection.execute("CREATE TABLE items (id int, embedding vector(8))")
        await connection.execute(
            "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
        )
        await connection.copy_records_to_table(
            "items",
            columns=["id", "embedding"],
            records=[(i + 1, row) for i, row in enumerate(values("vector"))],
        )
        found = await connection.fetch(
            "SELECT id FROM items ORDER BY embedding <-> $1 LIMIT 5", case.query
        )
        return [row["id"] for row in found]

    plans = database.plans()
    assert run(database, body) == case.nearest
    assert plans.used("items_idx")


def test_filter_and_delete(database: Database) -> None:
    case = CASES[0]
    order = nearest("<->", case.rows, case.query, ROWS)

    async def body(connection: Any) -> tuple[list[int], list[int]]:
        async def search(divisor: int) -> list[int]:
            found = await connection.fetch(
                "SELECT id FROM items WHERE id % $2 = 0"
                " ORDER BY embedding <-> $1 LIMIT 5",
                *(case.query, divisor),
            )
            return [row["id"] for row in found]

        await fill(connection, case)
        await connection.execute(
            "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
        )
        filtered = await search(2)
        await connection.execute("DELETE FROM items WHERE id = $1", order[0])
        return filtered, await search(1)

    plans = database.plans()
    filtered, rest = run(database, body)
    assert plans.used("items_idx")
    assert filtered == [i for i in order if i % 2 == 0][:5]
    assert rest == order[1:6]
    database.check_index("items_idx")


def test_pool(database: Database) -> None:
    async def body(connection: Any) -> Any:
        async with asyncpg.create_pool(
            host=database.host,
            port=database.port,
            user=database.user,
            database=database.name,
            init=register_vector,
            min_size=1,
        ) as pool:
            return await pool.fetchval("SELECT '[1,2,3]'::vector")

    assert unwrap(run(database, body)) == [1, 2, 3]


def test_errors_have_their_class(database: Database) -> None:
    async def body(connection: Any) -> None:
        await connection.execute("CREATE TABLE items (embedding vector(3))")
        with pytest.raises(asyncpg.DataError, match="expected 3 dimensions"):
            await connection.execute("INSERT INTO items VALUES ($1)", np.array([1, 2]))

    run(database, body)
