"""The embedded server: started on demand, shared, stopped, and nothing left over.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import servers
from conftest import Process, server_processes

from pychassis import IndexNotFoundError, InvalidPathError, ServerError
from pychassis._embedded import Cluster, acquire, identity, status, stop

Start = Callable[..., Process]

# What the other processes of these tests begin with.
OTHER = """
from pathlib import Path
import fcntl, time
from pychassis._embedded import acquire, status
directory = Path(sys.argv[1])
"""


def query(cluster: Cluster, statement: str) -> Any:
    """The first value of the first row; committed."""
    with psycopg.connect(**cluster.conninfo()) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


def execute(cluster: Cluster, statement: str) -> None:
    with psycopg.connect(**cluster.conninfo()) as connection:
        connection.execute(statement)


def running(directory: Path) -> bool:
    found = status(directory)
    return found is not None and found.running


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = servers.Deadline(servers.PATIENCE)
    while not condition():
        assert not deadline.passed(), what


@pytest.fixture
def cluster(directory: Path) -> Iterator[Cluster]:
    """A new cluster with a running server."""
    made = acquire(directory)
    yield made
    made.release()


def test_one_life(directory: Path) -> None:
    assert status(directory) is None
    cluster = acquire(directory)
    assert query(cluster, "SELECT '[1,2]'::vector::text") == "[1,2]"
    cluster.wait_durable()
    found = status(directory)
    assert found is not None
    assert (found.running, found.in_use, found.uuid) == (True, True, cluster.uuid)
    assert found.pid in server_processes(directory)
    execute(cluster, "CREATE TABLE t AS SELECT 7 AS n")
    cluster.release()
    # Synchronously: the caller may remove the directory now.
    assert server_processes(directory) == []
    found = status(directory)
    assert found is not None
    assert (found.running, found.in_use, found.pid) == (False, False, None)
    assert {entry.name for entry in directory.iterdir()} == {".chassis"}

    again = acquire(directory, create=False)
    assert again.uuid == found.uuid
    assert query(again, "SELECT n FROM t") == 7
    again.release()
    shutil.rmtree(directory / ".chassis")


def test_one_object_for_each_process(cluster: Cluster, directory: Path) -> None:
    same = acquire(directory)
    assert same is cluster
    same.release()
    assert query(cluster, "SELECT 1") == 1
    link = directory / "link"
    link.symlink_to(directory)
    same = acquire(link)
    assert same is cluster
    same.release()


def test_shared_by_processes(
    cluster: Cluster, directory: Path, second_process: Start
) -> None:
    other = second_process(
        OTHER + """
cluster = acquire(directory)
say(status(directory).pid)
input()
cluster.release()
say(status(directory).running)
""",
        directory,
    )
    found = status(directory)
    assert found is not None
    assert other.hear() == found.pid
    extra = acquire(directory)
    extra.release()
    other.go_on()
    assert other.hear() is True
    other.end()


def test_the_last_of_many_processes_stops_it(
    directory: Path, second_process: Start
) -> None:
    """All at once into a new directory: one of them makes it, all can use it."""
    code = OTHER + """
