"""``doctor``: looks for what is wrong, or will be, and says what to do about it.

Changes nothing.  A directory's server is looked at as it is; ``--start`` also
starts it, to look inside.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psycopg
from psycopg import sql

from .. import _embedded, _engine
from .._embedded.filesystem import check_filesystem
from .._embedded.status import describe_programs
from .._link import Link
from .._render import quote_name
from ..exceptions import ChassisError, scrub
from .common import (
    FINDINGS,
    OK,
    Database,
    Output,
    Parsers,
    add_command,
    add_connection,
    directory_of,
    open_database,
)
from .orphans import find_orphans

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what was seen."""

    check: str
    level: Level
    message: str


def add_parsers(commands: Parsers) -> None:
    parser = add_command(
        commands,
        "doctor",
        "check the installation, a directory or a server",
        "Checks the programs and libraries here, and a directory or server if one is "
        "given: its files, its server, its catalogue, its indexes. Changes nothing. "
        "Exit code 4 means that a problem was found.",
    )
    parser.add_argument("place", nargs="?", help="an index or a directory")
    parser.add_argument(
        "--start",
        action="store_true",
        help="start the directory's server if it does not run, to look inside",
    )
    parser.add_argument(
        "--deep", action="store_true", help="check every node of every graph"
    )
    add_connection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    findings = list(_examine(arguments))
    lines = [f"{f.level:8} {f.check}: {f.message}" for f in findings]
    bad = [finding for finding in findings if finding.level == "problem"]
    lines.append(f"{len(bad)} problems" if bad else "no problems")
    values = {"ok": not bad, "findings": [asdict(f) for f in findings]}
    output.answer(values, "\n".join(lines))
    return FINDINGS if bad else OK


def _examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield from _look_at_python()
    yield from _look_at_environment()
    if arguments.connection:
        yield from _look_inside(arguments)
        return
    directory = directory_of(arguments.place or ".")
    yield from _look_at_programs(directory)
    try:
        yield from _look_at_directory(directory)
        status = _embedded.status(directory)
    except (ChassisError, OSError) as error:
        yield Finding("cluster", "problem", str(error))
        return
    if status is not None and (status.running or arguments.start):
        yield from _look_inside(arguments)


# --------------------------------------------------------------------- from outside


def _look_at_python() -> Iterator[Finding]:
    from .. import __version__

    yield Finding(
        "versions",
        "ok",
        f"pgchassis {__version__}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, psycopg {psycopg.__version__}, "
        f"libpq {psycopg.pq.version()}",
    )
    if psycopg.pq.__impl__ == "python":
        yield Finding(
            "psycopg",
            "warning",
            "the pure Python implementation is in use, which is slower: pip install "
            "'psycopg[binary]'",
        )


def _look_at_environment() -> Iterator[Finding]:
    names = sorted(name for name in os.environ if name.startswith("CHASSIS_"))
    if names:
        said = ", ".join(f"{name}={scrub(os.environ[name])}" for name in names)
        yield Finding("environment", "ok", said)
    for name in ("CHASSIS_PG_BIN", "CHASSIS_LIB_PATH", "CHASSIS_HOME"):
        value = os.environ.get(name)
        if value and not Path(value).expanduser().is_dir():
            yield Finding("environment", "problem", f"{name} names no directory")


def _look_at_programs(directory: Path) -> Iterator[Finding]:
    plan = describe_programs(directory)
    if isinstance(plan, ChassisError):
        yield Finding("server programs", "problem", str(plan))
        return
    yield Finding(
        "server programs",
        "ok",
        f"PostgreSQL {plan.programs.version} in {plan.programs.bindir}, "
        f"run as {plan.identity.name}",
    )
    yield Finding(
        "extension",
        "ok" if plan.extension.has_watcher else "warning",
        f"version {plan.extension.version} in {plan.extension.library}"
        + (
            ""
            if plan.extension.has_watcher
            else "; without chassis_embedded, a server whose users are killed "
            "stays until it is stopped"
        ),
    )


def _look_at_directory(directory: Path) -> Iterator[Finding]:
    try:
        check_filesystem(directory.absolute())
    except ChassisError as error:
        yield Finding("file system", "problem", str(error))
    free = os.statvfs(directory)
    megabytes = free.f_bavail * free.f_frsize >> 20
    level: Level = "ok" if megabytes >= 200 else "warning"
    yield Finding("disk", level, f"{megabytes} MB free in {directory}")
    status = _embedded.status(directory)
    if status is None:
        yield Finding("cluster", "ok", f"there is none in {directory} yet")
        return
    state = "runs" if status.running else "does not run"
    use = "in use" if status.in_use else "not in use"
    yield Finding(
        "cluster",
        "ok",
        f"{status.path}, PostgreSQL {status.major}; the server {state}, {use}",
    )
    if not status.running:
        tail = _last_failure(status.log)
        if tail:
            yield Finding("log", "warning", f"{status.log} ends with: {tail}")


