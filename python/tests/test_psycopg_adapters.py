"""register_vector: arrays go to the server and come back, in both formats.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import psycopg_pool
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from psycopg import sql

from pychassis.exceptions import ChassisError
from pychassis.psycopg import register_vector


@pytest.fixture(scope="module")
def connection(server: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server, autocommit=True) as connection:
        register_vector(connection)
        yield connection


def fetch(connection: psycopg.Connection, query: str, *values: Any, **how: Any) -> Any:
    row = connection.execute(sql.SQL(query), values, **how).fetchone()
    assert row is not None
    return row[0]


# Every float32 but NaN and infinity, which the type refuses.
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("parameter", ["%t", "%b", "%s"])
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(vector=hnp.arrays(np.float32, st.integers(1, 40), elements=FINITE))
def test_a_vector_comes_back_bit_for_bit(
    connection: psycopg.Connection,
    parameter: str,
    binary: bool,
    vector: npt.NDArray[np.float32],
) -> None:
    result = fetch(connection, f"SELECT {parameter}::vector", vector, binary=binary)
    assert result.dtype == np.float32
    assert result.tobytes() == vector.tobytes()


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("parameter", ["%t", "%b"])
def test_a_matrix_is_an_array_of_vectors(
    connection: psycopg.Connection, parameter: str, binary: bool
) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
    result = fetch(connection, f"SELECT {parameter}::vector[]", rows, binary=binary)
    assert [row.tolist() for row in result] == rows.tolist()


def test_the_type_is_known_without_a_cast(connection: psycopg.Connection) -> None:
    for parameter in ("%t", "%b"):
        kind = f"SELECT pg_typeof({parameter})::text"
        assert fetch(connection, kind, np.ones(3)) == "vector"
        assert fetch(connection, kind, np.ones((2, 3))) == "vector[]"
    assert fetch(connection, "SELECT %s <-> '[1,2]'", np.array([1, 5])) == 3.0


def test_other_number_types_and_layouts(connection: psycopg.Connection) -> None:
    wide = np.arange(20, dtype=np.int64)
    for vector in (wide, wide[::2], wide.astype(">f8"), wide.astype(np.uint8)):
        for parameter in ("%t", "%b"):
            result = fetch(connection, f"SELECT {parameter}::vector", vector)
            assert result.tolist() == vector.tolist()
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    result = fetch(connection, "SELECT %b::vector[]", columns)
    assert [row.tolist() for row in result] == columns.tolist()


def test_null_and_lists_of_arrays(connection: psycopg.Connection) -> None:
    assert fetch(connection, "SELECT %s::vector", None) is None
    result = fetch(connection, "SELECT %s::vector[]", [np.ones(2), None])
    assert result[0].tolist() == [1, 1]
    assert result[1] is None


def test_copy_in_both_formats(connection: psycopg.Connection) -> None:
    rows = np.random.default_rng(3).standard_normal((50, 4)).astype(np.float32)
    connection.execute("CREATE TEMP TABLE t (id bigint, v vector(4))")
    for start, options in ((0, ""), (50, " (FORMAT binary)")):
        with connection.cursor().copy(f"COPY t FROM STDIN{options}") as copy:
            copy.set_types(["int8", "vector"])
            for number, row in enumerate(rows):
                copy.write_row((start + number, row))
    stored = connection.execute("SELECT v FROM t ORDER BY id").fetchall()
    connection.execute("DROP TABLE t")
    assert np.array_equal([row[0] for row in stored], [*rows, *rows])


def test_unnest_searches_for_a_matrix(connection: psycopg.Connection) -> None:
    query = (
        "SELECT array_agg(q <-> '[0,0]' ORDER BY place)"
        " FROM unnest(%b) WITH ORDINALITY AS t(q, place)"
    )
    queries = np.array([[3, 4], [6, 8]])
    assert fetch(connection, query, queries) == [5.0, 10.0]


@pytest.mark.parametrize(
    "wrong",
    [np.array(1.0), np.ones((1, 2, 3)), np.array(["a"]), np.array([True])],
    ids=["scalar", "cube", "text", "bool"],
)
@pytest.mark.parametrize("parameter", ["%t", "%b"])
def test_what_is_no_vector_is_refused(
    connection: psycopg.Connection, parameter: str, wrong: npt.NDArray[Any]
) -> None:
    with pytest.raises(psycopg.DataError, match="vector"):
        fetch(connection, f"SELECT {parameter}", wrong)


def test_only_the_given_connection_changes(server: str) -> None:
    with psycopg.connect(server) as other:
        assert fetch(other, "SELECT '[1,2]'::vector") == "[1,2]"
        with pytest.raises(psycopg.ProgrammingError):
            fetch(other, "SELECT %s", np.ones(3))


def test_the_transaction_stays_as_it_is(server: str) -> None:
    idle = psycopg.pq.TransactionStatus.IDLE
    with psycopg.connect(server) as connection:
        register_vector(connection)
        assert connection.info.transaction_status == idle
        connection.execute("CREATE TEMP TABLE mine ()")
        register_vector(connection)
        connection.rollback()
        assert fetch(connection, "SELECT to_regclass('mine')") is None


def test_asynchronous_connections(server: str) -> None:
    async def run() -> Any:
        async with await psycopg.AsyncConnection.connect(server) as connection:
            await register_vector(connection)
            cursor = await connection.execute("SELECT %b::vector", [np.ones(3)])
            row = await cursor.fetchone()
            return row and row[0]

    assert asyncio.run(run()).tolist() == [1, 1, 1]


def test_pools(server: str) -> None:
    with psycopg_pool.ConnectionPool(
        server, min_size=1, max_size=2, configure=register_vector, open=True
    ) as pool:
        with pool.connection() as connection:
            assert fetch(connection, "SELECT %s", np.ones(3)).tolist() == [1, 1, 1]

    async def run() -> Any:
        async with psycopg_pool.AsyncConnectionPool(
            server, min_size=1, max_size=2, configure=register_vector, open=False
        ) as pool:
            async with pool.connection() as connection:
                cursor = await connection.execute("SELECT %s", [np.ones(2)])
                row = await cursor.fetchone()
                return row and row[0]

    assert asyncio.run(run()).tolist() == [1, 1]


def test_a_schema_that_is_not_on_the_search_path(
    private_server: Any, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(ChassisError, match="CREATE EXTENSION chassis"):
            register_vector(connection)
        connection.execute('CREATE SCHEMA "odd ""name"')
        connection.execute('CREATE EXTENSION chassis SCHEMA "odd ""name"')
        with pytest.raises(ChassisError, match="schema="):
            register_vector(connection)
        register_vector(connection, schema='odd "name')
        assert fetch(connection, "SELECT %s", np.ones(2)).tolist() == [1, 1]
        assert fetch(connection, "SELECT %s", np.ones((1, 2)))[0].tolist() == [1, 1]
