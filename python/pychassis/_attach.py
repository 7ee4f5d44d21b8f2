"""Opening a table that somebody else made: its columns are read, nothing is changed.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

from psycopg import sql

from . import _engine
from ._catalog import Spec
from ._connect import close_source
from ._engine import Engine
from ._link import Link
from ._open import Attach, Opened, Request, finish, source_of
from ._render import render
from .exceptions import ChassisError, IndexNotFoundError
from .options import IndexOptions, Metric

__all__: list[str] = []

_RELATION = sql.SQL(
    "SELECT c.oid::int8, n.nspname, c.relname,"
    " pg_catalog.pg_has_role(c.relowner, 'USAGE'),"
    " pg_catalog.row_security_active(c.oid),"
    " pg_catalog.pg_is_in_recovery()"
    " FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.oid = COALESCE(pg_catalog.to_regclass(%s::text),"
    " pg_catalog.to_regclass(%s::text))"
)
_COLUMN = sql.SQL(
    "SELECT t.typname, n.nspname, a.atttypid::int8, a.atttypmod,"
    " a.attidentity <> '' OR a.atthasdef"
    " FROM pg_catalog.pg_attribute a"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace"
    " WHERE a.attrelid = %s::oid AND a.attname = %s AND a.attnum > 0"
    " AND NOT a.attisdropped"
)
_OPERATOR_CLASS = sql.SQL(
    "SELECT o.opcname FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid"
    " JOIN pg_catalog.pg_am am ON am.oid = ic.relam"
    " JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]"
    " JOIN pg_catalog.pg_attribute a"
    "  ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    " WHERE i.indrelid = %s::oid AND a.attname = %s AND i.indisvalid"
    " AND am.amname IN ('chassis', 'hnsw', 'ivfflat')"
    " ORDER BY o.opcname = %s DESC, ic.relname"
)
_DIMENSIONS = sql.SQL("SELECT {function}({column}) FROM {table} LIMIT 1")

_INTEGERS = ("int2", "int4", "int8")
_JSON = ("jsonb",)


def attach(request: Request, path: Path) -> Opened:
    """The table as an index."""
    assert request.attach is not None
    source = source_of(request)
    try:
        with source.reading("attach the table") as link:
            spec = _describe(link, request, request.attach)
            return finish(source, link, spec, request, path)
    except BaseException:
        close_source(source)
        raise


def _describe(link: Link, request: Request, wanted: Attach) -> Spec:
    relation, schema, table, owner, row_security, standby = _relation(link, request)
    for name in (schema, table, wanted.column, wanted.id_column):
        if "%" in name:
            raise ValueError(f"names with percent signs cannot be used: {name!r}")
    type_name, type_schema, oid, modifier, _ = _column(link, relation, wanted.column)
    engine = _engine_of(link, type_name, type_schema, wanted.column)
    id_type, _, _, _, id_default = _column(link, relation, wanted.id_column)
    if id_type not in _INTEGERS:
        raise ChassisError(
            f"The column {wanted.id_column} of {table} is {id_type}, and ids are "
            "integers: name another with id_column="
        )
    if wanted.metadata_column is not None:
        found = _column(link, relation, wanted.metadata_column)[0]
        if found not in _JSON:
            raise ChassisError(
                f"The column {wanted.metadata_column} of {table} is {found}, and "
                "metadata are jsonb"
            )
    options = request.options or IndexOptions()
    return Spec(
        uuid=None,
        name=table,
        marker=None,
        schema=schema,
        table=table,
        relation=relation,
        id_column=wanted.id_column,
        vector_column=wanted.column,
        metadata_column=wanted.metadata_column,
        vector_oid=oid,
        dimensions=(
            modifier if modifier > 0 else _measure(link, engine, wanted, schema, table)
        ),
        metric=_metric(link, relation, wanted.column, options),
        max_connections=options.max_connections,
        ef_construction=options.ef_construction,
        # The index's own ef_search holds unless options were given.
        ef_search=options.ef_search if request.options is None else -1,
        engine=engine,
        catalog_schema="",
        owner=owner,
        row_security=row_security,
        may_update_catalog=False,
        read_only_server=standby,
        id_default=id_default,
    )


def _relation(link: Link, request: Request) -> tuple[Any, ...]:
    """The table, as SQL would find it, or by its literal name."""
    assert request.attach is not None
    name = request.attach.table
    quoted = sql.Identifier(*([request.schema] if request.schema else []), name)
    literal = render(quoted)
    plain = re.fullmatch(r"[\w$.\"]+", name) is not None and not request.schema
    rows = link.query(_RELATION, (name if plain else literal, literal))
    if not rows:
        raise IndexNotFoundError(
            f"There is no table {literal} that this connection can see: check schema= "
            "and the search_path"
        )
    return rows[0]


def _column(link: Link, relation: int, name: str) -> tuple[Any, ...]:
    rows = link.query(_COLUMN, (relation, name))
    if not rows:
        raise ChassisError(f"The table has no column {name!r}: name the right one")
    return rows[0]


def _engine_of(link: Link, type_name: str, schema: str, column: str) -> Engine:
    """The extension that the column's type belongs to."""
    if type_name == "vector":
        for engine in _engine.installed(link).values():
            if engine.schema == schema:
                return _engine.check_version(engine)
    raise ChassisError(
        f"The column {column} is {type_name}, not a vector of chassis or pgvector: "
        "name another with column="
    )


def _measure(
    link: Link, engine: Engine, wanted: Attach, schema: str, table: str
) -> int:
    """The dimensions of a column that does not say, from its first row."""
    statement = _DIMENSIONS.format(
        function=sql.Identifier(engine.schema, "vector_dims"),
        column=sql.Identifier(wanted.column),
        table=sql.Identifier(schema, table),
    )
    rows = link.query(statement)
    if not rows or rows[0][0] is None:
        raise ChassisError(
            f"The column {wanted.column} has no number of dimensions and no rows to "
            "tell: declare it as vector(n)"
        )
    return int(rows[0][0])


def _metric(link: Link, relation: int, column: str, options: IndexOptions) -> Metric:
    """That of the options, or else of the column's index."""
    if options.metric is not None:
        return options.metric
    for (name,) in link.query(_OPERATOR_CLASS, (relation, column, "vector_l2_ops")):
        found = re.fullmatch(r"vector_(\w+)_ops", name)
        for metric in get_args(Metric):
            if found and found[1] == metric:
                return metric  # type: ignore[no-any-return]
    return "l2"
