"""What the commands share: arguments, output, exit codes, and finding a database.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _catalog, _connect, _embedded
from ..exceptions import IndexNotFoundError, InvalidPathError
from ..options import Progress

__all__ = ["Database", "Output", "add_command", "add_connection", "open_database"]

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
FINDINGS = 4
INTERRUPTED = 130

EPILOG = """\
exit codes:
  0    done
  1    failed; the reason is on standard error
  2    wrong usage
  3    there is no such index, directory or file
  4    done, and something is wrong: doctor found it, or a file is damaged
  130  interrupted

With --json the answer is one JSON document on standard output, and so is an error:
{"error": {"type", "message", "sqlstate"}}.  docs/python-cli.md describes them all.
"""

Parsers = Any  # argparse's type of add_subparsers() is private


# ------------------------------------------------------------------------ output


class Output:
    """Prints answers on standard output, and the rest on standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def answer(self, value: Any, text: str) -> None:
        """Print ``value`` as JSON, or else ``text``."""
        if self.as_json:
            print(json.dumps(value, indent=2, default=_to_json))
        elif text:
            print(text)

    def note(self, text: str) -> None:
        """Print a remark that is no part of the answer."""
        print(text, file=sys.stderr)

    def error(self, text: str, error: Exception) -> None:
        """Say why the command failed."""
        if self.as_json:
            state = getattr(error, "sqlstate", None)
            kind = type(error).__name__
            document = {"type": kind, "message": text, "sqlstate": state}
            print(json.dumps({"error": document}, indent=2))
        self.note(f"chassis: error: {text}")


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return str(value)


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Rows under headings, in columns as wide as needed."""
    texts = [[*map(str, head)], *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths))
        for line in texts
    )
    return "\n".join(line.rstrip() for line in lines)


def pairs(values: Mapping[str, object]) -> str:
    """Names and values, one below the other."""
    width = max(map(len, values))
    return "\n".join(f"{k.ljust(width)}  {_cell(v)}" for k, v in values.items())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime.datetime):
        return value.astimezone().isoformat(" ", "seconds")
    return str(value)


def size(number: int) -> str:
    """Bytes in the unit that gives at most four digits."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 10_000:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.0f} TB"


# --------------------------------------------------------------------- arguments


def add_command(
    commands: Parsers, name: str, help: str, description: str = ""
) -> argparse.ArgumentParser:
    """Add a command with the options that every command has."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description or f"{help[0].upper()}{help[1:]}.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say more on standard error"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that lead to an existing server."""
    parser.add_argument(
        "-d",
        "--connection",
        metavar="CONNINFO",
        default=os.environ.get("CHASSIS_DATABASE_URL"),
        help="use this server, not the directory's own (default: "
        "$CHASSIS_DATABASE_URL). Passwords are better kept in ~/.pgpass",
    )
    parser.add_argument(
        "--schema",
        default=os.environ.get("CHASSIS_SCHEMA"),
        help="schema of the catalogue (default: $CHASSIS_SCHEMA or "
        f"{_catalog.DEFAULT_SCHEMA})",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for a server (default: 60)",
    )


def progress_wanted(arguments: argparse.Namespace) -> Progress:
    """A progress bar for people, nothing for programs and log files."""
    return not arguments.quiet and sys.stderr.isatty()


# --------------------------------------------------------------------- databases


@dataclass(frozen=True)
class Database:
    """A server that runs, and where its catalogue is."""

    source: _connect.Source
    schema: str
    cluster: _embedded.Cluster | None

    def indexes(self) -> list[dict[str, Any]]:
        """All rows of the catalogue."""
        return self.source.read(
            lambda link: _catalog.list_indexes(link, self.schema),
            "list the indexes",
        )


def directory_of(place: str | os.PathLike[str]) -> Path:
    """The directory meant by the path of a directory or of an index in it."""
    path = Path(place)
    if path.is_dir():
        return path
    if path.parent.is_dir():
        return path.parent
    raise IndexNotFoundError(f"there is no directory {path.parent}")


@contextlib.contextmanager
def open_database(
    arguments: argparse.Namespace, place: str | None
) -> Iterator[Database]:
    """Connect to ``--connection``, or else to the server of ``place``.

    Starts that server if need be and stops it afterwards if nobody else uses it;
    makes no new one: raises IndexNotFoundError instead.
    """
    cluster: _embedded.Cluster | None = None
    if arguments.connection:
        made = _connect.make_source(
            arguments.connection, prepare=False, timeout=arguments.timeout
        )
    elif place is None:
        raise InvalidPathError("name a directory, or a server with --connection")
    else:
        cluster = _embedded.acquire(
            directory_of(place), create=False, timeout=arguments.timeout
        )
        made = _connect.EmbeddedSource(
            cluster, preparing=False, timeout=arguments.timeout
        )
    source = _connect.open_source(made, None)
    try:
        schema = arguments.schema or _catalog.DEFAULT_SCHEMA
        yield Database(source, schema, cluster)
    finally:
        _connect.close_source(source)


def index_keywords(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keywords for VectorIndex that mean what the options say."""
    return {
        "connection": arguments.connection,
        "schema": arguments.schema,
        "timeout": arguments.timeout,
    }
