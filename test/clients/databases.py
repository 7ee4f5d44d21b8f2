"""A private server, its databases, and what a test may ask behind a client's back.

Clients create the extension, the tables and the indexes; here is only what proves
that chassis stood behind them: whose code an index runs, what the index itself says,
and which plans the server used for the client's own statements.  The plans come
from the server's log (auto_explain), so no client has to offer EXPLAIN.

Knows no client.  ``servers`` is the module of the Python package's tests.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

import servers

# How long a plan may take to reach the log: clients end their transactions late.
PATIENCE = 20

SETTINGS = {
    # Tables of a few dozen rows: the planner would be right to read them whole.
    # test_setup.py shows that it takes the index by itself when it pays.
    "enable_seqscan": "off",
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "log_line_prefix": "%d: ",
}

_numbers = itertools.count(1)


class Database:
    """A new database, as a client's user would be given one."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self.name = name
        self.host = str(server.home)
        self.port = 5432
        self.user = "postgres"

    @property
    def socket(self) -> str:
        return f"{self.host}/.s.PGSQL.{self.port}"

    @property
    def dsn(self) -> str:
        """For libpq."""
        return f"host={self.host} port={self.port} user={self.user} dbname={self.name}"

    def url(self, driver: str = "", user: str | None = None) -> str:
        """For libpq, or for SQLAlchemy when a driver is named."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return (
            f"{scheme}://{user or self.user}@/{self.name}"
            f"?host={quote(self.host, safe='')}&port={self.port}"
        )

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        """What a statement gives, seen by another session."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def indexes(self, table: str) -> dict[str, str]:
        """The indexes of a table by access method, but for those of its keys."""
        return {
            name: method
            for name, method in self.rows(
                "SELECT c.relname, a.amname FROM pg_index i"
                " JOIN pg_class c ON c.oid = i.indexrelid"
                " JOIN pg_am a ON a.oid = c.relam"
                " WHERE i.indrelid = %s::regclass AND a.amname <> 'btree'",
                table,
            )
        }

    def check_index(
        self, index: str, method: str = "hnsw", opclass: str | None = None
    ) -> None:
        """The index is whole, and of the extension under test.

        Its access method has the name that the client asked for, and the code
        behind it is not pgvector's.
        """
        [(found, library, classes)] = self.rows(
            "SELECT a.amname, p.probin, array_agg(o.opcname::text)"
            " FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
            " JOIN pg_proc p ON p.oid = a.amhandler"
            " JOIN pg_index i ON i.indexrelid = c.oid"
            " JOIN pg_opclass o ON o.oid = ANY (i.indclass)"
            " WHERE c.oid = %s::regclass AND i.indisvalid GROUP BY 1, 2",
            index,
        )
        assert found == method
        if opclass is not None:
            assert classes == [opclass]
        if self._server.is_reference:
            assert library == "$libdir/vector"
            return
        assert Path(library).name.startswith("chassis")
        facts = dict(self.rows("SELECT * FROM chassis_index_info(%s::regclass)", index))
        assert facts, "the index says nothing about itself"
        faults = self.rows("SELECT * FROM chassis_index_check(%s::regclass)", index)
        assert faults == []

    def plans(self) -> Plans:
        """The plans of what this database's clients run from here on."""
        return Plans(self._server.log, self.name)


class Plans:
    """What the server has logged about a database since this was made."""

    def __init__(self, log: Path, database: str) -> None:
        self._log = log
        self._prefix = f"{database}: "
        self._start = log.stat().st_size

    def _text(self) -> str:
        """The log's messages about this database, each with the lines it goes on in."""
        with self._log.open("rb") as stream:
            stream.seek(self._start)
            written = stream.read().decode(errors="replace")
        messages = re.split(r"\n(?!\t)", written)
        return "\n".join(m for m in messages if m.startswith(self._prefix))

    def used(self, *indexes: str) -> bool:
        """A statement of the client was answered by scanning one of the indexes.

        Waits a little: a statement's plan is written when its portal is closed,
        which may be when the client ends the transaction.
        """
        names = "|".join(map(re.escape, indexes))
        scan = re.compile(rf'Index Scan using "?(?:{names})"? on ')
        deadline = servers.Deadline(PATIENCE)
        while not (found := scan.search(self._text())) and not deadline.passed():
            pass
        return found is not None


class Server:
    """A running server, with databases for clients to be had from it."""

    def __init__(self, bindir: Path, home: Path, is_reference: bool) -> None:
        self.is_reference = is_reference
        """It has pgvector itself, for a look at whether the tests are true."""
        self._private = servers.PrivateServer(bindir, home)
        self._private.initialise(**SETTINGS).start()
        self.home = home
        self.log = self._private.log
        if not is_reference:
            # The one step that is not the client's: it says CREATE EXTENSION
            # vector without CASCADE, and that requires chassis.
            self._private.execute("CREATE EXTENSION chassis", dbname="template1")

    def database(self, template: str = "template1") -> Database:
        name = f"clients_{next(_numbers)}"
        self._private.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return Database(self, name)

    def drop(self, database: Database) -> None:
        self._private.execute(f"DROP DATABASE {database.name} WITH (FORCE)")

    def stop(self) -> None:
        self._private.stop("immediate")
