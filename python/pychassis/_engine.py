"""Which extension does the work: chassis, or pgvector where a server has no other.

Both have the same type, operators and operator class names; what differs between
their access methods is said here and nowhere else.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import psycopg
from psycopg import sql

from ._link import Link
from .exceptions import ChassisError, UpgradeRequiredError
from .options import Metric

__all__: list[str] = []

logger = logging.getLogger("pychassis.engine")

EXTENSIONS = {"chassis": "chassis", "pgvector": "vector"}
OPERATORS: dict[Metric, str] = {"l2": "<->", "cosine": "<=>", "ip": "<#>", "l1": "<+>"}

_OLDEST_PGVECTOR = (0, 8)

_INSTALL = (
    "install the package on the server (python -m chassis install-extension does it "
    "for a server on this machine), then run CREATE EXTENSION chassis"
)


@dataclass(frozen=True)
class Engine:
    """An extension in a database: its name, version, and schema."""

    name: str
    version: str
    schema: str

    @property
    def access_method(self) -> str:
        """What CREATE INDEX … USING names."""
        return "chassis" if self.name == "chassis" else "hnsw"

    @property
    def ef_setting(self) -> str:
        """The setting that replaces an index's ef_search."""
        return f"{self.access_method}.ef_search"

    @property
    def ef_in_index(self) -> bool:
        """Whether ef_search can be kept as an option of the index."""
        return self.name == "chassis"

    @property
    def session_settings(self) -> tuple[tuple[str, str], ...]:
        """What every search needs that is not the access method's default."""
        if self.name == "chassis":
            return ()
        return (("hnsw.iterative_scan", "relaxed_order"),)

    @property
    def max_ef_search(self) -> int:
        return 10_000 if self.name == "chassis" else 1_000

    @property
    def max_indexed_dimensions(self) -> int:
        """Above, there can be no index and every search is exact."""
        return 16_000 if self.name == "chassis" else 2_000

    def type(self) -> sql.Identifier:
        """The vector type, with its schema."""
        return sql.Identifier(self.schema, "vector")

    def operator(self, metric: Metric) -> sql.Composable:
        """The distance operator, with its schema."""
        return sql.SQL("OPERATOR({}.{})").format(
            sql.Identifier(self.schema), sql.SQL(OPERATORS[metric])
        )

    def operator_class(self, metric: Metric) -> sql.Identifier:
        return sql.Identifier(self.schema, f"vector_{metric}_ops")


_INSTALLED = sql.SQL(
    "SELECT e.extname, e.extversion, n.nspname"
    " FROM pg_catalog.pg_extension e"
    " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
    " WHERE e.extname IN ('chassis', 'vector')"
)
_AVAILABLE = sql.SQL(
    "SELECT name FROM pg_catalog.pg_available_extensions"
    " WHERE name IN ('chassis', 'vector')"
)
_CREATE = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}")
# Where CREATE EXTENSION would put it, if that is a place for it, or else in public.
_PLACE = sql.SQL(
    "SELECT n FROM (VALUES (1, pg_catalog.current_schema()::text), (2, 'public'))"
    " AS v(o, n) WHERE pg_catalog.to_regnamespace(pg_catalog.quote_ident(n)) IS NOT NULL"
    " AND n !~ '^pg_' AND pg_catalog.has_schema_privilege(n, 'CREATE')"
    " ORDER BY o LIMIT 1"
)
_CREATE_SCHEMA = sql.SQL("CREATE SCHEMA IF NOT EXISTS chassis")


def installed(link: Link) -> dict[str, Engine]:
    """The engines that the database has, by name."""
    names = {extension: name for name, extension in EXTENSIONS.items()}
    return {
        names[extension]: Engine(names[extension], version, schema)
        for extension, version, schema in link.query(_INSTALLED)
    }


def choose(link: Link, wanted: str, *, create: bool) -> Engine:
    """The engine for a new index; creates the extension when missing and allowed.

    ``wanted`` is "auto", "chassis" or "pgvector".  Must run inside a transaction
    that may be rolled back to a savepoint.
    """
    present = installed(link)
    order = ("chassis", "pgvector") if wanted == "auto" else (wanted,)
    refused: psycopg.Error | None = None
    for name in order:
        if name in present:
            return check_version(present[name])
        if create and EXTENSIONS[name] in _available(link):
            try:
                with link.connection.transaction():
                    _create(link, name, apart=bool(present))
            except psycopg.errors.InsufficientPrivilege as error:
                refused = error
                continue
            return check_version(installed(link)[name])
    missing = " or ".join(EXTENSIONS[name] for name in order)
    if refused is not None:
        raise ChassisError(
            f"The database has no extension {missing}, and this role may not create "
            f"it: ask for CREATE EXTENSION {EXTENSIONS[order[0]]}",
            sqlstate=refused.sqlstate,
        ) from refused
    remedy = _INSTALL
    if wanted == "pgvector":
        remedy = "install pgvector on the server, then run CREATE EXTENSION vector"
    raise ChassisError(
        f"The database has no extension {missing}"
        + (f" ({wanted})" if wanted == "pgvector" else "")
        + (", and its server does not offer it" if create else "")
        + f": {remedy}"
    )


def _available(link: Link) -> set[str]:
    return {str(name) for (name,) in link.query(_AVAILABLE)}


def _create(link: Link, name: str, *, apart: bool) -> None:
    """Beside pgvector, whose type has the same name, in a schema of its own."""
    places = [] if apart else link.query(_PLACE)
    schema = str(places[0][0]) if places else "chassis"
    if not places:
        link.execute(_CREATE_SCHEMA)
    extension = EXTENSIONS[name]
    link.execute(_CREATE.format(sql.Identifier(extension), sql.Identifier(schema)))
    logger.info("created extension %s in schema %s", extension, schema)


def check_version(engine: Engine) -> Engine:
    """``engine``, unless it is too old for what is asked of it."""
    if engine.name == "pgvector":
        version = tuple(map(int, re.findall(r"\d+", engine.version)[:2]))
        if version < _OLDEST_PGVECTOR:
            raise UpgradeRequiredError(
                f"The database has pgvector {engine.version}, and 0.8 is the oldest "
                "that filters and large k work with: run ALTER EXTENSION vector "
                "UPDATE, or install chassis"
            )
    return engine


def announce(engine: Engine) -> None:
    """Says once per process that the slower engine is in use."""
    if engine.name == "pgvector" and not _announced:
        _announced.append(engine.name)
        logger.warning(
            "the server has no extension chassis: using pgvector %s", engine.version
        )


_announced: list[str] = []