def _last_failure(log: Path) -> str:
    """The last line of the log if it is one of a server that broke down."""
    with contextlib.suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = stream.read().decode(errors="replace").splitlines()
        if lines and ("FATAL" in lines[-1] or "PANIC" in lines[-1]):
            return lines[-1]
    return ""


# ----------------------------------------------------------------------- from inside

_ABOUT = sql.SQL(
    "SELECT pg_catalog.current_setting('server_version'),"
    " pg_catalog.current_setting('server_encoding'),"
    " pg_catalog.pg_is_in_recovery()"
)
_DEFAULT_VERSION = sql.SQL(
    "SELECT default_version FROM pg_catalog.pg_available_extensions"
    " WHERE name = 'chassis'"
)
_GRAPHS = sql.SQL(
    "SELECT i.indexrelid::pg_catalog.int8, i.indexrelid::regclass::text, i.indisvalid,"
    " m.amname FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_catalog.pg_am m ON m.oid = c.relam"
    " WHERE m.amname IN ('chassis', 'hnsw')"
    " AND i.indrelid = pg_catalog.to_regclass({table})"
)
_VIOLATIONS = sql.SQL("SELECT * FROM {}.chassis_index_check({}::regclass)")


def _look_inside(arguments: argparse.Namespace) -> Iterator[Finding]:
    try:
        with open_database(arguments, arguments.place) as database:
            yield from _look_at_database(database, deep=arguments.deep)
    except (ChassisError, psycopg.Error) as error:
        yield Finding("server", "problem", scrub(str(error)))


def _look_at_database(database: Database, *, deep: bool) -> Iterator[Finding]:
    with database.source.reading("look at the server") as link:
        version, encoding, standby = link.query(_ABOUT)[0]
        kind = "a standby" if standby else "writable"
        yield Finding("server", "ok", f"PostgreSQL {version}, {encoding}, {kind}")
        engines = _engine.installed(link)
        yield from _look_at_extension(link, engines)
        for row in database.indexes():
            yield from _look_at_index(link, row, engines, deep=deep)
    if database.cluster is not None:
        for row in find_orphans(database):
            yield Finding(
                f"index {row['name']}",
                "warning",
                f"its file is gone ({row['marker']}): chassis orphans "
                f"{database.cluster.directory} restores or drops it",
            )


def _look_at_extension(
    link: Link, engines: dict[str, _engine.Engine]
) -> Iterator[Finding]:
    if not engines:
        yield Finding(
            "extension",
            "problem",
            "the database has neither chassis nor vector: CREATE EXTENSION chassis",
        )
    for engine in engines.values():
        name = _engine.EXTENSIONS[engine.name]
        yield Finding("extension", "ok", f"{name} {engine.version} in {engine.schema}")
    offered = link.query(_DEFAULT_VERSION)
    if "chassis" in engines and offered:
        installed = engines["chassis"].version
        if offered[0][0] != installed:
            yield Finding(
                "extension",
                "warning",
                f"the server's files are of version {offered[0][0]}, the database has "
                f"{installed}: ALTER EXTENSION chassis UPDATE",
            )


def _look_at_index(
    link: Link,
    row: dict[str, Any],
    engines: dict[str, _engine.Engine],
    *,
    deep: bool,
) -> Iterator[Finding]:
    name = f"index {row['name']}"
    if row["table"] is None:
        yield Finding(name, "problem", "its table was dropped by other means")
        return
    table = quote_name(row["schema"], row["table"])
    graphs = link.query(_GRAPHS.format(table=sql.Literal(table)))
    size = f"{row['count']} vectors of {row['dimensions']} dimensions"
    if not graphs:
        many = row["count"] > 20_000
        hint = ": every search reads all vectors; rebuild() builds one" if many else ""
        yield Finding(name, "warning" if many else "ok", f"{size}, no graph{hint}")
    for oid, graph, valid, method in graphs:
        if not valid:
            yield Finding(
                name, "problem", f"{graph} was not built to the end: DROP INDEX {graph}"
            )
            continue
        yield Finding(name, "ok", f"{size}, graph {graph}")
        if deep and method == "chassis" and "chassis" in engines:
            schema = sql.Identifier(engines["chassis"].schema)
            statement = _VIOLATIONS.format(schema, sql.Literal(oid))
            violations = link.query(statement)
            if violations:
                yield Finding(
                    name,
                    "problem",
                    f"{graph} violates {len(violations)} invariants, the first: "
                    f"{' '.join(map(str, violations[0]))}. REINDEX INDEX {graph}",
                )