cluster = acquire(directory)
say(cluster.uuid)
input()
cluster.release()
"""
    others = [second_process(code, directory) for _ in range(5)]
    assert len({other.hear() for other in others}) == 1
    for other in others:
        assert running(directory)
        other.go_on()
        other.end()
    assert server_processes(directory) == []


def test_what_the_server_leaves_outside(cluster: Cluster, directory: Path) -> None:
    """Its socket, files and temporary files are all in the directory."""
    assert (directory / ".chassis" / "data" / ".s.PGSQL.5432").exists()
    for name in ("listen_addresses", "external_pid_file"):
        assert query(cluster, f"SHOW {name}") == ""
    places = {
        os.path.realpath(f"/proc/{pid}/cwd") for pid in server_processes(directory)
    }
    assert places == {str(directory / ".chassis" / "data")}
    assert len(server_processes(directory)) <= 6


def test_settings(cluster: Cluster) -> None:
    expected = {
        "fsync": "on",
        "full_page_writes": "on",
        "wal_segment_size": "1MB",
        "data_checksums": "on",
        "wal_level": "minimal",
        "log_min_error_statement": "panic",
        "unix_socket_directories": ".",
        "shared_preload_libraries": "chassis_embedded",
    }
    assert {name: query(cluster, f"SHOW {name}") for name in expected} == expected


def test_an_empty_directory_is_small(cluster: Cluster, directory: Path) -> None:
    cluster.wait_durable()
    used = subprocess.run(
        ["du", "-sm", directory], capture_output=True, text=True, check=True
    )
    assert int(used.stdout.split()[0]) <= 34


ODD_NAMES = {
    "quotes and a command": 'it\'s "q" $(touch PWNED)',
    "backquotes": "`touch PWNED`",
    "line break": "two\nlines",
    "percent and colon": "100%:s",
    "backslash": "back\\slash",
    "not UTF-8": os.fsdecode(b"\xff\xfe"),
    "longer than a socket's path": "/".join(["x" * 200] * 5),
}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_directories(
    name: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    place = directory / ODD_NAMES[name]
    place.mkdir(parents=True)
    cluster = acquire(place)
    assert query(cluster, "SELECT 1") == 1
    cluster.release()
    assert not list(directory.rglob("PWNED"))
    assert not Path("/PWNED").exists()


def test_the_environment_leads_nowhere_else(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOSTADDR": "192.0.2.1",
        "PGHOST": "example.invalid",
        "PGPORT": "1",
        "PGDATABASE": "other",
        "PGUSER": "other",
        "PGOPTIONS": "-c statement_timeout=1",
        "PGSSLMODE": "require",
        "PGTARGETSESSIONATTRS": "standby",
        "PGCLIENTENCODING": "LATIN1",
    }.items():
        monkeypatch.setenv(name, value)
    assert query(cluster, "SHOW statement_timeout") == "0"
    assert query(cluster, "SELECT 'ä'") == "ä"


def test_no_password_and_no_place_of_its_own_in_repr(cluster: Cluster) -> None:
    assert repr(cluster) == f"<Cluster in {cluster.path}>"
    assert cluster.log.parent == cluster.path
    assert (cluster.socket_directory / "PG_VERSION").exists()


# --- where it cannot be -----------------------------------------------------------


def test_directories_that_will_not_do(directory: Path) -> None:
    file = directory / "file"
    file.touch()
    with pytest.raises(InvalidPathError, match="does not exist"):
        acquire(directory / "none")
    with pytest.raises(InvalidPathError, match="not a directory"):
        acquire(file)
    with pytest.raises(IndexNotFoundError, match="no index in"):
        acquire(directory, create=False)
    (directory / ".chassis").touch()
    with pytest.raises(InvalidPathError, match="cannot open"):
        acquire(directory)
    assert {entry.name for entry in directory.iterdir()} == {"file", ".chassis"}


def test_stop_without_a_cluster(directory: Path) -> None:
    with pytest.raises(IndexNotFoundError):
        stop(directory)


def test_one_cluster_for_all_directories(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = directory / "my" / "home", directory / "here"
    here.mkdir()
    monkeypatch.setenv("CHASSIS_HOME", str(home))
    cluster = acquire(here)
    assert cluster.directory == home
    assert list(here.iterdir()) == []
    cluster.release()


# --- forks --------------------------------------------------------------------------


def test_a_forked_child_holds_its_own_share(
    cluster: Cluster, directory: Path, second_process: Start
) -> None:
    other = second_process(
        OTHER + """
import psycopg
cluster = acquire(directory)
child = os.fork()
if child == 0:
    with psycopg.connect(**cluster.conninfo()) as connection:
        say(connection.execute("SELECT 41 + 1").fetchone()[0])
    input()
    cluster.release()
    say("released")
    os._exit(0)
