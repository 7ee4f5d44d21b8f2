"""The life cycle: who starts the server, who shares it, and who stops it.

Separate because the whole protocol has to be read in one place.  Two locks carry it
(locks.py says why locks and not process ids):

users.lock   shared by each process that uses the cluster, for as long as it does.
server.lock  held alone by the server: taken by whoever starts it, inherited by
             postgres and every process it makes, free when the last of them is gone.

To open: share users.lock; then try to connect.  If nobody listens, try server.lock.
Whoever gets it knows that no process of this cluster exists, in whatever container,
cleans up, starts postgres with the lock, and closes its own copy.  Who does not get
it waits: somebody else is starting the server, or one is just ending.

To close: give up users.lock by trying to have it alone.  Whoever succeeds was the
last; it stops the server, waits for server.lock, and only then lets others in.
When users die instead, the server's own watcher does the same (src/pg/embedded).

After a fork the child shares the parent's lock descriptor.  It closes its copy and
takes a share of its own when it first uses the cluster.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import (
    ChassisError,
    IndexNotFoundError,
    InvalidPathError,
    ServerError,
)
from .fds import directory_name
from .filesystem import check_filesystem
from .folder import Folder, boot_id, create_folder, directory_error, open_folder
from .locks import lock_shared, try_exclusive, wait_exclusive
from .probe import Answer, probe
from .process import foreign_postmaster, kill_orphans, postmaster, send_signal
from .settings import DATABASE, USER, effective_directory, linger_seconds

# server and plan are imported where a server has to be started: most who open an
# index find one running, and these two are half of the package's import.
if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["Cluster", "acquire", "stop_server"]

_log = logging.getLogger("pychassis.embedded")

_FIRST_PAUSE = 0.002
_LAST_PAUSE = 0.05
# How long the lock may be held without a postmaster before its former backends are
# ended by us; they notice by themselves unless they compute.
_ORPHAN_PATIENCE = 3.0
# A start that is killed is tried again so often: an accident does not repeat.
_MOST_KILLS = 5
# A fast shutdown writes what is dirty; on a slow disk that takes its time.
_STOP_PATIENCE = 60.0


class Cluster:
    """One process's use of one cluster; made by acquire() only."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._references = 0
        self._users_fd = -1
        self._data_fd = -1
        self._uuid = ""
        self._syncing: threading.Thread | None = None
        self._sync_error: BaseException | None = None
        self._durable = False
        self._plan: Plan | None = None

    # --- what users of the cluster see ---------------------------------------

    @property
    def directory(self) -> Path:
        """The directory that .chassis is in."""
        return self._folder.path.parent

    @property
    def path(self) -> Path:
        """The directory .chassis itself."""
        return self._folder.path

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._folder.path / "log"

    @property
    def socket_directory(self) -> Path:
        """Where the socket is, for programs that inherit no descriptor of ours."""
        return self._folder.path / "data"

    @property
    def uuid(self) -> str:
        """Of the cluster, given when it was made."""
        if not self._uuid:
            self._uuid = str(self._folder.information()["uuid"])
        return self._uuid

    def conninfo(self) -> dict[str, Any]:
        """Arguments for psycopg.connect(), valid until the last release().

        What the environment could put in their place (PGHOSTADDR, PGOPTIONS, …) is
        named here, so that it does not.
        """
        with self._lock:
            if self._users_fd < 0:
                self._enter(time.monotonic() + _STOP_PATIENCE)
            if self._data_fd < 0:
                self._reopen_data()
            host = directory_name(self._data_fd, self.socket_directory)
        return {
            "host": host,
            "hostaddr": "",
            "port": "5432",
            "dbname": DATABASE,
            "user": USER,
            "sslmode": "disable",
            "gssencmode": "disable",
            "channel_binding": "prefer",
            "target_session_attrs": "any",
            "options": "",
            "client_encoding": "UTF8",
        }

    def ensure_running(self, timeout: float = 60.0) -> None:
        """Return when the server accepts connections; start it if need be."""
        deadline = time.monotonic() + timeout
        with self._lock:
            if self._folder.vanished:
                raise ServerError(
                    f"the directory {self._folder.path} was removed while it was in use"
                )
            self._enter(deadline)

    def wait_durable(self) -> None:
        """Return when the cluster as such would survive a power failure.

        Only the first call after a cluster was made has something to wait for.
        """
        with self._lock:
            if self._durable:
                return
            syncing = self._syncing
            if syncing is None and self._folder.exists("durable"):
                self._durable = True
                return
            if syncing is None:
                # Made by another process, which may have died.
                syncing = self._start_sync()
        syncing.join()
        with self._lock:
            self._syncing = None
            if self._sync_error is not None:
                error, self._sync_error = self._sync_error, None
                raise error
            self._durable = True

    def release(self) -> None:
        """Give up one reference; the last one may stop the server, and waits."""
        with _registry_lock:
            if self._references == 0:
                return
            self._references -= 1
            if self._references > 0:
                return
            if _registry.get(self._folder.key) is self:
                del _registry[self._folder.key]
        with self._lock:
            try:
                self._leave()
            finally:
                self._close()

    def __repr__(self) -> str:
        return f"<Cluster in {self._folder.path}>"

    # --- entering ------------------------------------------------------------

    def _enter(self, deadline: float, plan: Plan | None = None) -> None:
        """Have a share of users.lock and a server that accepts connections."""
        if self._users_fd >= 0 and os.fstat(self._users_fd).st_nlink == 0:
            # Somebody removed the file; others use the one that is there now.
            os.close(self._users_fd)
            self._users_fd = -1
        if self._users_fd < 0:
            fd = self._folder.open("users.lock", os.O_RDWR | os.O_CREAT)
            if not lock_shared(fd, deadline):
                os.close(fd)
                raise ServerError(
                    f"the server in {self._folder.path} is being stopped, and did "
                    "not end in time; try again"
                )
            # For the watcher, which counts idle time from here.
            os.utime(fd)
            self._users_fd = fd
        self._connect_or_start(deadline, plan)

    def _connect_or_start(self, deadline: float, plan: Plan | None) -> None:
        pause = _FIRST_PAUSE
        kills = 0
        orphans_from = time.monotonic() + _ORPHAN_PATIENCE
        while True:
            answer, state = self._ask()
            if answer is Answer.READY:
                return
            if answer is Answer.REFUSED:
                raise ServerError(
                    f"the server in {self._folder.path} refuses the database "
                    f"{DATABASE} (SQLSTATE {state})",
                    sqlstate=state or None,
                )
            from . import server

            try:
                if self._try_start(deadline, plan):
                    continue
            except server.ServerKilledError as error:
                kills += 1
                if kills >= _MOST_KILLS:
                    raise ServerError(
                        f"{error}; that happened {kills} times. If the kernel ended "
                        "it for lack of memory, free some"
                    ) from error
            now = time.monotonic()
            if now >= deadline:
                raise self._timed_out(answer, state)
            if answer is Answer.ABSENT and now >= orphans_from:
                if kill_orphans(self._folder):
                    _log.warning(
                        "ended processes that the dead server of %s left behind",
                        self._folder.path,
                    )
                orphans_from = now + _ORPHAN_PATIENCE
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_PAUSE)

    def _timed_out(self, answer: Answer, state: str) -> ChassisError:
        from . import server

        tail = server.log_tail(self._folder)
        return ServerError(
            f"the server in {self._folder.path} did not accept a connection in time "
            f"({answer.value}{', SQLSTATE ' + state if state else ''}); its log "
            f"ends:\n{tail or '(empty)'}",
            sqlstate=state or None,
        )

    def _ask(self) -> tuple[Answer, str]:
        if self._data_fd < 0 or os.fstat(self._data_fd).st_nlink == 0:
            self._reopen_data()
        if self._data_fd < 0:
            return Answer.ABSENT, ""
        base = directory_name(self._data_fd, self.socket_directory)
        path = f"{base}/.s.PGSQL.5432"
        if len(os.fsencode(path)) > 103:
            raise InvalidPathError(
                f"the path {path} is too long for a socket on a system without "
                "/proc; use a shorter directory, or set CHASSIS_HOME to one"
            )
        return probe(path, USER, DATABASE)

    def _reopen_data(self) -> None:
        if self._data_fd >= 0:
            os.close(self._data_fd)
        self._data_fd = -1
        try:
            fd = self._folder.open_data()
        except OSError as error:
            raise InvalidPathError(
                f"cannot open {self.socket_directory}: {error.strerror}"
            ) from error
        self._data_fd = -1 if fd is None else fd

    # --- starting ------------------------------------------------------------

    def _try_start(self, deadline: float, plan: Plan | None) -> bool:
        """Start the server if nobody else runs or starts it; whether we did."""
        lock_fd = self._folder.open("server.lock", os.O_RDWR | os.O_CREAT)
        try:
            if not try_exclusive(lock_fd):
                return False
            self._start(lock_fd, deadline, plan)
        except OSError as error:
            raise directory_error(self.directory, error) from error
        finally:
            # Never LOCK_UN: that would take the lock from the server as well.
            os.close(lock_fd)
        return True

    def _start(self, lock_fd: int, deadline: float, plan: Plan | None) -> None:
        from . import server
        from .plan import plan_existing

        folder = self._folder
        check_filesystem(self.directory)
        stranger = foreign_postmaster(folder)
        if stranger is not None:
            raise ServerError(
                f"process {stranger} is a server on {self.socket_directory} that was "
                f"not started by pgchassis; stop it (kill -INT {stranger})"
            )
        self._set_aside_unsynced()
        major = self._data_major()
        if plan is None or major is not None:
            plan = plan_existing(folder.path, folder.owner, major)
        self._plan = plan
        if major is None:
            server.initialise(folder, plan, lock_fd)
        server.remove_stale(folder)
        starting = server.spawn(folder, plan, lock_fd)
        if not folder.exists("durable"):
            self._start_sync()
        self._reopen_data()
        server.wait_ready(starting, self._accepts, deadline)
        server.update_extension(self.conninfo(), plan)

    def _accepts(self) -> bool:
        return self._ask()[0] is Answer.READY

    def _data_major(self) -> int | None:
        """The major version of the data; None when there is none."""
        data = self._folder.open_data()
        if data is None:
            return None
        try:
            fd = os.open(
                "PG_VERSION", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=data
            )
            with open(fd, "rb") as file:
                text = file.read(16).strip()
        except FileNotFoundError:
            text = b""
        finally:
            os.close(data)
        if not text.isdigit():
            raise InvalidPathError(
                f"{self.socket_directory} is damaged: its PG_VERSION is missing or "
                "unreadable. Restore the directory from a backup"
            )
        return int(text)

    def _set_aside_unsynced(self) -> None:
        """Rename data that the machine went down on before it was first synced.

        Nobody was told that anything in it is stored: flush() waits for the sync.
        """
        folder = self._folder
        if not folder.exists("data") or folder.exists("durable"):
            return
        made, now = folder.information().get("boot"), boot_id()
        if not made or not now or made == now:
            return
        folder.remove_tree("data.unsynced")
        os.rename("data", "data.unsynced", src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
        folder.remove("cluster.json")
        folder.information()
        _log.warning(
            "%s was never synced before the machine went down; its data, in which "
            "nothing was flushed, is now %s",
            folder.path,
            folder.path / "data.unsynced",
        )

    def _start_sync(self) -> threading.Thread:
        """Sync in a thread: it takes a while, and only flush() has to wait."""
        plan = self._plan

        def work() -> None:
            from . import server
            from .plan import plan_existing

            try:
                chosen = plan or plan_existing(
                    self._folder.path, self._folder.owner, self._data_major()
                )
                server.sync(self._folder, chosen)
            except BaseException as error:
                self._sync_error = error

        thread = threading.Thread(target=work, name="chassis-sync", daemon=True)
        self._syncing = thread
        thread.start()
        return thread

    # --- leaving -------------------------------------------------------------

    def _leave(self) -> None:
        """Give up users.lock; stop the server if nobody else has it."""
        if self._syncing is not None:
            self._syncing.join()
        if self._users_fd < 0:
            return
        last = linger_seconds() <= 0 and not self._folder.vanished
        last = last and self._alone()
        if last:
            stop_server(self._folder, _STOP_PATIENCE)

    def _alone(self) -> bool:
        """Whether users.lock is ours now.

        A failure to get it may be the watcher's look at it, or a child between fork
        and exec, so it is tried again before others are believed to be there.
        """
        for _ in range(3):
            if try_exclusive(self._users_fd):
                return True
            time.sleep(0.001)
        return False

    def _close(self) -> None:
        for fd in (self._users_fd, self._data_fd):
            if fd >= 0:
                os.close(fd)
        self._users_fd = self._data_fd = -1
        self._folder.close()

    def _forget_locks(self) -> None:
        """In a forked child: the descriptor is the parent's lock as well."""
        self._lock = threading.RLock()
        self._syncing = None
        if self._users_fd >= 0:
            os.close(self._users_fd)
            self._users_fd = -1


def stop_server(folder: Folder, timeout: float) -> bool:
    """Stop the server in ``folder``; whether none runs any more.

    A server of another container cannot be signalled: its watcher stops it once
    users.lock is free, which is when we have returned, so we do not stay long.
    """
    deadline = time.monotonic() + timeout
    try:
        lock_fd = folder.open("server.lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return True
        raise
    try:
        stopped = try_exclusive(lock_fd)
        if not stopped:
            pid = postmaster(folder)
            if pid is None or not send_signal(pid, signal.SIGINT, folder):
                deadline = min(deadline, time.monotonic() + 1)
            stopped = wait_exclusive(lock_fd, deadline)
        if stopped:
            # Links to descriptors that the server had: who copies the directory
            # by following links would get errors.
            with contextlib.suppress(OSError):
                folder.remove_tree("ext")
    finally:
        os.close(lock_fd)
    if not stopped:
        _log.warning("the server in %s has not ended yet", folder.path)
    return stopped


# --- one Cluster for each directory and process ------------------------------

_registry: dict[tuple[int, int], Cluster] = {}
_registry_lock = threading.Lock()


def _reference(folder: Folder) -> Cluster:
    """The process's Cluster for this folder, with one reference more."""
    with _registry_lock:
        cluster = _registry.get(folder.key)
        if cluster is None:
            cluster = _registry[folder.key] = Cluster(folder)
        else:
            if cluster._folder is not folder:
                # Where it was opened last: the directory may have been moved.
                cluster._folder.path = folder.path
                folder.close()
        cluster._references += 1
        return cluster


def _same_place(folder: Folder) -> bool:
    """Whether the path still leads to the folder we have open."""
    try:
        status = os.stat(folder.path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == folder.key


def _open_or_create(directory: Path, create: bool) -> tuple[Folder, Plan | None]:
    plan: Plan | None = None
    while True:
        folder = open_folder(directory)
        if folder is not None:
            return folder, plan
        if not create:
            raise IndexNotFoundError(f"there is no index in {directory}")
        if not directory.is_dir():
            raise InvalidPathError(f"the directory {directory} does not exist")
        check_filesystem(directory)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise directory_error(
                directory, PermissionError(errno.EACCES, "no write permission")
            )
        from .plan import plan_new

        plan = plan_new(directory)
        create_folder(directory, plan.identity)


def _make_home(home: Path) -> None:
    """The directory that CHASSIS_HOME names, for its user alone."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise directory_error(home, error) from error


def acquire(directory: Path, *, create: bool = True, timeout: float = 60.0) -> Cluster:
    """The cluster of ``directory``, with a server that accepts connections.

    Starts it, or attaches to the one that runs; makes it when there is none and
    ``create`` says so, else IndexNotFoundError.  Each call is paired with one of
    Cluster.release().
    """
    deadline = time.monotonic() + timeout
    directory = Path(directory).absolute()
    home = effective_directory(directory)
    if create and os.environ.get("CHASSIS_HOME") and home != directory:
        _make_home(home)
    while True:
        try:
            folder, plan = _open_or_create(home, create)
        except OSError as error:
            raise directory_error(home, error) from error
        cluster = _reference(folder)
        try:
            with cluster._lock:
                cluster._enter(deadline, plan)
            if _same_place(cluster._folder):
                return cluster
        except OSError as error:
            moved = not _same_place(cluster._folder)
            cluster.release()
            if not moved:
                raise directory_error(home, error) from error
            continue
        except BaseException:
            cluster.release()
            raise
        # Removed and made anew while we were waiting for it.
        cluster.release()
        if time.monotonic() >= deadline:
            raise ServerError(f"{home / '.chassis'} keeps changing; try again")


def _after_fork_in_child() -> None:
    global _registry_lock
    _registry_lock = threading.Lock()
    for cluster in _registry.values():
        cluster._forget_locks()


os.register_at_fork(after_in_child=_after_fork_in_child)
