"""The server and the databases that the tests of clients share.

``CHASSIS_TEST_PG_BIN``          programs of a server that finds chassis and its
                                 alias "vector"; tools/test.sh makes and names it
``CHASSIS_CLIENTS_REFERENCE``    pgvector's source: build it and run the same tests
                                 against pgvector, which shows that they are true

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from databases import Database, Server

# A client reads these by itself; a test decides where it goes.  And none may call
# home: Haystack and LlamaIndex would.
for _name in list(os.environ):
    if _name.startswith("PG"):
        del os.environ[_name]
os.environ.update(
    HAYSTACK_TELEMETRY_ENABLED="False",
    ANONYMIZED_TELEMETRY="False",
    DO_NOT_TRACK="1",
    LANGCHAIN_TRACING_V2="false",
    LANGSMITH_TRACING="false",
)


REFERENCE = os.environ.get("CHASSIS_CLIENTS_REFERENCE")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leaves out, against pgvector itself, the tests of what only chassis has."""
    if REFERENCE:
        ours = [item for item in items if item.get_closest_marker("ours")]
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A directory that the server's user can enter, with a short name."""
    path = Path(tempfile.mkdtemp(prefix="chassis-clients-")).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def installed_programs() -> Path:
    config = shutil.which(os.environ.get("PG_CONFIG", "pg_config"))
    assert config, "no pg_config; set PG_CONFIG"
    return Path(subprocess.check_output([config, "--bindir"], text=True).strip())


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Server]:
    if REFERENCE:
        place = home / "pgvector"
        place.mkdir(mode=0o755)
        bindir = servers.build_pgvector(Path(REFERENCE), installed_programs(), place)
    else:
        given = os.environ.get("CHASSIS_TEST_PG_BIN")
        assert given, "run make check-clients, or set CHASSIS_TEST_PG_BIN"
        bindir = Path(given)
    made = Server(bindir, home / "s", is_reference=bool(REFERENCE))
    yield made
    made.stop()


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """A new database, in which the client still has to create the extension."""
    made = server.database()
    yield made
    server.drop(made)
