"""The catalogue: one row per index, in the schema that also holds the tables.

It knows the catalogue's columns and how rows are found, made, changed and removed,
and nothing of files, buffers or searches.  Opening looks first and runs DDL only
for what is missing, since IF NOT EXISTS needs the privilege to create, also when
there is nothing to do.

``row_count`` and ``next_id`` are kept by every writer that may update the row.  A
role that may only insert takes ids from ``next_id`` on and leaves the row alone;
whoever takes the lease next counts those rows and moves ``next_id`` past them.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import hashlib
import re
import uuid as uuids
from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql

from . import _engine
from ._engine import Engine
from ._link import Link
from ._render import render
from .exceptions import ChassisError, IndexNotFoundError
from .options import IndexOptions, Metric

__all__: list[str] = []

DEFAULT_SCHEMA = "chassis_data"

# Advisory locks: the first key says what of, the second is a hash of which.
LOCK_DDL, LOCK_MARKER, LOCK_WRITE, LOCK_BUILD = range(0x63686100, 0x63686104)

# Vectors up to this size are stored in the row itself: out of line (TOAST), the
# server would spend most of its time on fetching them.
MAX_INLINE = 7_900


@dataclass(frozen=True)
class Spec:
    """One index: where its rows are and how they are compared."""

    uuid: str | None
    """None for an attached table, which has no row in the catalogue."""
    name: str
    marker: str | None
    schema: str
    table: str
    relation: int
    id_column: str
    vector_column: str
    metadata_column: str | None
    vector_oid: int
    dimensions: int
    metric: Metric
    max_connections: int
    ef_construction: int
    ef_search: int
    engine: Engine
    catalog_schema: str
    owner: bool
    row_security: bool
    may_update_catalog: bool
    read_only_server: bool
    id_default: bool = False

    @property
    def attached(self) -> bool:
        return self.uuid is None

    @property
    def qualified(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)

    @property
    def qualified_name(self) -> str:
        return render(self.qualified)

    @property
    def catalog(self) -> sql.Identifier:
        return sql.Identifier(self.catalog_schema, "indexes")

    def options(self) -> IndexOptions:
        """The stored parameters."""
        return IndexOptions(
            self.max_connections, self.ef_construction, self.ef_search, self.metric
        )


def lock_key(text: str) -> int:
    """A second key for an advisory lock: 31 bits of a hash."""
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:4], "big") >> 1


# --- statements ---------------------------------------------------------------

# These look into the catalogs themselves: to_regclass() and the like may answer from
# what the session remembers of before it waited for a lock.
_STATE = sql.SQL(
    "SELECT pg_catalog.pg_is_in_recovery(),"
    " EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s),"
    " EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
    "  ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = 'indexes')"
)
_ROW = sql.SQL(
    "SELECT i.uuid::text, i.name, i.marker, i.engine, i.dimensions, i.metric, i.m,"
    " i.ef_construction, i.ef_search, n.nspname, c.relname, c.oid::int8,"
    " a.atttypid::int8,"
    " pg_catalog.pg_has_role(c.relowner, 'USAGE'),"
    " pg_catalog.row_security_active(c.oid),"
    " pg_catalog.has_any_column_privilege({name}, 'UPDATE')"
    " FROM {catalog} i"
    " LEFT JOIN pg_catalog.pg_class c ON c.oid = i.relation"
    " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN pg_catalog.pg_attribute a"
    "  ON a.attrelid = c.oid AND a.attname = 'embedding' AND NOT a.attisdropped"
    " WHERE {condition}"
)
_BY_UUID = sql.SQL("i.uuid = %s::uuid")
_BY_NAME = sql.SQL("i.name = %s AND i.marker IS NULL")

CREATE_SCHEMA = sql.SQL("CREATE SCHEMA {schema}")
CREATE_CATALOG = sql.SQL(
    "CREATE TABLE {catalog} (\n"
    "    uuid uuid PRIMARY KEY,\n"
    "    name text NOT NULL,\n"
    "    marker text,\n"
    "    relation regclass NOT NULL,\n"
    "    engine text NOT NULL,\n"
    "    dimensions integer NOT NULL,\n"
    "    metric text NOT NULL,\n"
    "    m integer NOT NULL,\n"
    "    ef_construction integer NOT NULL,\n"
    "    ef_search integer NOT NULL,\n"
    "    next_id bigint NOT NULL DEFAULT 0,\n"
    "    row_count bigint NOT NULL DEFAULT 0,\n"
    "    epoch bigint NOT NULL DEFAULT 0,\n"
    "    spill bigint NOT NULL DEFAULT 0,\n"
    "    holder uuid,\n"
    "    holder_lock bigint,\n"
    "    holder_name text,\n"
    "    lease_until timestamptz NOT NULL DEFAULT '-infinity',\n"
    "    created_at timestamptz NOT NULL DEFAULT now(),\n"
    "    flushed_at timestamptz\n"
    ") WITH (fillfactor = 50)"
)
CREATE_NAME_INDEX = sql.SQL(
    "CREATE UNIQUE INDEX IF NOT EXISTS indexes_name ON {catalog} (name) WHERE marker IS NULL"
)
CREATE_TABLE = sql.SQL(
    "CREATE TABLE {table} (\n"
    "    id bigint PRIMARY KEY,\n"
    "    embedding {type}({dimensions}) NOT NULL,\n"
    "    metadata jsonb\n"
    ")"
)
STORE_INLINE = sql.SQL("ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE PLAIN")
INSERT_ROW = sql.SQL(
    "INSERT INTO {catalog} (uuid, name, marker, relation, engine, dimensions, metric,"
    " m, ef_construction, ef_search) VALUES ({uuid}, {name}, {marker},"
    " {relation}::regclass, {engine}, {dimensions}, {metric}, {m},"
    " {ef_construction}, {ef_search})"
)
_EXISTS = sql.SQL(
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
    " ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s)"
)
_MOVED = sql.SQL("UPDATE {catalog} SET marker = %s, name = %s WHERE uuid = %s::uuid")
_CHANGE = sql.SQL(
    "UPDATE {catalog} SET m = %s, ef_construction = %s, ef_search = %s"
    " WHERE uuid = %s::uuid"
)
_SAME_LABEL = sql.SQL(
    "SELECT uuid::text FROM {catalog} WHERE name = %s AND marker IS NOT NULL"
)
_DELETE = sql.SQL("DELETE FROM {catalog} WHERE uuid = %s::uuid")
_DROP = sql.SQL("DROP TABLE IF EXISTS {table}")
_LIST = sql.SQL(
    "SELECT i.uuid::text, i.name, i.marker, n.nspname, c.relname, i.engine,"
    " i.dimensions, i.metric, i.m, i.ef_construction, i.ef_search, i.row_count,"
    " i.created_at, i.flushed_at, i.holder_name"
    " FROM {catalog} i"
    " LEFT JOIN pg_catalog.pg_class c ON c.oid = i.relation"
    " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " ORDER BY i.name, i.created_at"
)
LOCK = sql.SQL("SELECT pg_catalog.pg_advisory_xact_lock(%s, %s)")


@dataclass(frozen=True)
class State:
    """What a database has, before anything is looked up or created."""

    read_only: bool
    has_schema: bool
    has_catalog: bool


def state(link: Link, schema: str) -> State:
    """What is there of the catalogue in ``schema``."""
    return State(*link.query(_STATE, (schema, schema))[0])


def find(
    link: Link, schema: str, *, uuid: str | None = None, name: str | None = None
) -> Spec | None:
    """The index with this uuid, or of this name on a given server.

    The catalogue must exist.  Raises IndexNotFoundError when the row is there and
    its table is not.
    """
    catalog = sql.Identifier(schema, "indexes")
    statement = _ROW.format(
        catalog=catalog,
        name=sql.Literal(render(catalog)),
        condition=_BY_NAME if uuid is None else _BY_UUID,
    )
    rows = link.query(statement, (name if uuid is None else uuid,))
    if not rows:
        return None
    row = rows[0]
    if row[10] is None or row[12] is None:
        raise IndexNotFoundError(
            f"The catalogue knows the index {row[1]!r}, but its table is gone: it was "
            f"dropped by other means. Remove the row {row[0]} from "
            f"{render(catalog)} to create the index anew"
        )
    engines = _engine.installed(link)
    if row[3] not in engines:
        raise ChassisError(
            f"The index {row[1]!r} needs the extension "
            f"{_engine.EXTENSIONS.get(row[3], row[3])}, which the database no longer "
            "has: create it again"
        )
    engine = engines[row[3]]
    return Spec(
        uuid=row[0],
        name=row[1],
        marker=row[2],
        schema=row[9],
        table=row[10],
        relation=row[11],
        id_column="id",
        vector_column="embedding",
        metadata_column="metadata",
        vector_oid=row[12],
        dimensions=row[4],
        metric=row[5],
        max_connections=row[6],
        ef_construction=row[7],
        ef_search=row[8],
        engine=_engine.check_version(engine),
        catalog_schema=schema,
        owner=row[13],
        row_security=row[14],
        may_update_catalog=row[15],
        read_only_server=False,
    )


@dataclass(frozen=True)
class New:
    """An index to be created."""

    name: str
    uuid: str
    marker: str | None
    dimensions: int
    options: IndexOptions
    engine: str
    table: str | None = None


def create(link: Link, schema: str, new: New) -> None:
    """The schema, catalogue, extension, table and row, as far as missing.

    Must run inside a transaction, which holds the lock that keeps two processes
    from creating the same.  Raises ChassisError when ``new.table`` is taken.
    """
    # One lock for the database: the extension is everybody's.
    link.query(LOCK, (LOCK_DDL, 0))
    now = state(link, schema)
    catalog = sql.Identifier(schema, "indexes")
    engine = _engine.choose(link, new.engine, create=True)
    new.options.validate(engine.name)
    if not now.has_schema:
        link.execute(CREATE_SCHEMA.format(schema=sql.Identifier(schema)))
    if not now.has_catalog:
        link.execute(CREATE_CATALOG.format(catalog=catalog))
        link.execute(CREATE_NAME_INDEX.format(catalog=catalog))
    if new.marker is None and find(link, schema, name=new.name) is not None:
        return  # another process was faster
    table = _free_table(link, schema, new)
    for statement in table_statements(schema, table, new, engine):
        link.execute(statement)


def table_statements(
    schema: str, table: str, new: New, engine: Engine
) -> list[sql.Composed]:
    """The statements that create the table of an index and its catalogue row."""
    qualified = sql.Identifier(schema, table)
    statements = [
        CREATE_TABLE.format(
            table=qualified,
            type=engine.type(),
            dimensions=sql.Literal(new.dimensions),
        )
    ]
    if 4 * new.dimensions + 8 <= MAX_INLINE:
        statements.append(STORE_INLINE.format(table=qualified))
    options = new.options
    statements.append(
        INSERT_ROW.format(
            catalog=sql.Identifier(schema, "indexes"),
            uuid=sql.Literal(new.uuid),
            name=sql.Literal(new.name),
            marker=sql.Literal(new.marker),
            relation=sql.Literal(render(qualified)),
            engine=sql.Literal(engine.name),
            dimensions=sql.Literal(new.dimensions),
            metric=sql.Literal(options.metric or "l2"),
            m=sql.Literal(options.max_connections),
            ef_construction=sql.Literal(options.ef_construction),
            ef_search=sql.Literal(options.ef_search),
        )
    )
    return statements


def _free_table(link: Link, schema: str, new: New) -> str:
    """The name given, or one made from the index's that is not in use."""
    if new.table is not None:
        if _table_exists(link, schema, new.table):
            raise ChassisError(
                f"The table {schema}.{new.table} exists and is no index of this "
                "catalogue: use VectorIndex.attach() for it, or name another"
            )
        return new.table
    first = slug(new.name)
    digest = hashlib.sha1(new.name.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    candidates = [first, f"{first[:56]}_{digest}", f"{first[:50]}_{new.uuid[-12:]}"]
    if first == "indexes":
        del candidates[0]
    for candidate in candidates:
        if not _table_exists(link, schema, candidate):
            return candidate
    return f"index_{new.uuid}"


def _table_exists(link: Link, schema: str, table: str) -> bool:
    return bool(link.query(_EXISTS, (schema, table))[0][0])


def slug(name: str) -> str:
    """A table name that says which index it belongs to."""
    stem = re.split(r"[/\\]", name)[-1]
    stem = stem.rsplit(".", 1)[0] if "." in stem.strip(".") else stem
    text = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:63]
    return f"index_{text}"[:63] if not text or text[0].isdigit() else text


