"""``info``: one index, or all that a directory or a server has.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from .. import _embedded
from ..index import VectorIndex
from .common import (
    OK,
    Output,
    Parsers,
    add_command,
    add_connection,
    directory_of,
    index_keywords,
    open_database,
    pairs,
    size,
    table,
)


def add_parsers(commands: Parsers) -> None:
    parser = add_command(
        commands,
        "info",
        "show an index, or all indexes of a directory or server",
    )
    parser.add_argument(
        "place",
        nargs="?",
        help="an index, or a directory; with --connection the name of an index",
    )
    parser.add_argument(
        "--exact", action="store_true", help="count the vectors one by one"
    )
    add_connection(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, output: Output) -> int:
    place = arguments.place
    whole = place is None or (not arguments.connection and Path(place).is_dir())
    if whole:
        return _show_all(arguments, output)
    keywords = index_keywords(arguments)
    with VectorIndex.open(place, read_only=True, **keywords) as index:
        stats = index.stats(exact=arguments.exact)
        dsn = index.dsn
    values = {**dataclasses.asdict(stats), "dsn": dsn}
    shown = {
        **_flatten(
            {k: v for k, v in values.items() if k not in ("options", "details")}
        ),
        **_flatten(values["options"]),
        **_flatten(values["details"]),
        "table_size": size(stats.table_size),
        "index_size": size(stats.index_size),
    }
    output.answer(values, pairs(shown))
    return OK


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    """A mapping inside gives one line for each of its values."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{k}": v for k, v in _flatten(value).items()})
        else:
            flat[name] = value
    return flat


def _show_all(arguments: argparse.Namespace, output: Output) -> int:
    with open_database(arguments, arguments.place) as database:
        indexes = database.indexes()
        cluster: dict[str, Any] | None = None
        if database.cluster is not None:
            cluster = describe_cluster(arguments.place)
    text = table(
        [
            (
                row["name"],
                row["count"],
                row["dimensions"],
                row["metric"],
                row["engine"],
                row["flushed_at"],
                row["marker"] or f"{row['schema']}.{row['table']}",
            )
            for row in indexes
        ],
        ("NAME", "VECTORS", "DIMENSIONS", "METRIC", "ENGINE", "FLUSHED", "PLACE"),
    )
    if cluster is not None:
        text = f"{pairs(cluster)}\n\n{text}"
    output.answer({"cluster": cluster, "indexes": indexes}, text)
    return OK


def describe_cluster(place: str) -> dict[str, Any] | None:
    """What is known of a directory's server without asking it."""
    status = _embedded.status(directory_of(place))
    if status is None:
        return None
    return {
        "directory": str(status.directory),
        "uuid": status.uuid,
        "postgresql": status.major,
        "user": status.user,
        "running": status.running,
        "in_use": status.in_use,
        "pid": status.pid,
        "log": str(status.log),
    }
