"""From what a user passes to an open index: which server, which row, which table.

It decides between embedded and given servers and applies the options; the case of
files is in _open_embedded, that of foreign tables in _attach.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from psycopg import sql

from . import _catalog, _engine
from ._catalog import DEFAULT_SCHEMA, Spec
from ._connect import Source, close_source, make_source, open_source
from ._link import Link
from .exceptions import (
    ChassisError,
    DimensionMismatchError,
    IndexNotFoundError,
    InvalidPathError,
)
from .options import MAX_DIMENSIONS, IndexOptions, PathLike, check_integer

__all__: list[str] = []

logger = logging.getLogger("pychassis.open")

_WRITABLE = sql.SQL("SELECT NOT pg_catalog.pg_is_in_recovery()")


@dataclass(frozen=True)
class Attach:
    """A table of somebody else's."""

    table: str
    column: str
    id_column: str
    metadata_column: str | None


@dataclass(frozen=True)
class Request:
    """The constructor's arguments; ``dimensions`` None means those stored."""

    path: PathLike
    dimensions: int | None
    options: IndexOptions | None = None
    connection: Any = None
    schema: str | None = None
    table: str | None = None
    create: bool = True
    read_only: bool = False
    timeout: float = 60.0
    engine: str = "auto"
    max_readers: int | None = None
    prepare: bool = True
    attach: Attach | None = None

    def for_pickle(self) -> Request:
        """What another process needs to open the same index."""
        if self.connection is not None and not isinstance(self.connection, str):
            raise TypeError(
                "cannot pickle an index on a "
                f"{type(self.connection).__name__}: open it with a connection string"
            )
        path = os.fspath(self.path)
        if self.connection is None and not database_url():
            path = os.path.abspath(path)
        return replace(self, path=path, create=False)


@dataclass(frozen=True)
class Opened:
    """An index that was found or created; the caller is a user of ``source``."""

    source: Source
    spec: Spec
    path: Path
    options: IndexOptions
    read_only: bool


def database_url() -> str | None:
    """The server to use when none is given; empty counts as unset."""
    return os.environ.get("CHASSIS_DATABASE_URL") or None


def open_index(request: Request) -> Opened:
    """Opens or creates what ``request`` names."""
    path = _check(request)
    if request.attach is not None:
        from . import _attach

        return _attach.attach(request, path)
    if request.connection is None and database_url() is None:
        from . import _open_embedded

        for name in ("schema", "table"):
            if getattr(request, name) is not None:
                raise ValueError(f"{name}= is for existing servers: pass connection=")
        return _open_embedded.open_embedded(request, path)
    return _open_on_server(request, path)


def _check(request: Request) -> Path:
    """Refuses what makes no sense on any server; the path as given."""
    text = os.fspath(request.path)
    if not isinstance(text, str):
        raise TypeError(f"path must be str or Path, not {type(text).__name__}")
    if "\0" in text:
        raise InvalidPathError(f"The path {text!r} contains a NUL byte")
    if not text:
        raise InvalidPathError("The path is empty: name a file")
    if request.dimensions is not None or request.create:
        check_integer("dimensions", request.dimensions, 1, MAX_DIMENSIONS)
    if request.options is not None:
        if not isinstance(request.options, IndexOptions):
            kind = type(request.options).__name__
            raise TypeError(f"options must be IndexOptions, not {kind}")
        request.options.validate()
    if request.max_readers is not None:
        check_integer("max_readers", request.max_readers, 1, 10_000)
    if request.engine not in ("auto", *_engine.EXTENSIONS):
        raise ValueError(
            f"engine must be auto, chassis or pgvector, not {request.engine!r}"
        )
    if not request.timeout >= 0:
        raise ValueError(f"timeout must be 0 or more seconds, not {request.timeout!r}")
    for name in ("schema", "table"):
        value = getattr(request, name)
        # psycopg would take it for the mark of a parameter.
        if value is not None and (not value or "%" in value or "\0" in value):
            raise ValueError(f"{name} must be a name without percent signs")
    return Path(text)


# --- on a given server ----------------------------------------------------------


def source_of(request: Request) -> Source:
    """The process's connections to the server that ``request`` means."""
    connection = request.connection
    if connection is None:
        connection = database_url()
    made = make_source(connection, prepare=request.prepare, timeout=request.timeout)
    return open_source(made, request.max_readers)


