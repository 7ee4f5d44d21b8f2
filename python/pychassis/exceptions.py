"""The exceptions users see, and how a server's error becomes one of them.

Separate because every module raises them.  It knows psycopg's error classes and
SQLSTATEs, and nothing of indexes.  Messages say what happened, why, and what to
do; none may contain a password, so the text of a connection string never enters
one.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import re

import psycopg

__all__ = [
    "ChassisError",
    "DimensionMismatchError",
    "FileFormatError",
    "IndexLockedError",
    "IndexNotFoundError",
    "InvalidPathError",
    "NullPointerError",
    "ServerError",
    "StorageFullError",
    "UpgradeRequiredError",
]


class ChassisError(Exception):
    """Base of everything that can go wrong with an index.

    ``sqlstate`` is the server's five-character code where the server raised the
    error, else None; ``__cause__`` is then psycopg's exception.
    """

    def __init__(self, message: str = "", *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DimensionMismatchError(ChassisError, ValueError):
    """A vector, or the number given to the constructor, has other dimensions."""


class InvalidPathError(ChassisError):
    """The path cannot hold an index, or what it holds is none."""


class IndexNotFoundError(ChassisError):
    """There is no such index, and it was not to be created."""


class NullPointerError(ChassisError):
    """A NULL where a vector is needed; its name is kept for compatibility."""


class FileFormatError(ChassisError):
    """A file to import is damaged, or of a format that is not known."""


class IndexLockedError(ChassisError):
    """Another process is the writer, or took over while this one was stopped."""


class ServerError(ChassisError):
    """The server cannot be started, reached or logged in to."""


class StorageFullError(ChassisError):
    """The server has no disk space or memory left."""


class UpgradeRequiredError(ChassisError):
    """The cluster or the extension is of a version that does not match."""


# By SQLSTATE, the longest prefix first: class, and what to do about it.
_BY_SQLSTATE: list[tuple[str, type[ChassisError], str]] = [
    ("22004", NullPointerError, "pass a vector instead of NULL"),
    ("25006", ChassisError, "the server is read-only: write on the primary"),
    ("42P01", IndexNotFoundError, "was its table dropped or moved?"),
    ("42501", ChassisError, "ask the owner for the privilege that is missing"),
    ("53100", StorageFullError, "free disk space on the server, then try again"),
    ("53200", StorageFullError, "free memory on the server, then try again"),
    ("53300", ServerError, "raise max_connections, or close other connections"),
    ("55P03", IndexLockedError, "wait for the other writer, or raise timeout="),
    ("57014", ChassisError, "the statement was cancelled or ran into a time-out"),
    ("57P", ServerError, "the server stopped or restarts: try again"),
    ("08", ServerError, "is the server running, and can it be reached?"),
    ("28", ServerError, "check user, password and pg_hba.conf"),
    ("3D000", ServerError, "create the database, or name another one"),
    ("3F000", ServerError, "create the schema, or name another one"),
]

_SECRETS = re.compile(r"(://[^:/@\s]*:)[^@\s]*(@)|(password\s*=\s*)('[^']*'|\S+)", re.I)


def scrub(text: str) -> str:
    """``text`` without what looks like a password in a connection string."""
    return _SECRETS.sub(
        lambda found: (
            f"{found[1]}***{found[2]}" if found[1] is not None else f"{found[3]}***"
        ),
        text,
    )


def is_lost_connection(error: BaseException) -> bool:
    """Whether ``error`` means that the connection, not the statement, failed."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    state = error.sqlstate
    # libpq's own failures carry no SQLSTATE at all.
    return state is None or state.startswith("08") or state in _SHUT_DOWN


_SHUT_DOWN = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})


def is_stale_statement(error: BaseException) -> bool:
    """Whether a pooler between us and the server lost our prepared statement."""
    return isinstance(error, psycopg.Error) and error.sqlstate in ("26000", "42P05")


def outdated_graph(error: BaseException) -> str | None:
    """The graph whose format the extension's library refuses, if that is the error."""
    if not isinstance(error, psycopg.errors.FeatureNotSupported):
        return None
    found = _OUTDATED.match(error.diag.message_primary or "")
    return found[1] if found else None


_OUTDATED = re.compile(r'index "(.*)" has format \d+, which this version of chassis')


def map_error(error: psycopg.Error, doing: str) -> ChassisError:
    """The exception to raise ``from error``; ``doing`` completes "could not …"."""
    state = error.sqlstate
    text = _server_text(error)
    kind: type[ChassisError] = ChassisError
    remedy = "see the cause for the server's words"
    if state is None:
        if isinstance(error, psycopg.OperationalError):
            kind, remedy = ServerError, "is the server running, and can it be reached?"
    elif state == "22000" and "dimensions" in text:
        kind, remedy = DimensionMismatchError, "pass vectors of the index's dimensions"
    elif outdated_graph(error) is not None:
        kind, remedy = UpgradeRequiredError, "the owner has to call rebuild() once"
    else:
        for prefix, candidate, advice in _BY_SQLSTATE:
            if state.startswith(prefix):
                kind, remedy = candidate, advice
                break
    return kind(f"Could not {doing}: {text} ({remedy})", sqlstate=state)


def _server_text(error: psycopg.Error) -> str:
    """The server's message, with detail and hint, on one line."""
    diag = error.diag
    parts = [diag.message_primary, diag.message_detail, diag.message_hint]
    text = "; ".join(part for part in parts if part) or str(error)
    return scrub(" ".join(text.split())) or type(error).__name__