cluster.release()
os.waitpid(child, 0)
""",
        directory,
    )
    assert other.hear() == 42
    cluster_again = acquire(directory)
    cluster_again.release()
    assert running(directory)
    other.go_on()
    assert other.hear() == "released"
    other.end()
    assert query(cluster, "SELECT 1") == 1


def test_a_child_that_does_nothing_holds_nothing(
    directory: Path, second_process: Start
) -> None:
    other = second_process(
        OTHER + """
cluster = acquire(directory)
child = os.fork()
if child == 0:
    time.sleep(600)
cluster.release()
say(status(directory).running)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
""",
        directory,
    )
    assert other.hear() is False
    other.end()


# --- staying on ------------------------------------------------------------------------


def test_linger(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHASSIS_LINGER", "3")
    cluster = acquire(directory)
    cluster.release()
    found = status(directory)
    assert found is not None
    assert found.running and not found.in_use
    again = acquire(directory)
    now = status(directory)
    assert now is not None and now.pid == found.pid
    again.release()
    wait_until(lambda: not running(directory), "the watcher did not stop it")


def test_being_told_to_stop(cluster: Cluster, directory: Path) -> None:
    assert stop(directory)
    assert not running(directory)
    cluster.ensure_running()
    assert query(cluster, "SELECT 1") == 1


def test_a_stop_that_lasts(directory: Path, second_process: Start) -> None:
    """Whoever comes while the server is stopped waits, and says why if in vain."""
    acquire(directory).release()
    other = second_process(
        OTHER + """
file = open(directory / ".chassis" / "users.lock")
fcntl.flock(file, fcntl.LOCK_EX)
say("locked")
input()
""",
        directory,
    )
    other.hear()
    with pytest.raises(ServerError, match="being stopped"):
        acquire(directory, timeout=0.3)
    other.go_on()
    other.end()
    acquire(directory).release()


def test_the_watcher_is_for_private_servers_only(server: str) -> None:
    with psycopg.connect(server) as connection:
        with pytest.raises(
            psycopg.errors.ObjectNotInPrerequisiteState,
            match="shared_preload_libraries",
        ):
            connection.execute("LOAD 'chassis_embedded'")


# --- users -------------------------------------------------------------------------------

if os.geteuid() == 0:

    @pytest.fixture
    def no_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(identity, "_named", lambda name: None)

    def test_root_where_only_root_can_enter(directory: Path) -> None:
        directory.chmod(0o700)
        cluster = acquire(directory)
        assert query(cluster, "SELECT 1") == 1
        assert (directory / ".chassis").stat().st_uid != 0
        cluster.release()

    @pytest.mark.usefixtures("no_postgres")
    def test_root_without_any_other_user(directory: Path) -> None:
        """A user namespace, in which root's files belong to nobody."""
        directory.chmod(0o700)
        cluster = acquire(directory)
        assert query(cluster, "SELECT 1") == 1
        assert (directory / ".chassis").stat().st_uid == 0
        cluster.release()
        cluster = acquire(directory)
        assert query(cluster, "SELECT 1") == 1
        cluster.release()

    def test_root_in_the_directory_of_a_nameless_user(directory: Path) -> None:
        os.chown(directory, 54321, 54321)
        cluster = acquire(directory)
        assert query(cluster, "SELECT 1") == 1
        assert (directory / ".chassis").stat().st_uid == 54321
        cluster.release()

    def test_ordinary_user_and_the_cluster_of_another(
        directory: Path, second_process: Start
    ) -> None:
        acquire(directory).release()
        code = f"""
        import os
        from pychassis._embedded.folder import open_folder
        from pathlib import Path
        os.setuid(65534)
        try:
            open_folder(Path({str(directory)!r}))
        except Exception as error:
            print(type(error).__name__, error)
        """
        said = subprocess.run(
            [sys.executable, "-c", "import pychassis\n" + textwrap.dedent(code)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "InvalidPathError" in said.stdout
        assert "by their owner" in said.stdout
