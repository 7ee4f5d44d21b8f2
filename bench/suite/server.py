"""The private server that every system under measurement lives in.

Why separate: starting, stopping and configuring a cluster is nobody else's
business.  It knows nothing of indexes, data or measures.

The programs come from a stage (tools/stage.sh), so nothing is installed; the
cluster listens on a unix socket only.  ``fsync`` is off: what is measured is
the work of the server and not of a disk that the reader does not have; the
WAL itself is written in full, and its bytes are reported.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",
    "shared_buffers": "2GB",
    "maintenance_work_mem": "2GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "fsync": "off",
    "autovacuum": "off",
    "jit": "off",
    "max_connections": "40",
    "max_parallel_maintenance_workers": "1",
    "track_io_timing": "off",
    "cluster_name": "chassis benchmark",
}
"""Settings of the cluster; every table of results repeats those that matter."""


@dataclass
class Server:
    """One cluster below ``work``, run by ``user`` with programs of ``bindir``."""

    work: Path
    bindir: Path
    user: str
    shared_memory: str = "posix"
    started_here: bool = False

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self.work / "data"

    @property
    def socket(self) -> Path:
        """The directory of the unix socket."""
        return self.work / "socket"

    def _run(
        self, program: str, arguments: Sequence[str], check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a server program as the server's user, in a clean environment."""
        prefix: list[str] = []
        if os.geteuid() == 0 and self.user != "root":
            prefix = ["setpriv", f"--reuid={self.user}", "--regid", self._group()]
            prefix += ["--clear-groups", "--"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        kept.update(HOME=str(self.socket), LC_ALL="C")
        log = self.work / "log" / program
        log.parent.mkdir(exist_ok=True)
        # A file, not a pipe: a server that pg_ctl started keeps it open.
        with log.open("w") as output:
            result = subprocess.run(
                prefix + [str(self.bindir / program), *arguments],
                env=kept,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        if check and result.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{log.read_text()[-2000:]}")
        return result

    def _group(self) -> str:
        import grp
        import pwd

        return grp.getgrgid(pwd.getpwnam(self.user).pw_gid).gr_name

    def _make(self) -> None:
        """Creates the cluster."""
        for directory in (self.data, self.socket):
            directory.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                subprocess.run(["chown", self.user, str(directory)], check=True)
        self.data.chmod(0o700)
        self._run(
            "initdb",
            ["-D", str(self.data), "-U", "bench", "-A", "trust"]
            + ["-E", "UTF8", "--locale=C", "--no-sync"],
        )

    def start(self, **changed: str) -> None:
        """Starts the server, with settings other than ``SETTINGS`` if given.

        A server that runs with the same settings is left as it is.
        """
        if not (self.data / "PG_VERSION").exists():
            self._make()
        settings = {
            **SETTINGS,
            "unix_socket_directories": str(self.socket),
            "dynamic_shared_memory_type": self.shared_memory,
            **changed,
        }
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        file = self.data / "bench.conf"
        main = self.data / "postgresql.conf"
        if "bench.conf" not in main.read_text():
            with main.open("a") as text:
                text.write("include 'bench.conf'\n")
        if self.running():
            if file.exists() and file.read_text() == lines:
                return
            self.stop()
        file.write_text(lines)
        self._run(
            "pg_ctl",
            ["-D", str(self.data), "-l", str(self.data / "server.log")]
            + ["-w", "-t", "120", "-s", "start"],
        )
        self.started_here = True

    def stop(self) -> None:
        """Stops the server if it runs."""
        if self.running():
            self._run("pg_ctl", ["-D", str(self.data), "-m", "fast", "-w", "stop"])

    def running(self) -> bool:
        """Whether the cluster's server runs."""
        if not (self.data / "postmaster.pid").exists():
            return False
        return (
            self._run("pg_ctl", ["-D", str(self.data), "status"], check=False)
        ).returncode == 0

    def restart_cold(self, **changed: str) -> None:
        """Restarts with empty shared buffers and the files out of memory."""
        self.stop()
        for path in (self.data / "base").rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.start(**changed)

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object]]:
        """A new connection that commits every statement."""
        return psycopg.connect(
            host=str(self.socket), user="bench", dbname=database, autocommit=True
        )

    def make_database(self, name: str, extension: str) -> bool:
        """Creates a database with the extension in it; false if it cannot.

        Two extensions that both define ``vector`` share a server this way.
        """
        with self.connect() as connection:
            available = connection.execute(
                "SELECT 1 FROM pg_available_extensions WHERE name = %s", (extension,)
            ).fetchone()
            if available is None:
                return False
            exists = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (name,)
            ).fetchone()
            if exists is None:
                connection.execute(f"CREATE DATABASE {name}")
        with self.connect(name) as connection:
            connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        return True


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, in seconds.

    From schedstat (nanoseconds on the processor), which, unlike utime, is not
    counted in ticks.
    """
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def private_bytes(pid: int) -> int:
    """Memory that a process shares with no other, in bytes."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1]) * 1024
    return total


def wait_until_idle(connection: psycopg.Connection[tuple[object]]) -> None:
    """Writes out what earlier steps left, so that it does not disturb."""
    connection.execute("CHECKPOINT")
    time.sleep(0.2)
