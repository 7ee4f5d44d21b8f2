"""The embedded server when something goes wrong: kills, leftovers, full disks.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import servers
from conftest import Process, server_processes
from test_embedded import OTHER, execute, query, running, wait_until

from pychassis import (
    ServerError,
    StorageFullError,
    UpgradeRequiredError,
    VectorIndex,
    __version__,
)
from pychassis._embedded import Cluster, acquire, folder, server, status
from pychassis._embedded.plan import Plan
from pychassis._embedded.status import describe_programs

Start = Callable[..., Process]


@pytest.fixture
def cluster(directory: Path) -> Iterator[Cluster]:
    made = acquire(directory)
    execute(made, "CREATE TABLE t (n int)")
    yield made
    made.release()


def postmaster(directory: Path) -> int:
    found = status(directory)
    assert found is not None and found.pid is not None
    return found.pid


def kill_server(directory: Path) -> None:
    pid = postmaster(directory)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not running(directory), "backends outlive the postmaster")


# --- users and servers that die -----------------------------------------------------


def test_killed_users_do_not_leave_a_server(
    directory: Path, second_process: Start
) -> None:
    other = second_process(
        OTHER + "cluster = acquire(directory)\nsay(1)\ninput()", directory
    )
    other.hear()
    assert running(directory)
    other.kill()
    wait_until(lambda: not running(directory), "the watcher did not stop it")
    assert "no user is left" in (directory / ".chassis" / "log").read_text()


def test_a_killed_server_is_started_again(cluster: Cluster, directory: Path) -> None:
    execute(cluster, "INSERT INTO t VALUES (1)")
    kill_server(directory)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**cluster.conninfo())
    cluster.ensure_running()
    assert query(cluster, "SELECT n FROM t") == 1
    cluster.ensure_running()


def test_a_killed_backend(cluster: Cluster) -> None:
    """The server restarts itself; ensure_running() waits for that."""
    with psycopg.connect(**cluster.conninfo()) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    # The postmaster may not have noticed yet, and ends what connects meanwhile.
    deadline = servers.Deadline(servers.PATIENCE)
    count = None
    while count is None:
        assert not deadline.passed()
        cluster.ensure_running()
        with contextlib.suppress(psycopg.OperationalError):
            count = query(cluster, "SELECT count(*) FROM t")
    assert count == 0


def test_backends_too_busy_to_notice(cluster: Cluster, directory: Path) -> None:
    """They hold the lock after their postmaster died, until they are ended."""
    busy = psycopg.connect(**cluster.conninfo(), autocommit=True)
    execute(
        cluster,
        "CREATE FUNCTION spin() RETURNS int LANGUAGE plpgsql AS"
        " $$ DECLARE n float8 := 0; BEGIN"
        " FOR i IN 1..2000000000 LOOP n := n + 1; END LOOP; RETURN 1; END $$",
    )

    def spin() -> None:
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT spin()")

    thread = threading.Thread(target=spin)
    thread.start()
    # Until it computes; after a lock wait it would notice the postmaster's end.
    wait_until(
        lambda: (
            query(
                cluster,
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE state = 'active' AND query = 'SELECT spin()'",
            )
            == 1
        ),
        "the function does not run",
    )
    os.kill(postmaster(directory), signal.SIGKILL)
    cluster.ensure_running()
    assert query(cluster, "SELECT count(*) FROM t") == 0
    thread.join()
    busy.close()


def test_killed_while_the_cluster_is_made(
    directory: Path, second_process: Start
) -> None:
    other = second_process(
        OTHER + """
