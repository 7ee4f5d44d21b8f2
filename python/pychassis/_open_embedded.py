"""Opening an index that is a file: the file, the cluster beside it, and its row.

The file at the path is a marker: it names a uuid, and the catalogue of the cluster
has a row with that uuid.  The file decides what is opened; the catalogue only
remembers where the file was last seen, which tells a copy from a move.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from psycopg import sql

from . import _catalog, _marker
from ._catalog import DEFAULT_SCHEMA, LOCK_MARKER, Spec, lock_key
from ._connect import EmbeddedSource, close_source, open_source, pauses
from ._link import Link
from ._open import Opened, Request, finish
from .exceptions import (
    IndexNotFoundError,
    InvalidPathError,
    ServerError,
    is_lost_connection,
)
from .options import IndexOptions

__all__: list[str] = []

logger = logging.getLogger("pychassis.open")

_LOCK = sql.SQL("SELECT pg_catalog.pg_advisory_lock(%s, %s)")
_UNLOCK = sql.SQL("SELECT pg_catalog.pg_advisory_unlock(%s, %s)")

# A server that somebody killed is started again; one that dies of what is asked of
# it here would die every time.
_ATTEMPTS = 10


def open_embedded(request: Request, path: Path) -> Opened:
    """Opens or creates the index at ``path``; once more if the server is lost."""
    attempt = 0
    for _ in pauses(request.timeout):
        attempt += 1
        try:
            return _open_once(request, path)
        except ServerError as error:
            cause = error.__cause__
            if cause is None or not is_lost_connection(cause) or attempt == _ATTEMPTS:
                raise
            logger.info("lost the server while opening %s, trying again", path)
    return _open_once(request, path)


def _open_once(request: Request, path: Path) -> Opened:
    place = _place(path)
    marker = _marker.inspect(place)
    if marker is None:
        if not request.create or request.dimensions is None:
            raise IndexNotFoundError(
                f"There is no index at {path}: create it with VectorIndex(path, "
                "dimensions), or check the path"
            )
        return _create(request, path, place)
    return _open_marked(request, path, place, marker)


def _place(path: Path) -> Path:
    """Where the file really is; its directory must exist."""
    try:
        place = Path(os.path.realpath(path))
        parent = place.parent
        exists = parent.is_dir()
        if not exists and parent.exists():
            raise InvalidPathError(
                f"Cannot use {path} as an index: {parent} is no directory"
            )
    except OSError as error:
        raise InvalidPathError(
            f"Cannot use {path} as an index: {error.strerror}"
        ) from error
    if not exists:
        raise InvalidPathError(
            f"The directory {parent} does not exist: create it first, an index only "
            "makes its own file"
        )
    if os.path.isdir(place):
        raise InvalidPathError(
            f"{path} is a directory: give the path of a file in it, for example "
            f"{place / 'index.chassis'}"
        )
    return place


def _source(directory: Path, request: Request, *, create: bool) -> EmbeddedSource:
    """The process's connections to the cluster of ``directory``."""
    from ._embedded import acquire

    cluster = acquire(directory, create=create, timeout=request.timeout)
    made = EmbeddedSource(cluster, preparing=request.prepare, timeout=request.timeout)
    source = open_source(made, request.max_readers)
    assert isinstance(source, EmbeddedSource)
    return source


# --- a new one ------------------------------------------------------------------


def _create(request: Request, path: Path, place: Path) -> Opened:
    source = _source(place.parent, request, create=True)
    try:
        with source.reading("create the index") as link, _marker_lock(link, place):
            if _marker.inspect(place) is None:
                spec = _create_alone(source, link, request, place)
                if spec is not None:
                    return finish(source, link, spec, request, path)
    except BaseException:
        close_source(source)
        raise
    # Another process was faster.
    close_source(source)
    marker = _marker.inspect(place)
    if marker is None:
        raise IndexNotFoundError(
            f"The index at {path} was removed while it was being opened: try again"
        )
    return _open_marked(request, path, place, marker)


