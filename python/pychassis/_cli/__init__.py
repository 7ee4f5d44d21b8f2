"""The command line: ``python -m chassis COMMAND``.

Each command is a module that adds its parser and runs; this one joins them and
turns what goes wrong into a message and an exit code.  Answers go to standard
output, as text or with ``--json`` as one JSON document; messages and progress go
to standard error.  No command prints a password.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence

import psycopg

from ..exceptions import (
    ChassisError,
    FileFormatError,
    IndexNotFoundError,
    map_error,
    scrub,
)
from . import ddl, doctor, info, install, orphans, server, transfer
from .common import EPILOG, FAILED, FINDINGS, INTERRUPTED, NOT_FOUND, Output

__all__ = ["main"]

_COMMANDS = (info, server, doctor, orphans, ddl, install, transfer)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chassis",
        description="Looks after vector indexes in PostgreSQL.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    from .. import __version__

    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parsers(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse exits by itself with 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    after: list[str] = []
    if given[:1] == ["psql"] and "--" in given:
        # argparse would take the first of psql's arguments for an index.
        place = given.index("--")
        given, after = given[:place], given[place + 1 :]
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be valid Unicode.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(given)
    options.after = after
    output = Output(as_json=options.json)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
    )
    try:
        code = int(options.run(options, output))
        sys.stdout.flush()
    except KeyboardInterrupt:
        output.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answer has seen enough; the interpreter must not find
        # the closed pipe again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except (ChassisError, psycopg.Error, OSError, ValueError, TypeError) as error:
        if options.debug:
            raise
        return _explain(error, output)
    return code


def _explain(error: Exception, output: Output) -> int:
    """Say what went wrong, and return the exit code for it."""
    if isinstance(error, psycopg.Error):
        error = map_error(error, "run a statement")
    output.error(scrub(str(error)), error)
    if isinstance(error, (IndexNotFoundError, FileNotFoundError)):
        return NOT_FOUND
    return FINDINGS if isinstance(error, FileFormatError) else FAILED
