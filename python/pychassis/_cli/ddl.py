"""``ddl``: the statements that make an index's table, for whoever may run them.

Opening an index on a server runs these itself where the role is allowed to; this
is for roles that are not, and for those who keep their schema in files.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import uuid
from typing import Any

from psycopg import sql

from .. import _catalog
from .._engine import EXTENSIONS, Engine
from .._render import render
from ..options import METRICS, IndexOptions, check_integer
from .common import OK, Output, Parsers, add_command, add_connection

_EXTENSION = sql.SQL("CREATE EXTENSION IF NOT EXISTS {}")
_SCHEMA = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}")
# Fills the blank for a table's name in CREATE TABLE {catalog}.
_IF_MISSING = sql.SQL("IF NOT EXISTS {}")
_GRANTS = (
    sql.SQL("GRANT USAGE ON SCHEMA {schema} TO {role}"),
    sql.SQL("GRANT SELECT, UPDATE ON {catalog} TO {role}"),
    sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}"),
)
_INDEX = sql.SQL(
    "CREATE INDEX CONCURRENTLY ON {table} USING {method} (embedding {operators})"
    " WITH ({parameters})"
)


def add_parsers(commands: Parsers) -> None:
    parser = add_command(
        commands,
        "ddl",
        "print the SQL that makes an index on an existing server",
        "Prints the statements that opening an index would run on a server, for an "
        "administrator to run, and the statement that builds the graph once there "
        "are vectors. Connects to no server.",
    )
    parser.add_argument("name", help="the name the index is opened by")
    parser.add_argument("dimensions", type=int)
    parser.add_argument("--table", help="name of the table (default: from the name)")
    parser.add_argument("--role", help="role that gets the privileges it needs")
    parser.add_argument("--engine", choices=list(EXTENSIONS), default="chassis")
    parser.add_argument(
        "--extension-schema", default="public", help="where the type vector is"
    )
    parser.add_argument("--metric", choices=METRICS, default="l2")
    parser.add_argument("--max-connections", type=int, default=16, metavar="N")
    parser.add_argument("--ef-construction", type=int, default=200, metavar="N")
    parser.add_argument("--ef-search", type=int, default=50, metavar="N")
    add_connection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    check_integer("dimensions", arguments.dimensions, 1, 16_000)
    options = IndexOptions(
        arguments.max_connections,
        arguments.ef_construction,
        arguments.ef_search,
        arguments.metric,
    )
    options.validate(arguments.engine)
    now, later = statements(arguments, options)
    texts = [render(statement) + ";" for statement in now]
    build = render(later) + ";"
    shown = [
        "-- Once, by a role that may create; safe to repeat up to the table.",
        *texts,
        "",
        "-- When there are vectors, and not inside a transaction:",
        build,
    ]
    output.answer({"statements": texts, "index": build}, "\n".join(shown))
    return OK


def statements(
    arguments: argparse.Namespace, options: IndexOptions
) -> tuple[list[sql.Composable], sql.Composable]:
    """What to run now, and what when there are vectors."""
    engine = Engine(arguments.engine, "", arguments.extension_schema)
    schema = arguments.schema or _catalog.DEFAULT_SCHEMA
    table = arguments.table or _catalog.slug(arguments.name)
    qualified = sql.Identifier(schema, table)
    catalog = sql.Identifier(schema, "indexes")
    new = _catalog.New(
        name=arguments.name,
        uuid=str(uuid.uuid4()),
        marker=None,
        dimensions=arguments.dimensions,
        options=options,
        engine=engine.name,
        table=table,
    )
    now: list[sql.Composable] = [
        _EXTENSION.format(sql.Identifier(EXTENSIONS[engine.name])),
        _SCHEMA.format(sql.Identifier(schema)),
        _catalog.CREATE_CATALOG.format(catalog=_IF_MISSING.format(catalog)),
        _catalog.CREATE_NAME_INDEX.format(catalog=catalog),
        *_catalog.table_statements(schema, table, new, engine),
    ]
    if arguments.role:
        blanks: dict[str, Any] = {
            "schema": sql.Identifier(schema),
            "catalog": catalog,
            "table": qualified,
            "role": sql.Identifier(arguments.role),
        }
        now += [grant.format(**blanks) for grant in _GRANTS]
    return now, _build_statement(qualified, engine, options)


def _build_statement(
    table: sql.Identifier, engine: Engine, options: IndexOptions
) -> sql.Composable:
    numbers = {
        "m": options.max_connections,
        "ef_construction": options.ef_construction,
    }
    if engine.ef_in_index:
        numbers["ef_search"] = options.ef_search
    parameters = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.SQL(name), sql.Literal(number))
        for name, number in numbers.items()
    )
    return _INDEX.format(
        table=table,
        method=sql.SQL(engine.access_method),
        operators=engine.operator_class(options.metric or "l2"),
        parameters=parameters,
    )