def _create_alone(
    source: EmbeddedSource, link: Link, request: Request, place: Path
) -> Spec | None:
    """The row first, then the file: a crash in between leaves an unused row.

    None when the file appeared meanwhile.
    """
    assert request.dimensions is not None
    uuid = _catalog.new_uuid()
    older = []
    if _catalog.state(link, DEFAULT_SCHEMA).has_catalog:
        older = _catalog.same_label(link, DEFAULT_SCHEMA, _text(place.name))
    new = _catalog.New(
        name=_text(place.name),
        uuid=uuid,
        marker=_text(str(place)),
        dimensions=int(request.dimensions),
        options=request.options or IndexOptions(),
        engine="chassis" if request.engine == "auto" else request.engine,
    )
    with link.connection.transaction():
        _catalog.create(link, DEFAULT_SCHEMA, new)
    spec = _catalog.find(link, DEFAULT_SCHEMA, uuid=uuid)
    assert spec is not None
    try:
        _marker.create(place, _marker.Marker(uuid, new.name, str(source.cluster.path)))
    except FileExistsError:
        _remove_unused(link, spec)
        return None
    except BaseException:
        _remove_unused(link, spec)
        raise
    orphans = [each for each in older if _is_orphan(source, link, each)]
    if orphans:
        logger.warning(
            "%s: the database has %d older index(es) of this name without a file; list "
            "or restore them with: python -m chassis orphans %s",
            place,
            len(orphans),
            place.parent,
        )
    return spec


def _text(name: str) -> str:
    """A file name that the database can hold: bytes that are no UTF-8 replaced."""
    return os.fsencode(name).decode(errors="replace")


def _remove_unused(link: Link, spec: Spec) -> None:
    """A table that nobody has seen yet."""
    with link.connection.transaction():
        _catalog.remove(link, spec)


def _is_orphan(source: EmbeddedSource, link: Link, uuid: str) -> bool:
    """Whether an index of the same name has lost its file."""
    with contextlib.suppress(IndexNotFoundError):
        spec = _catalog.find(link, DEFAULT_SCHEMA, uuid=uuid)
        return spec is not None and not _still_there(spec.marker, uuid)
    return False


@contextlib.contextmanager
def _marker_lock(link: Link, place: Path) -> Iterator[None]:
    """One process at a time creates the index at ``place``."""
    keys = (LOCK_MARKER, lock_key(_text(str(place))))
    link.query(_LOCK, keys)
    try:
        yield
    finally:
        if not link.broken:
            link.query(_UNLOCK, keys)


# --- an existing one ------------------------------------------------------------


def _open_marked(
    request: Request, path: Path, place: Path, marker: _marker.Marker
) -> Opened:
    """Looks beside the file first, then where the file says."""
    recorded = Path(marker.cluster)
    directories = [place.parent]
    if recorded.parent != place.parent:
        directories.append(recorded.parent)
    for directory in directories:
        if not _has_cluster(directory):
            continue
        source = _source(directory, request, create=False)
        try:
            with source.reading("open the index") as link:
                spec = _find(link, marker)
                if spec is not None:
                    own = source.cluster.path.parent == place.parent
                    spec = _follow(link, spec, place, request, own=own)
                    return finish(source, link, spec, request, path)
        except BaseException:
            close_source(source)
            raise
        close_source(source)
    raise IndexNotFoundError(
        f"{path} belongs to the database in {recorded}, which is gone or does not know "
        "it. The file holds no vectors: move the whole directory, or use python -m "
        "chassis export and import"
    )


def _has_cluster(directory: Path) -> bool:
    if (directory / ".chassis").is_dir():
        return True
    home = os.environ.get("CHASSIS_HOME")
    return bool(home) and (Path(home or "") / ".chassis").is_dir()


def _find(link: Link, marker: _marker.Marker) -> Spec | None:
    if not _catalog.state(link, DEFAULT_SCHEMA).has_catalog:
        return None
    return _catalog.find(link, DEFAULT_SCHEMA, uuid=marker.uuid)


def _follow(
    link: Link, spec: Spec, place: Path, request: Request, *, own: bool
) -> Spec:
    """The row follows a file that was renamed or moved; a copy is refused.

    ``own``: the cluster is in the file's directory.  Then a file of the same uuid
    elsewhere belongs to the cluster that this one was copied from with everything.
    """
    seen = spec.marker
    text = _text(str(place))
    if seen is None or seen == text:
        return spec
    elsewhere = own and Path(seen).parent != place.parent
    if not elsewhere and _still_there(seen, spec.uuid) and not _same_file(seen, place):
        raise InvalidPathError(
            f"{place} is a copy of {seen}, and copying the file copies no vectors: "
            f"open {seen}, or make a copy with python -m chassis export and import"
        )
    if not request.read_only and not _same_file(seen, place):
        _catalog.set_marker(link, spec, text, _text(place.name))
    return spec


def _still_there(seen: str | None, uuid: str | None) -> bool:
    """Whether the file that the catalogue saw last still is that index's."""
    if seen is None:
        return False
    with contextlib.suppress(InvalidPathError, OSError):
        found = _marker.inspect(Path(seen))
        return found is not None and found.uuid == uuid
    return False


def _same_file(seen: str, place: Path) -> bool:
    """Two names of one file: hard links."""
    with contextlib.suppress(OSError):
        return os.path.samefile(seen, place)
    return False
