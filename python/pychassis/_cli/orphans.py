"""``orphans``: indexes in a directory's database that no file leads to any more.

Removing an index's file removes no vectors, and nothing drops them on its own:
they are listed, given a file again, or dropped here.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import _catalog, _marker
from .._link import Link
from ..exceptions import ChassisError, IndexNotFoundError, InvalidPathError
from .common import OK, Database, Output, Parsers, add_command, open_database, table

# Markers are a few hundred bytes; larger files need not be opened.
_LARGEST_MARKER = 65536


def add_parsers(commands: Parsers) -> None:
    parser = add_command(
        commands,
        "orphans",
        "list, restore or drop indexes whose file is gone",
        "Lists the indexes in a directory's database whose file is gone from the "
        "directory and all below it. An index whose file was moved elsewhere is "
        "listed too: look before you drop.",
    )
    parser.add_argument("place", help="the directory, or an index in it")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--drop",
        nargs="*",
        metavar="UUID",
        help="delete these orphans with all their vectors; all if none is named",
    )
    action.add_argument(
        "--restore",
        nargs=2,
        metavar=("UUID", "NAME"),
        help="make a file NAME in the directory that leads to this index again",
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    # A given server has no files that could be missing.
    parser.set_defaults(run=run, connection=None, schema=None)


def run(arguments: argparse.Namespace, output: Output) -> int:
    with open_database(arguments, arguments.place) as database:
        assert database.cluster is not None
        found = find_orphans(database)
        if arguments.restore:
            uuid, name = arguments.restore
            return _restore(database, _pick(found, uuid), name, output)
        if arguments.drop is not None:
            return _drop(database, found, arguments.drop, output)
    output.answer(
        found,
        (
            table(
                [
                    (o["uuid"], o["name"], o["count"], o["created_at"], o["marker"])
                    for o in found
                ],
                ("UUID", "NAME", "VECTORS", "CREATED", "LAST PLACE"),
            )
            if found
            else "there are no orphans"
        ),
    )
    return OK


def find_orphans(database: Database) -> list[dict[str, Any]]:
    """The catalogue's rows that no marker leads to."""
    assert database.cluster is not None
    rows = [row for row in database.indexes() if row["marker"] is not None]
    places = {Path(row["marker"]).parent for row in rows}
    known = set(_uuids_below(database.cluster.directory))
    for place in places:
        known.update(_uuids_in(place))
    return [row for row in rows if row["uuid"] not in known]


def _uuids_below(directory: Path) -> Iterator[str]:
    """The uuids in all markers of a directory tree."""
    for place, folders, _ in os.walk(directory):
        folders[:] = [name for name in folders if name != ".chassis"]
        yield from _uuids_in(Path(place))


def _uuids_in(directory: Path) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        try:
            small = entry.is_file() and entry.stat().st_size <= _LARGEST_MARKER
            marker = _marker.inspect(Path(entry.path)) if small else None
        except (InvalidPathError, OSError):
            continue
        if marker is not None:
            yield marker.uuid


def _pick(found: list[dict[str, Any]], uuid: str) -> dict[str, Any]:
    """The orphan whose uuid begins so."""
    chosen = [row for row in found if uuid and row["uuid"].startswith(uuid.lower())]
    if len(chosen) != 1:
        number = "no orphan has" if not chosen else "several orphans have"
        raise IndexNotFoundError(f"{number} the uuid {uuid}")
    return chosen[0]


def _restore(database: Database, row: dict[str, Any], name: str, output: Output) -> int:
    assert database.cluster is not None
    path = database.cluster.directory / name
    marker = _marker.Marker(row["uuid"], path.name, str(database.cluster.path))
    try:
        _marker.create(path, marker)
    except FileExistsError:
        raise ChassisError(f"{path} exists: choose another name") from None
    with database.source.reading("restore the index") as link:
        spec = _catalog.find(link, database.schema, uuid=row["uuid"])
        if spec is not None:
            _catalog.set_marker(link, spec, str(path), path.name)
    text = f"{path} leads to {row['count']} vectors again"
    output.answer({"uuid": row["uuid"], "path": str(path)}, text)
    return OK


def _drop(
    database: Database,
    found: list[dict[str, Any]],
    uuids: list[str],
    output: Output,
) -> int:
    chosen = [_pick(found, uuid) for uuid in uuids] if uuids else found
    with database.source.reading("drop the orphans") as link:
        for row in chosen:
            _drop_one(link, database.schema, row["uuid"])
    lines = [f"dropped {row['name']} ({row['uuid']})" for row in chosen]
    output.answer(
        {"dropped": [row["uuid"] for row in chosen]},
        "\n".join(lines) or "there are no orphans",
    )
    return OK


def _drop_one(link: Link, schema: str, uuid: str) -> None:
    """Remove table and row together."""
    with link.connection.transaction():
        spec = _catalog.find(link, schema, uuid=uuid)
        if spec is not None:
            _catalog.remove(link, spec)