from pychassis._embedded import server
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
server._write_auto_conf = die
acquire(directory)
""",
        directory,
    )
    other.end(expected=-signal.SIGKILL)
    assert (directory / ".chassis" / "data.tmp").exists()
    cluster = acquire(directory)
    assert query(cluster, "SELECT 1") == 1
    assert not (directory / ".chassis" / "data.tmp").exists()
    cluster.release()


# --- what the dead leave behind --------------------------------------------------------


@pytest.mark.parametrize("kind", ["reused", "zombie"])
def test_stale_process_numbers(kind: str, cluster: Cluster, directory: Path) -> None:
    """PostgreSQL would believe that the process of that number is a server."""
    data = directory / ".chassis" / "data"
    record = (data / "postmaster.pid").read_text()
    kill_server(directory)
    zombie = subprocess.Popen(["true"])
    wait_until(
        lambda: Path(f"/proc/{zombie.pid}/stat").read_text().split()[2] == "Z",
        "no zombie",
    )
    number = os.getpid() if kind == "reused" else zombie.pid
    lines = [str(number), *record.splitlines()[1:]]
    (data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    (data / ".s.PGSQL.5432.lock").write_text(f"{number}\n")
    cluster.ensure_running()
    assert query(cluster, "SELECT 1") == 1
    zombie.wait()


def test_removed_lock_files(cluster: Cluster, directory: Path) -> None:
    """The watcher stops a server whose users it cannot see; then it comes back."""
    (directory / ".chassis" / "users.lock").unlink()
    wait_until(lambda: not running(directory), "the watcher did not stop it")
    cluster.ensure_running()
    assert query(cluster, "SELECT 1") == 1


def test_removed_directory(directory: Path) -> None:
    cluster = acquire(directory)
    # More than once: the server may make a file in between.
    while (directory / ".chassis").exists():
        subprocess.run(["rm", "-rf", directory / ".chassis"], stderr=subprocess.DEVNULL)
    with pytest.raises(ServerError, match="was removed while it was in use"):
        cluster.ensure_running()
    new = acquire(directory)
    assert new is not cluster
    assert query(new, "SELECT 1") == 1
    new.release()
    cluster.release()


def test_moved_directory(directory: Path) -> None:
    old, new = directory / "old", directory / "new"
    old.mkdir()
    cluster = acquire(old)
    execute(cluster, "CREATE TABLE t AS SELECT 5 AS n")
    old.rename(new)
    assert query(cluster, "SELECT n FROM t") == 5
    again = acquire(new)
    assert again is cluster
    again.release()
    cluster.release()
    cluster = acquire(new)
    assert query(cluster, "SELECT n FROM t") == 5
    cluster.release()


def test_moved_after_its_users_were_killed(
    directory: Path, second_process: Start
) -> None:
    """What a server that stopped by itself leaves leads nowhere, and is taken away."""
    old, new, copy = (directory / name for name in ("old", "new", "copy"))
    old.mkdir()
    other = second_process(
        """
        index = VectorIndex(sys.argv[1], dimensions=1)
        index.add([5])
        index.flush()
        say(1)
        input()
        """,
        old / "a.chassis",
    )
    other.hear()
    other.kill()
    wait_until(lambda: not running(old), "the watcher did not stop it")
    links = [path for path in old.rglob("*") if path.is_symlink()]
    # names of descriptors that the server had, to find the extension by
    assert all(os.readlink(link).startswith("/proc/self/fd/") for link in links)
    assert all(link.is_relative_to(old / ".chassis" / "ext") for link in links)
    old.rename(new)
    subprocess.run(["cp", "-a", new, copy], check=True)
    for place in (new, copy):
        with VectorIndex.open(place / "a.chassis") as index:
            assert index.search([5], k=1)[0].distance == 0
        assert not (place / ".chassis" / "ext").exists()


def test_copied_directory(directory: Path) -> None:
    old, new = directory / "old", directory / "new"
    old.mkdir()
    cluster = acquire(old)
    execute(cluster, "CREATE TABLE t AS SELECT 5 AS n")
    cluster.release()
    subprocess.run(["cp", "-a", old, new], check=True)
    cluster, copy = acquire(old), acquire(new)
    execute(copy, "UPDATE t SET n = 6")
    assert query(cluster, "SELECT n FROM t") == 5
    copy.release()
    cluster.release()


def test_data_that_was_never_synced(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a power failure in the first second of a cluster's life."""
    cluster = acquire(directory)
    cluster.wait_durable()
    old = cluster.uuid
    cluster.release()
    place = directory / ".chassis"
    (place / "durable").unlink()
    cluster = acquire(directory)
    assert cluster.uuid == old
    cluster.wait_durable()
    cluster.release()
    (place / "durable").unlink()
    text = (place / "cluster.json").read_text()
    (place / "cluster.json").write_text(text.replace(folder.boot_id(), "other"))
    cluster = acquire(directory)
    assert cluster.uuid != old
    assert "never synced" in caplog.text
    assert (place / "data.unsynced" / "PG_VERSION").exists()
    cluster.release()


def test_made_by_a_process_that_died_before_the_sync(cluster: Cluster) -> None:
    cluster.wait_durable()
    (cluster.path / "durable").unlink()
    cluster._durable = False
    cluster.wait_durable()
    assert (cluster.path / "durable").exists()


# --- servers that do not start -------------------------------------------------------------


def test_the_log_is_in_the_error(directory: Path) -> None:
    acquire(directory).release()
    settings = directory / ".chassis" / "data" / "postgresql.auto.conf"
    good = settings.read_text()
    settings.write_text(good + "no_such_setting = 1\n")
    with pytest.raises(ServerError, match="no_such_setting"):
        acquire(directory)
    settings.write_text(good)
    acquire(directory).release()


