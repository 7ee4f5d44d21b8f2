"""``dsn``, ``psql`` and ``stop``: an index's server, for other programs and people.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .. import _connect, _embedded
from .._embedded.status import describe_programs
from ..exceptions import ChassisError, IndexNotFoundError, ServerError
from .common import (
    FAILED,
    OK,
    Output,
    Parsers,
    add_command,
    add_connection,
    directory_of,
    open_database,
)

# sockaddr_un has room for this many bytes, less the name of the socket itself.
MAX_SOCKET_DIRECTORY = 107 - len("/.s.PGSQL.5432")

# Keywords of libpq that psql reads from the environment, so that none of them,
# least of all a password, shows in the list of processes.
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "client_encoding": "PGCLIENTENCODING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
}


def add_parsers(commands: Parsers) -> None:
    dsn = add_command(
        commands,
        "dsn",
        "print a connection string, without password",
        "Prints a connection string for psql and other programs, without password. "
        "A directory's own server runs only while somebody uses an index in it.",
    )
    dsn.add_argument("place", nargs="?", help="an index or a directory")
    add_connection(dsn)
    dsn.set_defaults(run=run_dsn)

    psql = add_command(
        commands,
        "psql",
        "start psql on an index's server",
        "Starts psql on the server of an index; the server runs at least as long. "
        "What follows -- goes to psql: chassis psql DIR -- -c 'SELECT 1'. Returns "
        "psql's own exit code.",
    )
    psql.add_argument("place", nargs="?", help="an index or a directory")
    add_connection(psql)
    psql.set_defaults(run=run_psql)

    stop = add_command(
        commands,
        "stop",
        "stop the server of a directory",
        "Stops the server of a directory, also while programs use it: they start it "
        "again when they need it.",
    )
    stop.add_argument("place", help="a directory, or an index in it")
    stop.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    stop.set_defaults(run=run_stop)


def run_dsn(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.connection:
        parameters = _connect._parse(arguments.connection)
        dsn = _connect._without_password(parameters)
        running = None
    elif arguments.place is None:
        raise ValueError("name an index or a directory, or give --connection")
    else:
        directory = directory_of(arguments.place)
        status = _embedded.status(directory)
        if status is None:
            raise IndexNotFoundError(f"there is no index in {directory}")
        running = status.running
        dsn = _dsn_of(status.path / "data")
        if not running:
            output.note("the server does not run now: it does while an index is open")
    output.answer({"dsn": dsn, "running": running}, dsn)
    return OK


def _dsn_of(data: Path) -> str:
    """The connection string of a directory's server, for other processes."""
    if len(os.fsencode(data)) > MAX_SOCKET_DIRECTORY:
        raise ChassisError(
            f"the path {data} is too long for a socket's address in other programs; "
            "use: chassis psql, or a shorter directory"
        )
    return make_conninfo(
        "", host=str(data), port="5432", dbname="chassis", user="postgres"
    )


def run_psql(arguments: argparse.Namespace, output: Output) -> int:
    with open_database(arguments, arguments.place) as database:
        if database.cluster is None:
            parameters = dict(conninfo_to_dict(arguments.connection))
        else:
            parameters = dict(database.cluster.conninfo())
        program = _find_psql(arguments.place if database.cluster else None)
        return _run_program([program, *arguments.after], parameters)


def _find_psql(place: str | None) -> str:
    """psql from where the server's programs are, or else from PATH."""
    if place is not None:
        plan = describe_programs(directory_of(place))
        if not isinstance(plan, ChassisError):
            beside = plan.programs.bindir / "psql"
            if beside.exists():
                return str(beside)
    found = shutil.which("psql")
    if found is None:
        raise ServerError(
            "psql is not installed (Debian: apt install postgresql-client); "
            "chassis dsn prints what other programs need"
        )
    return found


def _run_program(command: list[str], parameters: Mapping[str, object]) -> int:
    """Run psql with these parameters; descriptors in /proc/self/fd stay open."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    for name, value in parameters.items():
        variable = _VARIABLES.get(name)
        if variable is not None and value not in (None, ""):
            environment[variable] = str(value)
    host = str(parameters.get("host") or "")
    inherited = []
    if host.startswith("/proc/self/fd/"):
        inherited.append(int(host.split("/")[4]))
    # Ctrl-C is psql's affair: it cancels a statement there.  A handler, unlike
    # SIG_IGN, does not pass to the program that is started.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        done = subprocess.run(command, env=environment, pass_fds=inherited, check=False)
        return done.returncode if done.returncode >= 0 else FAILED
    finally:
        signal.signal(signal.SIGINT, before)


def run_stop(arguments: argparse.Namespace, output: Output) -> int:
    directory = directory_of(arguments.place)
    stopped = _embedded.stop(directory, arguments.timeout)
    output.answer(
        {"directory": str(directory), "stopped": stopped},
        f"the server of {directory} {'is stopped' if stopped else 'still runs'}",
    )
    return OK if stopped else FAILED
