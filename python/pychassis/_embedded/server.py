"""Makes a cluster's data and starts its server.

Separate from the protocol of who may do so (cluster.py): every function here is
called with server.lock held, which means that no process of this cluster exists.

The server is executed directly, in a session of its own, with an argument list that
no shell sees; it inherits the lock, the data directory and the extension's
directories as open descriptors.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from ..exceptions import (
    ChassisError,
    ServerError,
    StorageFullError,
    UpgradeRequiredError,
    map_error,
)
from .fds import directory_name, open_directory
from .folder import Folder
from .plan import Plan
from .settings import (
    DATABASE,
    USER,
    as_options,
    auto_conf,
    linger_seconds,
    start_settings,
)

__all__ = [
    "ServerKilledError",
    "initialise",
    "log_tail",
    "remove_stale",
    "spawn",
    "sync",
    "update_extension",
    "wait_ready",
]

_log = logging.getLogger("pychassis.embedded")

# The database initdb makes for its user becomes ours by changing its name: a
# database of our own would cost 7 MB and a quarter of a second.
_FIRST_STATEMENTS = (
    "CREATE EXTENSION chassis;\n"
    f"UPDATE pg_catalog.pg_database SET datname = '{DATABASE}'"
    f" WHERE datname = '{USER}';\n"
).encode()


# What those who wait for a server to start make it write.
_NOISE = re.compile(r"the database system is starting up|could not send data to client")

# Signals by which somebody ends a server; by others, as after a PANIC, it ends itself.
_SENT_BY_OTHERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

# With less than a WAL segment free, a server that ends while starting wanted more.
_LEAST_DISK = 1 << 20


@dataclass
class _Handover:
    """What a child gets: descriptors to inherit, settings that name them."""

    fds: list[int] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)


def _link(folder: Folder, where: list[str], target: str) -> None:
    """A symbolic link below the folder, with directories that lead to it."""
    fd = os.dup(folder.fd)
    try:
        for part in where[:-1]:
            try:
                os.mkdir(part, 0o700, dir_fd=fd)
            except FileExistsError:
                pass
            inner = open_directory(part, parent=fd, follow=False)
            os.close(fd)
            fd = inner
            if os.geteuid() == 0:
                os.fchown(fd, folder.owner, folder.group)
        try:
            os.unlink(where[-1], dir_fd=fd)
        except FileNotFoundError:
            pass
        os.symlink(target, where[-1], dir_fd=fd)
    finally:
        os.close(fd)


def _hand_extension(plan: Plan, folder: Folder, stack: ExitStack) -> _Handover:
    """Descriptors and settings by which the server finds the extension."""
    extension = plan.extension
    handover = _Handover()
    if extension.way == "own":
        return handover

    def hand(place: Path) -> str:
        fd = open_directory(place)
        stack.callback(os.close, fd)
        handover.fds.append(fd)
        return directory_name(fd, place)

    share, library = hand(extension.share), hand(extension.library)
    if ":" in library or ":" in folder.name():
        raise ServerError(
            f"the paths of {extension.library} and {folder.path} must not contain "
            "a colon on a system without /proc"
        )
    folder.remove_tree("ext")
    if extension.way == "control_path":
        # The server appends the name "extension" itself.
        _link(folder, ["ext", "extension"], share)
        handover.settings["extension_control_path"] = f"{folder.name('ext')}:$system"
    else:
        inside = ["ext", *extension.share_path.strip("/").split("/"), "extension"]
        _link(folder, inside, share)
        _link(folder, ["ext", *extension.library_path.strip("/").split("/")], library)
        handover.settings["extension_destdir"] = folder.name("ext")
    handover.settings["dynamic_library_path"] = f"{library}:$libdir"
    return handover


@contextmanager
def _handover(folder: Folder, plan: Plan, lock_fd: int) -> Iterator[_Handover]:
    with ExitStack() as stack:
        try:
            handover = _hand_extension(plan, folder, stack)
        except OSError as error:
            raise _from_os_error(error, folder) from error
        handover.fds += [folder.fd, lock_fd]
        yield handover


def _from_os_error(error: OSError, folder: Folder) -> ChassisError:
    text = f"cannot start the server in {folder.path}: {error}"
    return _classified(text, str(error))


def _classified(message: str, said: str) -> ChassisError:
    """The exception class that fits what a program said."""
    if re.search(r"No space left|Disk quota exceeded|free disk space", said):
        return StorageFullError(message)
    return ServerError(message)


def _run(plan: Plan, argv: list[str], fds: list[int], stdin: bytes | None) -> None:
    """Run to success; otherwise an exception with what the program said."""
    name = os.path.basename(argv[0])
    try:
        result = plan.identity.run(argv, pass_fds=fds, stdin=stdin)
    except OSError as error:
        raise ServerError(f"cannot run {argv[0]}: {error}") from error
    if result.returncode != 0:
        said = result.stdout.decode("utf-8", "replace").strip()
        tail = "\n".join(said.splitlines()[-15:])
        raise _classified(
            f"{name} failed as {plan.identity.name} (status {result.returncode}):\n"
            f"{tail}",
            said,
        )


def _write_auto_conf(folder: Folder, directory: str) -> None:
    data = open_directory(directory, parent=folder.fd, follow=False)
    try:
        fd = os.open(
            "postgresql.auto.conf",
            os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
            dir_fd=data,
        )
    finally:
        os.close(data)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(auto_conf())


def initialise(folder: Folder, plan: Plan, lock_fd: int) -> None:
    """Make ``data``, with database and extension, appearing complete or not at all.

    Nothing is synced yet: see sync().
    """
    _log.info("making a cluster in %s", folder.path)
    folder.remove_tree("data.tmp")
    with _handover(folder, plan, lock_fd) as handover:
        target = folder.name("data.tmp")
        _run(
            plan,
            [
                plan.programs.initdb,
                *("-D", target, "-U", USER, "-A", "trust", "-E", "UTF8"),
                *("--locale=C", "--no-sync", "--no-instructions"),
                *("--data-checksums", "--wal-segsize=1"),
            ],
            handover.fds,
            None,
        )
        try:
            _write_auto_conf(folder, "data.tmp")
        except OSError as error:
            raise _from_os_error(error, folder) from error
        options = {"exit_on_error": "on", "fsync": "off", **handover.settings}
        _run(
            plan,
            [
                plan.programs.postgres,
                *("--single", "-D", target, *as_options(options), USER),
            ],
            handover.fds,
            _FIRST_STATEMENTS,
        )
    os.rename("data.tmp", "data", src_dir_fd=folder.fd, dst_dir_fd=folder.fd)


def sync(folder: Folder, plan: Plan) -> None:
    """Bring everything that initdb wrote to the disk, and note that it is there."""
    _run(
        plan,
        [plan.programs.initdb, "--sync-only", "-D", folder.name("data")],
        [folder.fd],
        None,
    )
    os.fsync(folder.fd)
    above = open_directory(folder.path.parent)
    try:
        os.fsync(above)
    finally:
        os.close(above)
    folder.write("durable", b"")


def remove_stale(folder: Folder) -> None:
    """Remove what a dead server left, and a later one would take for a live one's.

    PostgreSQL itself asks whether the process of that number exists, and is fooled
    by a zombie, or in a container by whoever has the number now.
    """
    data = folder.open_data()
    if data is None:
        return
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            try:
                os.unlink(name, dir_fd=data)
            except FileNotFoundError:
                pass
    finally:
        os.close(data)


def log_tail(folder: Folder, offset: int = 0, lines: int = 15) -> str:
    """The last lines of the log, of what was written from ``offset`` on."""
    try:
        fd = folder.open("log", os.O_RDONLY)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(offset, size - 16384))
        text = file.read().decode("utf-8", "replace")
    said = [line for line in text.splitlines() if not _NOISE.search(line)]
    return "\n".join(said[-lines:])


class ServerKilledError(Exception):
    """A server was killed while it started, or right after: worth another try."""


class Starting:
    """A server that was executed and is not known to accept connections yet."""

    def __init__(
        self, process: subprocess.Popen[bytes], folder: Folder, offset: int
    ) -> None:
        self._folder = folder
        self._offset = offset
        self._signal = 0
        self._thread = threading.Thread(
            target=self._reap, args=(process.pid,), name="chassis-server", daemon=True
        )
        # It is to outlive this object: no warning that it still runs.
        process.returncode = 0
        self._thread.start()

    def _reap(self, pid: int) -> None:
        """Wait for the server when it ends as our child: no zombie is left."""
        try:
            status = os.waitpid(pid, 0)[1]
        except OSError:
            # The program we are in waits for all its children itself.
            return
        if os.WIFSIGNALED(status):
            self._signal = os.WTERMSIG(status)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def failure(self) -> ChassisError | ServerKilledError:
        tail = log_tail(self._folder, self._offset)
        if self._signal in _SENT_BY_OTHERS:
            return ServerKilledError(
                f"the server in {self._folder.path} was ended by signal "
                f"{self._signal} while it started"
            )
        message = (
            f"the server in {self._folder.path} ended while starting; its log says:\n"
            f"{tail or '(nothing)'}"
        )
        disk = os.fstatvfs(self._folder.fd)
        if disk.f_bavail * disk.f_frsize < _LEAST_DISK:
            # The log itself could not be written to.
            return StorageFullError(f"No space left on the device; {message}")
        return _classified(message, tail)


def spawn(folder: Folder, plan: Plan, lock_fd: int) -> Starting:
    """Execute postgres.  It holds the lock from then on, whatever becomes of us."""
    data = folder.open_data()
    assert data is not None, "initialise() comes first"
    try:
        with _handover(folder, plan, lock_fd) as handover:
            log = folder.open_log()
            try:
                offset = os.fstat(log).st_size
                settings = start_settings(
                    linger_seconds(),
                    plan.extension.has_watcher,
                    plan.programs.major,
                )
                argv = [
                    plan.programs.postgres,
                    *("-D", directory_name(data, folder.path / "data")),
                    *as_options(settings | handover.settings),
                ]
                process = plan.identity.spawn(
                    argv, pass_fds=[data, *handover.fds], output=log
                )
            finally:
                os.close(log)
    except OSError as error:
        raise _from_os_error(error, folder) from error
    finally:
        os.close(data)
    _log.info(
        "started PostgreSQL %s in %s as %s, process %d",
        plan.programs.version,
        folder.path,
        plan.identity.name,
        process.pid,
    )
    if not plan.extension.has_watcher:
        _log.warning(
            "chassis_embedded is not in %s: if every user of %s is killed, its server "
            "keeps running until the next one closes",
            plan.extension.library,
            folder.path,
        )
    return Starting(process, folder, offset)


def wait_ready(starting: Starting, ready: Callable[[], bool], deadline: float) -> None:
    """Until ``ready`` says so; an exception with the log if the server ends first."""
    pause = 0.002
    while not ready():
        if starting.ended:
            raise starting.failure()
        if time.monotonic() >= deadline:
            raise ServerError(
                "the server is still starting, probably in recovery after a crash; "
                "try again, with a longer timeout"
            )
        time.sleep(pause)
        pause = min(pause * 1.3, 0.05)


def update_extension(connection_arguments: dict[str, Any], plan: Plan) -> None:
    """ALTER EXTENSION UPDATE when the files are newer than what is installed."""
    try:
        with psycopg.connect(**connection_arguments, autocommit=True) as connection:
            row = connection.execute(
                "SELECT extversion FROM pg_catalog.pg_extension"
                " WHERE extname = 'chassis'"
            ).fetchone()
            if row is None:
                connection.execute("CREATE EXTENSION chassis")
            elif row[0] != plan.extension.version:
                _update(connection, str(row[0]), plan)
    except psycopg.OperationalError as error:
        state = error.sqlstate or ""
        if state and not state.startswith(("08", "57P")):
            raise map_error(error, "prepare the server") from error
        raise ServerKilledError(
            f"the server was lost right after it started: {error}"
        ) from error


def _update(connection: psycopg.Connection[Any], installed: str, plan: Plan) -> None:
    try:
        connection.execute("ALTER EXTENSION chassis UPDATE")
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        # An older library: the path from the installed version does not exist.
        raise UpgradeRequiredError(
            f"the cluster has extension chassis {installed}, the files in "
            f"{plan.extension.share} are version {plan.extension.version}, and "
            f"PostgreSQL says: {str(error).splitlines()[0]}. Install the newer "
            "of the two versions of pgchassis"
        ) from error
    _log.info("updated extension %s to %s", installed, plan.extension.version)
