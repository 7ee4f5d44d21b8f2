"""The statements on an index's table, and how their blanks are filled.

Everything sent to the server about rows stands here (the catalogue's own stand in
_catalog, the graph's in _build), as constants whose blanks take identifiers only;
values travel as parameters.  Two styles: ``%s`` for statements sent through a
cursor, ``$1`` for those sent prepared and in binary.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from ._render import render

if TYPE_CHECKING:
    from ._catalog import Spec

__all__: list[str] = []


def fill(template: sql.SQL, spec: Spec, **more: sql.Composable) -> sql.Composed:
    """``template`` for one index."""
    metadata = spec.metadata_column
    return template.format(
        table=spec.qualified,
        catalog=spec.catalog,
        id=sql.Identifier(spec.id_column),
        vector=sql.Identifier(spec.vector_column),
        metadata=sql.SQL("NULL") if metadata is None else sql.Identifier(metadata),
        type=spec.engine.type(),
        distance=spec.engine.operator(spec.metric),
        **more,
    )


def compiled(template: sql.SQL, spec: Spec, **more: sql.Composable) -> bytes:
    """As ``fill()``, as bytes for ``Link.run()``."""
    return render(fill(template, spec, **more)).encode()


# --- the writer's lease: src of truth is the catalogue's row -------------------

# Three conditions in one row make every write safe: holder (nobody else has taken
# the lease since), spill (no earlier write was lost in a crash), and the row's own
# lock (nobody takes it until this transaction ends).
_MINE = "uuid = %s::uuid AND holder = %s::uuid AND spill = %s"
_RENEWED = "lease_until = pg_catalog.clock_timestamp() + interval '10 seconds'"

SETTINGS = sql.SQL(
    "SELECT pg_catalog.set_config('lock_timeout', %s, true),"
    " CASE WHEN pg_catalog.current_setting('synchronous_commit') = 'off'"
    " THEN pg_catalog.set_config('synchronous_commit', 'on', true) END,"
    " pg_catalog.pg_try_advisory_xact_lock(%s, %s)"
)
TAKE_LEASE = sql.SQL(
    "UPDATE {catalog} AS i SET epoch = i.epoch + 1, holder = %s::uuid,"
    f" holder_lock = %s, holder_name = %s, {_RENEWED},"
    " row_count = i.row_count"
    "  + (SELECT count(*) FROM {table} t WHERE t.{id} >= i.next_id),"
    " next_id = GREATEST(i.next_id,"
    "  COALESCE((SELECT max(t.{id}) + 1 FROM {table} t), 0)) + %s"
    " WHERE i.uuid = %s::uuid AND (i.lease_until <= pg_catalog.clock_timestamp()"
    "  OR (i.holder_lock IS NOT NULL"
    "   AND pg_catalog.pg_try_advisory_xact_lock(i.holder_lock)))"
    " RETURNING i.next_id, i.spill, i.epoch"
)
LEASE_STATE = sql.SQL(
    "SELECT holder::text, spill, epoch, holder_name FROM {catalog}"
    " WHERE uuid = %s::uuid"
)
RESERVE = sql.SQL(
    f"UPDATE {{catalog}} SET next_id = GREATEST(next_id, %s), {_RENEWED}"
    f" WHERE {_MINE}"
)
RENEW = sql.SQL(f"UPDATE {{catalog}} SET {_RENEWED} WHERE uuid = %s::uuid")
BEGIN_WRITE = sql.SQL(
    f"UPDATE {{catalog}} SET spill = spill + 1, row_count = row_count + %s, {_RENEWED}"
    f" WHERE {_MINE}"
)
ADD_COUNT = sql.SQL(
    "UPDATE {catalog} SET row_count = row_count + %s WHERE uuid = %s::uuid"
)
RELEASE = sql.SQL(
    "UPDATE {catalog} SET next_id = %s, holder = NULL, holder_lock = NULL,"
    " holder_name = NULL, lease_until = '-infinity',"
    " flushed_at = pg_catalog.clock_timestamp()"
    f" WHERE {_MINE}"
    " RETURNING CASE WHEN pg_catalog.current_setting('synchronous_commit') = 'off'"
    " THEN pg_catalog.set_config('synchronous_commit', 'on', true) END"
)
LOCK_SESSION = sql.SQL("SELECT pg_catalog.pg_try_advisory_lock(%s)")
UNLOCK_SESSION = sql.SQL("SELECT pg_catalog.pg_advisory_unlock(%s)")
LATE_COMMIT = sql.SQL("SELECT pg_catalog.set_config('synchronous_commit', 'off', true)")
LEASE_FREE = sql.SQL(
    "SELECT i.next_id, i.lease_until <= pg_catalog.clock_timestamp()"
    " OR (i.holder_lock IS NOT NULL"
    "  AND pg_catalog.pg_try_advisory_xact_lock(i.holder_lock))"
    " FROM {catalog} i WHERE i.uuid = %s::uuid"
)
TRY_LOCK = sql.SQL("SELECT pg_catalog.pg_try_advisory_xact_lock(%s, %s)")
NEXT_FREE = sql.SQL("SELECT COALESCE(max({id}) + 1, 0)::int8 FROM {table}")

# --- rows -----------------------------------------------------------------------

COPY_IN = sql.SQL("COPY {table} ({columns}) FROM STDIN (FORMAT binary)")

# A few rows: lease, rows and commit in one message.
SMALL_WRITE = sql.SQL(
    "WITH lease AS (UPDATE {catalog} SET spill = spill + 1,"
    f" row_count = row_count + $1::int8, {_RENEWED}"
    " WHERE uuid = $2::uuid AND holder = $3::uuid AND spill = $4::int8"
    " RETURNING {late}),"
    " added AS (INSERT INTO {table} ({id}, {vector}, {metadata})"
    "  SELECT u.i, u.v, u.m::jsonb FROM lease"
    "  CROSS JOIN ROWS FROM (pg_catalog.unnest($5::int8[]),"
    "   pg_catalog.unnest($6::{type}[]), pg_catalog.unnest($7::text[])) AS u(i, v, m)"
    "  RETURNING 1)"
    " SELECT (SELECT count(*) FROM lease), (SELECT count(*) FROM added)"
)
LATE = sql.SQL("pg_catalog.set_config('synchronous_commit', 'off', true)")
NOT_LATE = sql.SQL("1")

INSERT = sql.SQL(
    "INSERT INTO {table} ({columns})"
    " SELECT {values} FROM ROWS FROM (pg_catalog.unnest(%s::int8[]),"
    " pg_catalog.unnest(%s::{type}[]), pg_catalog.unnest(%s::text[])) AS u(i, v, m)"
)
ON_CONFLICT = sql.SQL(" ON CONFLICT ({id}) DO UPDATE SET {vector} = EXCLUDED.{vector}")
AND_METADATA = sql.SQL(", {metadata} = EXCLUDED.{metadata}")
RETURNING_ID = sql.SQL(" RETURNING {id}::int8")

USED_IDS = sql.SQL("SELECT {id}::int8 FROM {table} WHERE {id} = ANY(%s) LIMIT 10")
COUNT_IDS = sql.SQL("SELECT count(*) FROM {table} WHERE {id} = ANY(%s)")
DELETE = sql.SQL("DELETE FROM {table} WHERE {id} = ANY(%s)")
DELETE_WHERE = sql.SQL("DELETE FROM {table} WHERE {condition}")
SET_METADATA = sql.SQL("UPDATE {table} SET {metadata} = %s::jsonb WHERE {id} = %s")

COUNT_KEPT = sql.SQL(
    "SELECT i.row_count + (SELECT count(*) FROM {table} t WHERE t.{id} >= i.next_id)"
    " FROM {catalog} i WHERE i.uuid = $1::uuid"
)
COUNT_ROWS = sql.SQL("SELECT count(*) FROM {table} WHERE {vector} IS NOT NULL")
GET = sql.SQL(
    "SELECT {id}::int8, {vector} FROM {table}"
    " WHERE {id} = ANY($1::int8[]) AND {vector} IS NOT NULL"
)
GET_METADATA = sql.SQL("SELECT {metadata}::text FROM {table} WHERE {id} = %s")
CONTAINS = sql.SQL("SELECT 1 FROM {table} WHERE {id} = %s AND {vector} IS NOT NULL")
COPY_OUT = sql.SQL(
    "COPY (SELECT {id}::int8, {vector}, {metadata}::text FROM {table}"
    " WHERE {vector} IS NOT NULL ORDER BY {id}) TO STDOUT (FORMAT binary)"
)
SNAPSHOT = sql.SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
NEXT_ID = sql.SQL("SELECT next_id FROM {catalog} WHERE uuid = %s::uuid")

# --- searches -------------------------------------------------------------------

# The number of rows is part of the statement: a plan for a LIMIT that the planner
# does not know would not use the index.
SEARCH = sql.SQL(
    "SELECT {id}::int8, ({vector} {distance} $1::{type})::float8 FROM {table}"
    " WHERE {condition} ORDER BY {vector} {distance} $1::{type} LIMIT {k}"
)
# The same with settings: OFFSET 0 keeps the first part apart, and the second part
# refers to it, so that the settings are made before the index is searched.
SEARCH_WITH = sql.SQL(
    "SELECT r.i, r.d, r.m FROM (SELECT %s::{type} AS q{settings} OFFSET 0) AS p"
    " CROSS JOIN LATERAL (SELECT {id}::int8 AS i,"
    "  ({vector} {distance} p.q)::float8 AS d, {wanted} AS m FROM {table}"
    "  WHERE {condition} ORDER BY {order} LIMIT {k}) AS r"
)
SEARCH_BATCH = sql.SQL(
    "SELECT pg_catalog.array_agg(r.n), pg_catalog.array_agg(r.i),"
    " pg_catalog.array_agg(r.d)"
    " FROM (SELECT %s::{type}[] AS q{settings} OFFSET 0) AS p"
    " CROSS JOIN LATERAL (SELECT u.n, s.i, s.d"
    "  FROM pg_catalog.unnest(p.q) WITH ORDINALITY AS u(q, n)"
    "  CROSS JOIN LATERAL (SELECT {id}::int8 AS i,"
    "   ({vector} {distance} u.q)::float8 AS d FROM {table}"
    "   WHERE {condition} ORDER BY {order} LIMIT {k}) AS s) AS r"
)
SETTING = sql.SQL(", pg_catalog.set_config({name}, {value}, true)")
BY_DISTANCE = sql.SQL("{vector} {distance} {query}")
# Adding nothing hides the order from the index.
BY_EXACT_DISTANCE = sql.SQL("({vector} {distance} {query}) + 0")
HAS_VECTOR = sql.SQL("{vector} IS NOT NULL")
EVERY_ROW = sql.SQL("TRUE")