def _open_on_server(request: Request, path: Path) -> Opened:
    source = source_of(request)
    try:
        schema = request.schema or os.environ.get("CHASSIS_SCHEMA") or DEFAULT_SCHEMA
        with source.reading("open the index") as link:
            spec = _find_or_create(source, link, schema, request)
            standby = not link.query(_WRITABLE)[0][0]
            spec = replace(spec, read_only_server=standby)
            return finish(source, link, spec, request, path)
    except BaseException:
        close_source(source)
        raise


def _find_or_create(source: Source, link: Link, schema: str, request: Request) -> Spec:
    name = os.fspath(request.path)
    state = _catalog.state(link, schema)
    spec = _catalog.find(link, schema, name=name) if state.has_catalog else None
    if spec is not None:
        return spec
    missing = f"There is no index {name!r} in the schema {schema} of the database"
    if not request.create:
        raise IndexNotFoundError(
            f"{missing}: create it with VectorIndex(..., create=True), or check the "
            "name, schema= and connection="
        )
    if state.read_only:
        raise IndexNotFoundError(
            f"{missing}, and the server is a standby, where none can be created: "
            "create it on the primary"
        )
    new = _catalog.New(
        name=name,
        uuid=_catalog.new_uuid(),
        marker=None,
        dimensions=int(request.dimensions or 0),
        options=request.options or IndexOptions(),
        engine=request.engine,
        table=request.table,
    )
    with source.transaction(link):
        _catalog.create(link, schema, new)
    spec = _catalog.find(link, schema, name=name)
    assert spec is not None
    return spec


# --- what is common -------------------------------------------------------------


def finish(
    source: Source, link: Link, spec: Spec, request: Request, path: Path
) -> Opened:
    """Checks the dimensions and applies the options of an index that exists."""
    if request.dimensions is not None and int(request.dimensions) != spec.dimensions:
        raise DimensionMismatchError(
            f"The index {os.fspath(request.path)!r} has {spec.dimensions} dimensions, "
            f"not {request.dimensions}: open it with those, or create another"
        )
    if request.engine not in ("auto", spec.engine.name):
        raise ChassisError(
            f"The index {spec.name!r} was created with engine={spec.engine.name!r}: "
            "leave engine= out, or export and import it"
        )
    read_only = request.read_only or spec.read_only_server
    _engine.announce(spec.engine)
    spec, options = _apply(link, spec, request.options, read_only=read_only)
    return Opened(source, spec, path, options, read_only)


def _apply(
    link: Link, spec: Spec, options: IndexOptions | None, *, read_only: bool
) -> tuple[Spec, IndexOptions]:
    """The options in force; those of the next build are stored."""
    if options is None:
        return spec, spec.options()
    options.validate(spec.engine.name)
    if options.metric not in (None, spec.metric):
        raise ChassisError(
            f"The index {spec.name!r} compares by {spec.metric}, not by "
            f"{options.metric}: leave metric out, or export and import it"
        )
    stored = spec.options()
    merged = replace(options, metric=spec.metric)
    build = (merged.max_connections, merged.ef_construction)
    if build != (stored.max_connections, stored.ef_construction):
        if not read_only and spec.may_update_catalog and not spec.attached:
            logger.info(
                "%r: max_connections %d and ef_construction %d are stored and take "
                "effect with the next rebuild()",
                spec.name,
                *build,
            )
            keep = replace(merged, ef_search=spec.ef_search)
            spec = _catalog.change(link, spec, keep)
    return spec, merged


def drop(source: Source, spec: Spec) -> None:
    """Deletes the table and the catalogue's row."""
    if spec.attached:
        raise ChassisError(
            f"The table {spec.qualified_name} was attached and is never dropped from "
            "here: use SQL"
        )

    with source.reading("drop the index") as link, source.transaction(link):
        _catalog.remove(link, spec)


def remove_marker(path: Path, spec: Spec) -> None:
    """Removes the file of a dropped index, if it still is that index's."""
    if spec.marker is None:
        return
    from . import _marker

    with contextlib.suppress(OSError, InvalidPathError):
        found = _marker.inspect(path)
        if found is not None and found.uuid == spec.uuid:
            path.unlink()