def new_uuid() -> str:
    return str(uuids.uuid4())


def set_marker(link: Link, spec: Spec, marker: str, name: str) -> None:
    """The index's file was renamed or moved."""
    link.execute(_MOVED.format(catalog=spec.catalog), (marker, name, spec.uuid))


def change(link: Link, spec: Spec, options: IndexOptions) -> Spec:
    """Stores other parameters, for the next build."""
    values = (options.max_connections, options.ef_construction, options.ef_search)
    link.execute(_CHANGE.format(catalog=spec.catalog), (*values, spec.uuid))
    m, ef_construction, ef_search = values
    return replace(
        spec, max_connections=m, ef_construction=ef_construction, ef_search=ef_search
    )


def same_label(link: Link, schema: str, name: str) -> list[str]:
    """The uuids of embedded indexes of this name."""
    statement = _SAME_LABEL.format(catalog=sql.Identifier(schema, "indexes"))
    return [str(uuid) for (uuid,) in link.query(statement, (name,))]


def remove(link: Link, spec: Spec) -> None:
    """The table and the row; inside a transaction."""
    link.execute(_DROP.format(table=spec.qualified))
    link.execute(_DELETE.format(catalog=spec.catalog), (spec.uuid,))


LIST_COLUMNS = (
    "uuid",
    "name",
    "marker",
    "schema",
    "table",
    "engine",
    "dimensions",
    "metric",
    "max_connections",
    "ef_construction",
    "ef_search",
    "count",
    "created_at",
    "flushed_at",
    "writer",
)


def list_indexes(link: Link, schema: str = DEFAULT_SCHEMA) -> list[dict[str, Any]]:
    """Every row as a dictionary with the keys of LIST_COLUMNS; [] without any."""
    if not state(link, schema).has_catalog:
        return []
    statement = _LIST.format(catalog=sql.Identifier(schema, "indexes"))
    return [dict(zip(LIST_COLUMNS, row)) for row in link.query(statement)]
