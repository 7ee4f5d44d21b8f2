"""The extension's own part: what somebody does before clients come.

Clients say ``CREATE EXTENSION IF NOT EXISTS vector``, never CASCADE, and ``vector``
requires ``chassis``.  So somebody has to create chassis once in each database, or in
template1; this shows both ways and what happens without.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

from databases import Database, Server
from samples import Array


def test_version_is_one_that_clients_accept(database: Database) -> None:
    """They ask for 0.5 or later (hnsw), 0.7 (halfvec) or 0.8 (iterative scans)."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    [(version,)] = database.rows(
        "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    )
    assert [int(part) for part in version.split(".")[:2]] >= [0, 8]
    [(installed,)] = database.rows(
        "SELECT installed_version FROM pg_available_extensions WHERE name = 'vector'"
    )
    assert installed == version


@pytest.mark.ours
def test_without_chassis_the_error_says_what_to_do(server: Server) -> None:
    database = server.database(template="template0")
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.Error, match='"chassis" is not installed') as caught:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        assert "CASCADE" in (caught.value.diag.message_hint or "")


@pytest.mark.ours
def test_cascade_once_and_then_any_client(server: Server) -> None:
    database = server.database(template="template0")
    database.rows("CREATE EXTENSION vector CASCADE")
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        connection.execute("CREATE TABLE items (embedding vector(3))")
        connection.execute(
            "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
        )
    database.check_index("items_idx")


@pytest.mark.ours
def test_all_in_another_schema(server: Server) -> None:
    """As Supabase and others do it; clients then need it on the search_path."""
    database = server.database(template="template0")
    database.rows("CREATE SCHEMA extensions")
    database.rows("CREATE EXTENSION vector SCHEMA extensions CASCADE")
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.ProgrammingError, match="vector type not found"):
            register_vector(connection)
        connection.execute("SET search_path = public, extensions")
        register_vector(connection)
        connection.execute("CREATE TABLE items (embedding vector(3))")
        connection.execute(
            "CREATE INDEX items_idx ON items USING hnsw (embedding vector_ip_ops)"
        )
        connection.execute("INSERT INTO items VALUES (%s)", (np.array([1, 2, 3]),))


@pytest.mark.ours
def test_owner_of_the_database_may_create_it(server: Server) -> None:
    """Both extensions are trusted: a client need not be a superuser."""
    database = server.database(template="template0")
    database.rows("CREATE ROLE clients_owner LOGIN")
    database.rows(f"ALTER DATABASE {database.name} OWNER TO clients_owner")
    owner = database.dsn.replace("user=postgres", "user=clients_owner")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector CASCADE")
        register_vector(connection)
        connection.execute("CREATE TABLE items (embedding vector(3))")
        connection.execute(
            "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
        )
        connection.execute("INSERT INTO items VALUES (%s)", (np.array([1, 2, 3]),))
        connection.execute("SET hnsw.ef_search = 100")
        plans = database.plans()
        found = connection.execute(
            "SELECT embedding FROM items ORDER BY embedding <-> '[1,1,1]' LIMIT 1"
        ).fetchall()
        assert len(found) == 1
    # auto_explain's settings are the superuser's, and so on for this role, too
    assert plans.used("items_idx")
    database.check_index("items_idx")


def test_planner_takes_the_index_by_itself(database: Database) -> None:
    """Everywhere else reading the whole table is forbidden, as the tables are tiny."""
    rng = np.random.default_rng(5)
    data: Array = rng.standard_normal((3000, 64)).astype(np.float32)
    at = rng.standard_normal(64).astype(np.float32)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = on")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        connection.execute("CREATE TABLE items (id int, embedding vector(64))")
        with connection.cursor().copy(
            "COPY items FROM STDIN WITH (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["int4", "vector"])
            for id_, row in enumerate(data):
                copy.write_row([id_, row])
        connection.execute(
            "CREATE INDEX items_idx ON items USING hnsw (embedding vector_l2_ops)"
        )
        connection.execute("ANALYZE items")
        plans = database.plans()
        found = connection.execute(
            "SELECT id FROM items ORDER BY embedding <-> %s LIMIT 10", (at,)
        ).fetchall()
    assert plans.used("items_idx")
    exact = set(np.argsort(np.linalg.norm(data - at, axis=1))[:10].tolist())
    assert len(exact & {id_ for (id_,) in found}) >= 8
    database.check_index("items_idx")