def test_a_panic_is_in_the_error(directory: Path) -> None:
    acquire(directory).release()
    control = directory / ".chassis" / "data" / "global" / "pg_control"
    control.write_bytes(bytes(len(control.read_bytes())))
    with pytest.raises(ServerError, match="(?s)ended while starting.*(PANIC|FATAL)"):
        acquire(directory)


def test_damaged_data(directory: Path) -> None:
    acquire(directory).release()
    (directory / ".chassis" / "data" / "PG_VERSION").write_text("?")
    with pytest.raises(Exception, match="PG_VERSION is missing or unreadable"):
        acquire(directory)


def test_data_of_another_major_version(directory: Path) -> None:
    acquire(directory).release()
    (directory / ".chassis" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(UpgradeRequiredError, match="made by PostgreSQL 9.*export"):
        acquire(directory)


def test_a_server_started_by_hand(
    cluster: Cluster, directory: Path, second_process: Start
) -> None:
    """It has no lock of ours; a second one would destroy the data."""
    kill_server(directory)
    data = directory / ".chassis" / "data"
    other = second_process(f"os.chdir({str(data)!r})\nsay(os.getpid())\ninput()")
    pid = other.hear()
    (data / "postmaster.pid").write_text(f"{pid}\n")
    with pytest.raises(ServerError, match=f"process {pid} is a server"):
        cluster.ensure_running()
    other.go_on()
    other.end()
    cluster.ensure_running()


def test_extension_that_is_not_known_here(cluster: Cluster, directory: Path) -> None:
    statement = "UPDATE pg_extension SET extversion = '{}' WHERE extname = 'chassis'"
    execute(cluster, statement.format("99"))
    kill_server(directory)
    with pytest.raises(UpgradeRequiredError, match=r"chassis 99.*Install the newer"):
        cluster.ensure_running()
    cluster.ensure_running()
    execute(cluster, statement.format(__version__))


def test_a_newer_extension_is_installed_at_the_start(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = acquire(directory)
    found = describe_programs(directory)
    assert isinstance(found, Plan)
    cluster.release()
    newer = directory / "newer"
    newer.mkdir(mode=0o755)
    for file in (
        *found.extension.share.glob("chassis*"),
        *found.extension.library.glob("chassis*.so"),
    ):
        shutil.copy(file, newer)
    control = newer / "chassis.control"
    control.write_text(control.read_text().replace(f"'{__version__}'", "'next'"))
    step = newer / f"chassis--{__version__}--next.sql"
    step.write_text("CREATE FUNCTION chassis_news() RETURNS int RETURN 1;\n")
    step.chmod(0o644)
    monkeypatch.setenv("CHASSIS_LIB_PATH", str(newer))
    cluster = acquire(directory)
    assert query(cluster, "SELECT chassis_news()") == 1
    assert query(cluster, "SELECT '[1]'::vector::text") == "[1]"
    cluster.release()


def test_a_full_disk_is_called_that() -> None:
    error = server._classified("x", "initdb: could not write: No space left on device")
    assert isinstance(error, StorageFullError)
    other = folder.directory_error(Path("/x"), OSError(28, "No space left on device"))
    assert isinstance(other, StorageFullError)


if os.geteuid() == 0:

    @pytest.fixture
    def small_disk(directory: Path) -> Iterator[Path]:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=45m", "none", directory], check=True
        )
        directory.chmod(0o755)
        yield directory
        subprocess.run(["umount", directory], check=True)

    def test_a_full_disk(small_disk: Path) -> None:
        filler = small_disk / "filler"
        filler.write_bytes(bytes(42 << 20))
        with pytest.raises(StorageFullError, match="No space left|free disk space"):
            acquire(small_disk)
        filler.unlink()
        cluster = acquire(small_disk)
        execute(cluster, "CREATE TABLE t AS SELECT 3 AS n")
        cluster.wait_durable()
        cluster.release()
        with open(filler, "wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        (small_disk / ".chassis" / "log").unlink()
        with pytest.raises(StorageFullError, match="No space left|free disk space"):
            acquire(small_disk).release()
        filler.unlink()
        cluster = acquire(small_disk)
        assert query(cluster, "SELECT n FROM t") == 3
        cluster.release()


def test_time_limit(cluster: Cluster, directory: Path, second_process: Start) -> None:
    """Somebody holds the lock, and no server comes."""
    kill_server(directory)
    other = second_process(
        OTHER + """
file = open(directory / ".chassis" / "server.lock")
fcntl.flock(file, fcntl.LOCK_EX)
say("locked")
input()
""",
        directory,
    )
    other.hear()
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"did not accept a connection in time.*log"):
        cluster.ensure_running(timeout=0.5)
    assert time.monotonic() - started < 30
    other.go_on()
    other.end()
    cluster.ensure_running()
    assert server_processes(directory)
