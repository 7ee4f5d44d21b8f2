"""What the tests share: directories, indexes, servers, other processes.

``CHASSIS_TEST_PG_BIN``       programs of a server that finds the extension
                              (default: what ``make python`` built,
                              with the installed server)
``CHASSIS_TEST_DATABASE_URL`` an existing server with the extension, for the
                              tests that need no more than a connection
``CHASSIS_TEST_PGVECTOR``     pgvector's source, built for the tests of that
                              engine (default: a wheel from PyPI that has it)

Nothing is skipped: what is missing makes the tests that need it fail.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import servers
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pychassis import VectorIndex, _embedded

Matrix = npt.NDArray[np.float32]

# The tests decide where an index lives, not the caller's environment.
for _name in list(os.environ):
    if _name.startswith("PG") or _name in ("CHASSIS_DATABASE_URL", "CHASSIS_HOME"):
        del os.environ[_name]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Numbers that are the same in every run and differ between tests."""
    seed = np.frombuffer(request.node.name.encode(), np.uint8)
    return np.random.default_rng(seed.tolist())


@pytest.fixture
def vectors(rng: np.random.Generator) -> Callable[[int, int], Matrix]:
    def make(count: int, dimensions: int) -> Matrix:
        return rng.standard_normal((count, dimensions)).astype(np.float32)

    return make


# --- directories and embedded indexes -----------------------------------------


def make_open_directory() -> Path:
    """A new directory that the server's user can enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="chassis-py-"))
    path.chmod(0o755)
    return path.resolve()


def server_processes(directory: Path) -> list[int]:
    """Every process whose current directory is inside ``directory``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            place = Path(os.readlink(entry / "cwd").removesuffix(" (deleted)"))
            if place.is_relative_to(directory):
                found.append(int(entry.name))
    return found


def wait_for_no_server(directory: Path) -> None:
    """A server whose users died stops by itself; one left over is a defect."""
    deadline = servers.Deadline(servers.PATIENCE)
    while left := server_processes(directory):
        assert not deadline.passed(), f"processes {left} still run in {directory}"


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory; afterwards no server may run in it."""
    path = make_open_directory()
    yield path
    wait_for_no_server(path)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def busy_directory() -> Iterator[Path]:
    """A directory whose server runs all the time, so that opening is cheap."""
    path = make_open_directory()
    keeper = VectorIndex(path / "keeper.chassis", dimensions=1)
    yield path
    keeper.close()
    # Handles that a test left open, and that a traceback may keep alive, share
    # this server: it would end with this process only.
    _embedded.stop(path, servers.PATIENCE)
    wait_for_no_server(path)
    shutil.rmtree(path)


_counter = iter(range(1, 1_000_000))


@pytest.fixture
def new_path(busy_directory: Path) -> Callable[[], Path]:
    return lambda: busy_directory / f"index{next(_counter)}.chassis"


@pytest.fixture
def path(new_path: Callable[[], Path]) -> Path:
    """The path of an index that does not exist yet, where opening is cheap."""
    return new_path()


@pytest.fixture
def index(path: Path) -> Iterator[VectorIndex]:
    """An empty index of three dimensions."""
    with VectorIndex(path, dimensions=3) as made:
        yield made


# --- existing servers -----------------------------------------------------------


@pytest.fixture(scope="session")
def programs(server_home: Path) -> Path:
    """The programs of a server that has the extension as if installed."""
    given = os.environ.get("CHASSIS_TEST_PG_BIN")
    if given:
        return Path(given)
    made = Path(__file__).parents[2] / "build" / "extension"
    majors = sorted((int(d.name) for d in made.glob("[0-9]*")), reverse=True)
    assert majors, f"no extension in {made}: run make python, or set the variable"
    return servers.stage(made / str(majors[0]), majors[0], server_home / "stage")


@pytest.fixture(scope="session")
def server_home() -> Iterator[Path]:
    """Where the private servers of this session live."""
    path = make_open_directory()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def private_server(
    programs: Path, server_home: Path
) -> Iterator[servers.PrivateServer]:
    """A server of our own, for tests that need roles, replicas or faults."""
    server = servers.PrivateServer(programs, server_home / "s")
    server.initialise().start()
    yield server
    server.stop("immediate")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> str:
    """Connection string of an existing server, with the extension."""
    given = os.environ.get("CHASSIS_TEST_DATABASE_URL")
    if given:
        return given
    private = request.getfixturevalue("private_server")
    name = private.create_database()
    private.execute("CREATE EXTENSION chassis", dbname=name)
    return str(private.conninfo(name))


@pytest.fixture
def database(private_server: servers.PrivateServer) -> str:
    """Connection string of a new, empty database, as superuser."""
    return private_server.conninfo(private_server.create_database())


@pytest.fixture
def as_role(database: str) -> Callable[[str], str]:
    """The connection string of ``database`` for another role."""

    def change(role: str) -> str:
        return make_conninfo("", **{**conninfo_to_dict(database), "user": role})

    return change


@pytest.fixture(scope="session")
def pgvector_server(
    programs: Path, server_home: Path
) -> Iterator[servers.PrivateServer]:
    """A server that has pgvector and has never heard of chassis."""
    home = servers_directory(server_home / "pgvector")
    source = os.environ.get("CHASSIS_TEST_PGVECTOR")
    if source:
        psql = programs / "psql"
        bindir = servers.build_pgvector(Path(source), psql.resolve().parent, home)
    else:
        bindir = servers.download_pgvector(home)
    server = servers.PrivateServer(bindir, server_home / "v")
    server.initialise().start()
    yield server
    server.stop("immediate")


def servers_directory(path: Path) -> Path:
    path.mkdir(mode=0o755)
    return path


# --- other processes --------------------------------------------------------------

PREAMBLE = """
import json, os, signal, sys
# a shell that starts the tests in the background has it ignored, nohup the other, and
# children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import numpy as np
from pychassis import *
from pychassis import VectorIndex
def say(value):
    print(json.dumps(value), flush=True)
"""


class Process:
    """A Python program of its own that reports by lines of JSON."""

    def __init__(self, code: str, *arguments: object, **environment: str) -> None:
        self.popen = subprocess.Popen(
            [
                *(sys.executable, "-c", PREAMBLE + textwrap.dedent(code)),
                *map(str, arguments),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def hear(self) -> Any:
        """The next thing it says."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            _, errors = self.popen.communicate(timeout=servers.PATIENCE)
            raise AssertionError(f"ended with {self.popen.returncode}: {errors}")
        return json.loads(line)

    def go_on(self) -> None:
        """Ends its ``input()``."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def end(self, expected: int = 0) -> str:
        """Waits for it; its standard error."""
        _, errors = self.popen.communicate(timeout=servers.PATIENCE)
        assert self.popen.returncode == expected, errors
        return errors

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate(timeout=servers.PATIENCE)


@pytest.fixture
def second_process() -> Iterator[Callable[..., Process]]:
    """Starts other Python processes, and leaves none behind."""
    started: list[Process] = []

    def start(code: str, *arguments: object, **environment: str) -> Process:
        started.append(Process(code, *arguments, **environment))
        return started[-1]

    yield start
    for process in started:
        if process.popen.poll() is None:
            process.kill()
        for stream in (
            process.popen.stdin,
            process.popen.stdout,
            process.popen.stderr,
        ):
            if stream is not None:
                stream.close()
