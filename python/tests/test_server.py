"""Indexes on an existing server: every way to reach one, and every obstacle.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import psycopg_pool
import pytest
import servers
from conftest import Process
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pychassis import (
    ChassisError,
    DimensionMismatchError,
    IndexNotFoundError,
    IndexOptions,
    SearchResult,
    ServerError,
    VectorIndex,
)

Vectors = Callable[[int, int], npt.NDArray[np.float32]]


def execute(dsn: str, statement: str, *values: Any) -> list[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def exercise(open_index: Callable[[], VectorIndex], data: npt.NDArray[Any]) -> None:
    """What must work however the server is reached; data has 2,600 rows."""
    with open_index() as index:
        assert index.is_empty()
        assert [index.add(row) for row in data[:5]] == [0, 1, 2, 3, 4]
        assert index.search(data[3], k=1)[0].id == 3
        index.flush()
        assert index.add_batch(data[5:2500]).tolist() == list(range(5, 2500))
        index.flush()
        assert len(index) == 2500
        batch = index.search_batch(data[10:60], k=3)
        assert batch.ids[:, 0].tolist() == list(range(10, 60))
        assert index.add(data[2500]) == 2500
    with open_index() as index:
        assert len(index) == 2501
        assert index.search(data[2500], k=1)[0].id == 2500
        assert np.array_equal(index.get(7), data[7])
        assert index.delete([7, 8]) == 2
        index.upsert([9, 3000], data[2501:2503], metadata=[{"a": 1}, {"a": 2}])
        index.flush()
        assert len(index) == 2500
        found = index.search(data[2501], k=1, where={"a": 1}, with_metadata=True)
        assert [(r.id, r.metadata) for r in found] == [(9, {"a": 1})]
        # ids continue after the largest
        assert index.add(data[2503]) == 3001


@pytest.fixture
def data(vectors: Vectors) -> npt.NDArray[np.float32]:
    return vectors(2600, 16)


# --- ways to reach a server ---------------------------------------------------------


def test_connection_string(database: str, data: npt.NDArray[Any]) -> None:
    exercise(lambda: VectorIndex("items", 16, connection=database), data)


def test_environment(
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    data: npt.NDArray[Any],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("CHASSIS_DATABASE_URL", database)
    monkeypatch.chdir(tmp_path)
    exercise(lambda: VectorIndex("items.chassis", 16), data)
    assert list(tmp_path.iterdir()) == []


def test_postgres_variables_are_ignored(
    database: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script must not suddenly write to some production server."""
    info = psycopg.conninfo.conninfo_to_dict(database)
    for name, variable in (("host", "PGHOST"), ("dbname", "PGDATABASE")):
        monkeypatch.setenv(variable, str(info[name]))
    monkeypatch.setenv("PGUSER", "nobody_by_that_name")
    monkeypatch.setenv("PGOPTIONS", "-c no.such=1 -c default_transaction_read_only=on")
    with VectorIndex(path, dimensions=2) as index:
        index.add([1, 2])
    assert path.exists()
    assert execute(database, "SELECT to_regnamespace('chassis_data')") == [(None,)]


def test_pool(database: str, data: npt.NDArray[Any]) -> None:
    with psycopg_pool.ConnectionPool(database, min_size=1, max_size=4) as pool:
        exercise(lambda: VectorIndex("items", 16, connection=pool), data)
        # whatever was borrowed has been given back in order
        for _ in range(5):
            with pool.connection() as connection:
                status = connection.info.transaction_status
                assert status == psycopg.pq.TransactionStatus.IDLE
                row = connection.execute("SHOW application_name").fetchone()
                assert row is not None
                assert connection.execute("SELECT 1").fetchone() == (1,)
        assert pool.get_stats()["requests_num"] > 0


def test_callable(database: str, data: npt.NDArray[Any]) -> None:
    made: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        made.append(psycopg.connect(database))
        return made[-1]

    exercise(lambda: VectorIndex("items", 16, connection=connect), data)
    assert made
    assert all(connection.closed for connection in made)


def test_callable_that_fails(database: str) -> None:
    def connect() -> psycopg.Connection[Any]:
        raise RuntimeError("the vault is closed")

    with pytest.raises((ChassisError, RuntimeError)) as caught:
        VectorIndex("items", 3, connection=connect)
    assert "the vault is closed" in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("wrong", [7, object(), [], b"dsn"])
def test_connection_of_another_type(wrong: Any) -> None:
    with pytest.raises(TypeError, match="connection"):
        VectorIndex("items", 3, connection=wrong)


# --- a borrowed connection -----------------------------------------------------------


@pytest.fixture
def borrowed(database: str) -> Iterator[psycopg.Connection[Any]]:
    execute(database, "CREATE EXTENSION chassis")
    with psycopg.connect(database) as connection:
        yield connection


def test_borrowed_connection_in_autocommit(
    database: str, data: npt.NDArray[Any]
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        exercise(lambda: VectorIndex("items", 16, connection=connection), data)
        assert not connection.closed


def test_borrowed_connection_is_never_committed(
    database: str, borrowed: psycopg.Connection[Any]
) -> None:
    index = VectorIndex("items", 2, connection=borrowed)
    index.add([1, 2])
    index.flush()
    assert len(index) == 1
    assert index.search([1, 2], k=1) == [SearchResult(0, 0.0)]
    status = borrowed.info.transaction_status
    assert status == psycopg.pq.TransactionStatus.INTRANS
    # nobody else sees anything yet
    assert execute(database, "SELECT to_regnamespace('chassis_data')") == [(None,)]
    borrowed.commit()
    index.close()
    assert not borrowed.closed
    with VectorIndex("items", 2, connection=database) as other:
        assert len(other) == 1


def test_borrowed_connection_keeps_the_callers_work(
    database: str, borrowed: psycopg.Connection[Any]
) -> None:
    borrowed.execute("CREATE TABLE mine (x int)")
    borrowed.execute("INSERT INTO mine VALUES (1)")
    with VectorIndex("items", 2, connection=borrowed) as index:
        index.add([1, 2])
        with pytest.raises(DimensionMismatchError):
            index.add([1, 2, 3])
        index.flush()
        borrowed.execute("INSERT INTO mine VALUES (2)")
        index.search([1, 2])
    # closing has neither committed nor rolled back
    assert borrowed.execute("SELECT count(*) FROM mine").fetchone() == (2,)
    assert execute(database, "SELECT to_regclass('mine')") == [(None,)]
    borrowed.commit()
    assert execute(database, "SELECT count(*) FROM mine") == [(2,)]


def test_rollback_of_the_caller_is_noticed(
    borrowed: psycopg.Connection[Any],
) -> None:
    index = VectorIndex("items", 2, connection=borrowed)
    index.add([1, 2])
    index.flush()
    borrowed.commit()
    lost = [index.add([3, 4]), index.add([5, 6])]
    index.flush()
    borrowed.rollback()
    with pytest.raises(ChassisError) as caught:
        index.flush()
        index.add([7, 8])
        index.flush()
    for id_ in lost:
        assert str(id_) in str(caught.value)
    index.discard()
    assert len(index) == 1
    index.add([9, 9])
    index.flush()
    borrowed.commit()
    assert len(index) == 2
    index.close()


def test_borrowed_connection_in_a_transaction_block(
    borrowed: psycopg.Connection[Any],
) -> None:
    class Undo(Exception):
        pass

    with VectorIndex("items", 2, connection=borrowed) as index:
        index.add([1, 2])
        index.flush()
        borrowed.commit()
    with pytest.raises(Undo), borrowed.transaction():
        with VectorIndex("items", 2, connection=borrowed) as index:
            index.add([3, 4])
            index.flush()
            assert len(index) == 2
        raise Undo
    with VectorIndex("items", 2, connection=borrowed) as index:
        assert len(index) == 1


def test_borrowed_connection_keeps_its_row_factory_and_settings(
    database: str, borrowed: psycopg.Connection[Any]
) -> None:
    """A caller's dict_row, prepare_threshold, timeouts: untouched and no trap."""
    from psycopg.rows import dict_row

    borrowed.row_factory = dict_row
    borrowed.prepare_threshold = None
    borrowed.execute("SET statement_timeout = '77s'")
    with VectorIndex("items", 2, connection=borrowed) as index:
        index.add([1, 2], metadata={"a": [1]})
        index.flush()
        assert index.metadata(0) == {"a": [1]}
        assert index.search([1, 2], k=1) == [SearchResult(0, 0.0)]
        assert len(index.search_batch([[1, 2]], k=1)) == 1
    assert borrowed.row_factory is dict_row
    assert borrowed.prepare_threshold is None
    row = borrowed.execute("SHOW statement_timeout").fetchone()
    assert row == {"statement_timeout": "77s"}


def test_borrowed_connection_builds_no_index(
    borrowed: psycopg.Connection[Any], vectors: Vectors, caplog: Any
) -> None:
    with (
        caplog.at_level(logging.WARNING, logger="pychassis"),
        VectorIndex("items", 4, connection=borrowed) as index,
    ):
        index.add_batch(vectors(2500, 4))
        index.flush()
        assert index.sql_index is None
        assert len(index.search([0, 0, 0, 0], k=7)) == 7
    assert any("CREATE INDEX" in r.getMessage() for r in caplog.records)


def test_closed_connection(database: str) -> None:
    connection = psycopg.connect(database)
    connection.close()
    with pytest.raises(ChassisError):
        VectorIndex("items", 2, connection=connection)


# --- names, schemas, catalogue --------------------------------------------------------


def test_nothing_is_written_to_disk(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"dir/that/is/not/there/{os.getpid()}.chassis"
    with VectorIndex(name, 2, connection=server) as index:
        index.add([1, 2])
        assert index.path == Path(name)
        index.drop()
    assert list(tmp_path.iterdir()) == []


def test_names_that_give_the_same_table(database: str) -> None:
    names = ["a/items.chassis", "b/items.chassis", "items", "Items", "items.v2"]
    tables = set()
    for number, name in enumerate(names):
        with VectorIndex(name, 1, connection=database) as index:
            index.add([number])
            tables.add(str(index.table))
    assert len(tables) == len(names)
    for number, name in enumerate(names):
        with VectorIndex(name, 1, connection=database) as index:
            assert index.get(0).tolist() == [number]


@pytest.mark.parametrize(
    "name",
    ["it's", 'a"; DROP TABLE x; --', "x" * 500, "数据", "%s", "1", "$$", "select"],
)
def test_strange_names(database: str, name: str) -> None:
    with VectorIndex(name, 1, connection=database) as index:
        index.add([1])
    with VectorIndex.open(name, connection=database) as index:
        assert len(index) == 1
        index.rebuild()
        assert index.search([1], k=1) == [SearchResult(0, 0.0)]
        index.drop()
    with pytest.raises(IndexNotFoundError):
        VectorIndex.open(name, connection=database)


def test_schema_and_table(database: str) -> None:
    with VectorIndex(
        "items", 2, connection=database, schema="My Schema", table='odd "name"'
    ) as index:
        index.add([1, 2])
    query = 'SELECT count(*) FROM "My Schema"."odd ""name"""'
    assert execute(database, query) == [(1,)]


def test_schema_from_the_environment(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHASSIS_SCHEMA", "elsewhere")
    with VectorIndex("items", 2, connection=database) as index:
        index.add([1, 2])
    query = "SELECT count(*) FROM elsewhere.items"
    assert execute(database, query) == [(1,)]
    assert execute(database, "SELECT to_regnamespace('chassis_data')") == [(None,)]


def test_table_that_is_somebody_elses(database: str) -> None:
    """An existing table is not taken over, whatever its columns are."""
    execute(database, "CREATE SCHEMA s")
    execute(database, "CREATE TABLE s.items (id int)")
    with pytest.raises(ChassisError, match="items"):
        VectorIndex("items", 2, connection=database, schema="s", table="items")
    assert execute(database, "SELECT count(*) FROM s.items") == [(0,)]


def test_extension_in_another_schema(database: str, data: npt.NDArray[Any]) -> None:
    """Not on the search_path: everything the package says is qualified."""
    execute(database, "CREATE SCHEMA ext")
    execute(database, "CREATE EXTENSION chassis SCHEMA ext")
    exercise(lambda: VectorIndex("items", 16, connection=database), data)


@pytest.mark.parametrize("path", ["", "pg_catalog", "evil,public"])
def test_search_path_of_the_role(database: str, path: str) -> None:
    """A hostile or empty search_path neither breaks nor deceives it."""
    execute(database, "CREATE SCHEMA evil")
    execute(
        database,
        "CREATE FUNCTION evil.count(bigint) RETURNS bigint LANGUAGE sql"
        " AS 'SELECT 99::bigint'",
    )
    connection = make_conninfo(database, options=f"-c search_path={path}")
    connection = connection.replace("search_path= ", "search_path=''")
    with VectorIndex("items", 2, connection=connection) as index:
        index.add([1, 2])
        index.flush()
        assert len(index) == 1
        assert index.stats(exact=True).count == 1
        assert index.search([1, 2]) == [SearchResult(0, 0.0)]


# --- what a server may lack ------------------------------------------------------------------


def test_server_without_the_extension(
    server_home: Path, private_server: servers.PrivateServer
) -> None:
    """PostgreSQL as it comes: the message has the command that helps."""
    bindir = (private_server.bindir / "psql").resolve().parent
    bare = servers.PrivateServer(bindir, server_home / "bare")
    bare.initialise().start()
    try:
        [(count,)] = bare.execute(
            "SELECT count(*) FROM pg_available_extensions"
            " WHERE name IN ('chassis', 'vector')"
        )
        assert count == 0, "this server has one of the extensions"
        with pytest.raises(ChassisError) as caught:
            VectorIndex("items", 3, connection=bare.conninfo())
        assert "make install" in str(caught.value) or "install" in str(caught.value)
        assert "chassis" in str(caught.value)
        assert bare.execute("SELECT to_regnamespace('chassis_data')") == [(None,)]
    finally:
        bare.stop("immediate")


def test_extension_that_the_role_may_not_create(
    database: str, as_role: Callable[[str], str]
) -> None:
    execute(database, "CREATE ROLE weak1 LOGIN")
    with pytest.raises(ChassisError, match="CREATE EXTENSION"):
        VectorIndex("items", 3, connection=as_role("weak1"))


@pytest.mark.parametrize(
    "change",
    [
        {"host": "/nonexistent"},
        {"host": "127.0.0.1", "port": 1},
        {"dbname": "no_such_database"},
        {"user": "no_such_role"},
    ],
)
def test_server_that_cannot_be_reached(database: str, change: dict[str, Any]) -> None:
    dsn = make_conninfo(database, **change, connect_timeout=5)
    with pytest.raises(ServerError) as caught:
        VectorIndex("items", 3, connection=dsn, timeout=2)
    assert isinstance(caught.value.__cause__, psycopg.Error)


def test_reopen_with_other_dimensions(database: str) -> None:
    with VectorIndex("items", 3, connection=database):
        pass
    with pytest.raises(DimensionMismatchError):
        VectorIndex("items", 4, connection=database)


# --- roles ------------------------------------------------------------------------------------


@pytest.fixture
def prepared(database: str) -> str:
    """A database whose owner has made the index ``items``, with 2,500 rows."""
    rng = np.random.default_rng(5)
    with VectorIndex("items", 4, connection=database) as index:
        index.add_batch(rng.random((2500, 4), dtype=np.float32))
        index.flush()
        assert index.sql_index is not None
    return database


GRANTS = """
GRANT USAGE ON SCHEMA chassis_data TO {role};
GRANT SELECT, INSERT ON chassis_data.items TO {role};
GRANT SELECT, UPDATE ON chassis_data.indexes TO {role};
"""


def make_role(database: str, role: str, grants: str) -> None:
    execute(database, f"DROP ROLE IF EXISTS {role}")
    execute(database, f"CREATE ROLE {role} LOGIN")
    for statement in filter(str.strip, grants.format(role=role).split(";")):
        execute(database, statement)


def test_role_with_select_and_insert(
    prepared: str, as_role: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    make_role(prepared, "writer1", GRANTS)
    with VectorIndex("items", 4, connection=as_role("writer1")) as index:
        assert len(index) == 2500
        assert index.add([7, 7, 7, 7]) == 2500
        index.add_batch([[8, 8, 8, 8]], metadata=[{"a": 1}])
        index.flush()
        assert index.search([7, 7, 7, 7], k=1) == [SearchResult(2500, 0.0)]
        with pytest.raises(ChassisError, match="(?i)permission"):
            index.delete(0)
            index.flush()
        with pytest.raises(ChassisError, match="(?i)permission|owner"):
            index.drop()
    with VectorIndex("items", 4, connection=prepared) as index:
        assert len(index) == 2502


def test_role_that_may_not_build(
    database: str,
    as_role: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
    vectors: Vectors,
) -> None:
    """flush() of who does not own the table warns once, with the statement."""
    with VectorIndex("items", 4, connection=database):
        pass
    make_role(database, "writer2", GRANTS)
    with (
        caplog.at_level(logging.WARNING, logger="pychassis"),
        VectorIndex("items", 4, connection=as_role("writer2")) as index,
    ):
        for _ in range(2):
            index.add_batch(vectors(2500, 4))
            index.flush()
        assert index.sql_index is None
    warnings = [r for r in caplog.records if "CREATE INDEX" in r.getMessage()]
    assert len(warnings) == 1


def test_role_with_select_only(prepared: str, as_role: Callable[[str], str]) -> None:
    make_role(
        prepared,
        "reader1",
        "GRANT USAGE ON SCHEMA chassis_data TO {role};"
        "GRANT SELECT ON chassis_data.items, chassis_data.indexes TO {role};",
    )
    with VectorIndex.open(
        "items", connection=as_role("reader1"), read_only=True
    ) as index:
        assert len(index) == 2500
        assert len(index.search([0, 0, 0, 0], k=5)) == 5
        with pytest.raises(ChassisError, match="(?i)read.only"):
            index.add([1, 2, 3, 4])
    # without read_only it opens as well, and the first write is what fails
    with VectorIndex.open("items", connection=as_role("reader1")) as index:
        assert len(index.search([0, 0, 0, 0], k=5)) == 5
        with pytest.raises(ChassisError, match="(?i)permission"):
            index.add([1, 2, 3, 4])
            index.flush()
        index.discard()


def test_role_without_any_right(prepared: str, as_role: Callable[[str], str]) -> None:
    make_role(prepared, "stranger1", "")
    with pytest.raises(ChassisError) as caught:
        VectorIndex.open("items", connection=as_role("stranger1"))
    assert "permission" in str(caught.value).lower() or "GRANT" in str(caught.value)
    assert caught.value.sqlstate == "42501"


def test_row_level_security(
    prepared: str, as_role: Callable[[str], str], vectors: Vectors
) -> None:
    """COPY is refused there; rows arrive all the same, and policies hold."""
    make_role(prepared, "tenant1", GRANTS)
    execute(prepared, "ALTER TABLE chassis_data.items ENABLE ROW LEVEL SECURITY")
    execute(
        prepared,
        "CREATE POLICY p ON chassis_data.items TO tenant1"
        " USING (metadata->>'tenant' = 'one')"
        " WITH CHECK (metadata->>'tenant' = 'one')",
    )
    data = vectors(30, 4)
    with VectorIndex("items", 4, connection=as_role("tenant1")) as index:
        ids = index.add_batch(data, metadata=[{"tenant": "one"}] * 30)
        index.add(data[0] + 1, metadata={"tenant": "one"})
        index.flush()
        assert ids.tolist() == list(range(2500, 2530))
        assert {r.id for r in index.search(data[0], k=100)} == set(range(2500, 2531))
        with pytest.raises(KeyError):
            index.get(0)
        index.add(data[0], metadata={"tenant": "two"})
        with pytest.raises(ChassisError) as caught:
            index.flush()
        assert "polic" in str(caught.value) or "row-level" in str(caught.value)
        assert index.discard() == [2531]
    assert execute(prepared, "SELECT count(*) FROM chassis_data.items") == [(2531,)]


# --- standby and pooler -------------------------------------------------------------------


def test_hot_standby(
    private_server: servers.PrivateServer, server_home: Path, vectors: Vectors
) -> None:
    name = private_server.create_database()
    data = vectors(2500, 8)
    with VectorIndex("items", 8, connection=private_server.conninfo(name)) as index:
        index.add_batch(data)
        index.flush()
        standby = private_server.make_standby(server_home / "standby")
        try:
            index.add(data[0] * 3)
            index.flush()
            private_server.wait_for_replay(standby)
            check_standby(standby.conninfo(name), data)
        finally:
            standby.stop("immediate")


def check_standby(dsn: str, data: npt.NDArray[np.float32]) -> None:
    with VectorIndex("items", 8, connection=dsn, read_only=True) as index:
        assert len(index) == 2501
        assert index.search(data[5], k=1)[0].id == 5
        assert index.search(data[0] * 3, k=1)[0].id == 2500
        batch = index.search_batch(data[:20], k=2, threads=2)
        assert batch.ids[:, 0].tolist() == list(range(20))
        assert np.array_equal(index.get(9), data[9])
        assert index.stats().count == 2501
        with pytest.raises(ChassisError, match="(?i)read.only"):
            index.add(data[0])
    # the caller forgot read_only: reading works, writing says what is wrong
    with VectorIndex("items", 8, connection=dsn) as index:
        assert index.search(data[5], k=1)[0].id == 5
        with pytest.raises(ChassisError, match="(?i)read.only|recovery|standby"):
            index.add(data[0])
            index.flush()
    with pytest.raises(ChassisError, match="(?i)read.only|recovery|standby|not"):
        VectorIndex("absent", 8, connection=dsn)


@pytest.fixture(scope="module")
def bouncer(
    private_server: servers.PrivateServer, server_home: Path
) -> Iterator[servers.PgBouncer]:
    pooler = servers.PgBouncer(private_server, server_home / "b")
    yield pooler
    pooler.stop()


def test_pgbouncer_in_transaction_mode(
    bouncer: servers.PgBouncer,
    private_server: servers.PrivateServer,
    data: npt.NDArray[Any],
) -> None:
    dsn = bouncer.conninfo(private_server.create_database())
    exercise(lambda: VectorIndex("items", 16, connection=dsn), data)


def test_pgbouncer_leaves_nothing_in_the_session(
    bouncer: servers.PgBouncer, private_server: servers.PrivateServer, vectors: Vectors
) -> None:
    """Neither settings nor advisory locks nor statements that others meet."""
    name = private_server.create_database()
    data = vectors(50, 4)
    with VectorIndex("items", 4, connection=bouncer.conninfo(name)) as index:
        index.add_batch(data)
        index.flush()
        for _ in range(20):
            for row in data[:10]:
                index.search(row, k=3, ef_search=99)
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert private_server.execute(locks, dbname=name) == [(0,)]
        with psycopg.connect(bouncer.conninfo(name), autocommit=True) as other:
            for _ in range(4):
                found = other.execute(
                    "SELECT current_setting('chassis.ef_search', true)"
                ).fetchone()
                assert found is not None
                assert found[0] != "99"


def test_pgbouncer_with_two_writers(
    bouncer: servers.PgBouncer,
    private_server: servers.PrivateServer,
    second_process: Callable[..., Process],
) -> None:
    """The lease does not rest on a session that the pooler shares out."""
    dsn = bouncer.conninfo(private_server.create_database())
    with VectorIndex("items", 1, connection=dsn):
        pass
    workers = [
        second_process(
            """
            index = VectorIndex("items", 1, connection=sys.argv[1])
            ids = []
            for i in range(10):
                ids.append(index.add([float(sys.argv[2])]))
                index.flush()
            index.close()
            say(ids)
            """,
            dsn,
            number,
        )
        for number in range(2)
    ]
    heard = [worker.hear() for worker in workers]
    for worker in workers:
        worker.end()
    assert sorted(heard[0] + heard[1]) == list(range(20))


# --- faults of an existing server ------------------------------------------------------------


def test_server_restarted_mid_write(
    programs: Path, server_home: Path, vectors: Vectors
) -> None:
    """Crash of a server that is not ours to start: retry, keep, report."""
    server = servers.PrivateServer(programs, server_home / "crash")
    server.initialise(fsync="on").start()
    data = vectors(300, 4)
    try:
        index = VectorIndex("items", 4, connection=server.conninfo(), timeout=5)
        for row in data[:100]:
            index.add(row)
        index.flush()
        for row in data[100:200]:
            index.add(row)
        server.stop("immediate")
        with pytest.raises(ServerError):
            index.search(data[0])
        with pytest.raises(ServerError):
            index.flush()
        server.start()
        assert index.search(data[0], k=1) == [SearchResult(0, 0.0)]
        index.flush()
        for row in data[200:]:
            index.add(row)
        index.close()
        with VectorIndex.open("items", connection=server.conninfo()) as again:
            assert len(again) == 300
            assert again.search_batch(data, k=1).ids[:, 0].tolist() == list(range(300))
    finally:
        server.stop("immediate")


def test_connections_killed_by_the_administrator(
    private_server: servers.PrivateServer, vectors: Vectors
) -> None:
    name = private_server.create_database()
    data = vectors(40, 4)
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        f" WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    )
    with VectorIndex("items", 4, connection=private_server.conninfo(name)) as index:
        ids = []
        for number, row in enumerate(data):
            ids.append(index.add(row))
            if number % 10 == 5:
                private_server.execute(kill)
                assert index.search(data[0], k=1) == [SearchResult(0, 0.0)]
            if number % 10 == 8:
                private_server.execute(kill)
                index.flush()
        assert ids == list(range(40))
    with VectorIndex.open("items", connection=private_server.conninfo(name)) as index:
        assert index.search_batch(data, k=1).ids[:, 0].tolist() == ids


def test_lost_lease_writes_nothing(database: str) -> None:
    """Whoever takes the lease shuts the former writer out, by number."""
    index = VectorIndex("items", 1, connection=database)
    index.add([1])
    index.flush()
    index.add([2])
    execute(
        database,
        "UPDATE chassis_data.indexes SET epoch = epoch + 1,"
        " holder = gen_random_uuid(), holder_lock = NULL,"
        " lease_until = now() + interval '10 seconds'",
    )
    from pychassis import IndexLockedError

    with pytest.raises(IndexLockedError):
        index.flush()
    assert execute(database, "SELECT count(*) FROM chassis_data.items") == [(1,)]
    # the buffer was kept, and discard() gives its ids
    assert index.discard() == [1]
    index.close()


def test_table_dropped_behind_its_back(database: str) -> None:
    index = VectorIndex("items", 2, connection=database)
    index.add([1, 2])
    index.flush()
    execute(database, "DROP TABLE chassis_data.items")
    with pytest.raises(IndexNotFoundError) as caught:
        index.search([1, 2])
    assert caught.value.sqlstate == "42P01"
    # closing may say so once more, and closes
    with contextlib.suppress(IndexNotFoundError):
        index.close()
    assert index.closed


def test_too_many_connections(private_server: servers.PrivateServer) -> None:
    """SQLSTATE 53300 is waited out: another thread will give one back."""
    from concurrent.futures import ThreadPoolExecutor

    name = private_server.create_database()
    with VectorIndex("items", 1, connection=private_server.conninfo(name)) as index:
        for i in range(20):
            index.add([i])
        index.flush()
    role = f"limited_{name}"
    private_server.execute(
        f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2",
        *(s for s in GRANTS.format(role=role).split(";") if s.strip()),
        dbname=name,
    )
    dsn = private_server.conninfo(name, user=role)
    with (
        VectorIndex.open("items", connection=dsn) as index,
        ThreadPoolExecutor(8) as executor,
    ):
        found = executor.map(lambda i: index.search([i], k=1)[0].id, range(20))
        assert list(found) == list(range(20))


# --- attach() -------------------------------------------------------------------------------


@pytest.fixture
def documents(database: str, vectors: Vectors) -> str:
    execute(database, "CREATE EXTENSION chassis")
    execute(
        database,
        "CREATE TABLE documents (doc int PRIMARY KEY, title text NOT NULL DEFAULT '',"
        " v vector(3) NOT NULL, extra jsonb, added timestamptz DEFAULT now())",
    )
    for i in range(5):
        execute(
            database,
            "INSERT INTO documents (doc, title, v, extra) VALUES (%s, %s, %s, %s)",
            10 + i,
            f"title {i}",
            f"[{i},0,0]",
            f'{{"n": {i}}}',
        )
    return database


DESCRIPTION = sql.SQL(
    "SELECT array_agg((a.attname, a.atttypid, a.attnum, a.attstorage)::text"
    " ORDER BY a.attnum), (SELECT array_agg(indexrelid::regclass::text ORDER BY 1)"
    " FROM pg_index WHERE indrelid = 'documents'::regclass), (SELECT reltuples"
    " >= -1 FROM pg_class WHERE oid = 'documents'::regclass)"
    " FROM pg_attribute a WHERE attrelid = 'documents'::regclass"
).as_string(None)


def test_attach(documents: str) -> None:
    before = execute(documents, DESCRIPTION)
    with VectorIndex.attach(
        documents, "documents", column="v", id_column="doc", metadata_column="extra"
    ) as index:
        assert index.dimensions == 3
        assert len(index) == 5
        assert index.search([3, 0, 0], k=1) == [SearchResult(13, 0.0)]
        [found] = index.search([0, 0, 0], k=1, where={"n": 4}, with_metadata=True)
        assert (found.id, found.metadata) == (14, {"n": 4})
        assert index.get(12).tolist() == [2, 0, 0]
        with pytest.raises(DimensionMismatchError):
            index.search([1, 2])
        with pytest.raises(ChassisError):
            index.drop()
    assert execute(documents, DESCRIPTION) == before
    assert execute(documents, "SELECT to_regnamespace('chassis_data')") == [(None,)]


def test_attach_sees_rows_of_others(documents: str) -> None:
    with VectorIndex.attach(documents, "documents", "v", "doc") as index:
        execute(documents, "INSERT INTO documents (doc, v) VALUES (99, '[9,9,9]')")
        assert index.search([9, 9, 9], k=1) == [SearchResult(99, 0.0)]
        execute(documents, "DELETE FROM documents WHERE doc = 99")
        assert len(index) == 5


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nowhere", "v", "doc"), "nowhere"),
        (("documents", "w", "doc"), "w"),
        (("documents", "title", "doc"), "title"),
        (("documents", "v", "nope"), "nope"),
        (('documents"; DROP TABLE documents; --', "v", "doc"), "DROP"),
    ],
)
def test_attach_to_what_is_not_there(
    documents: str, arguments: tuple[str, str, str], word: str
) -> None:
    with pytest.raises(ChassisError) as caught:
        VectorIndex.attach(documents, *arguments)
    assert word in str(caught.value)
    assert execute(documents, "SELECT count(*) FROM documents") == [(5,)]


def test_options_on_a_server(database: str, vectors: Vectors) -> None:
    options = IndexOptions(max_connections=8, ef_construction=64, ef_search=33)
    with VectorIndex("items", 4, options, connection=database) as index:
        index.add_batch(vectors(2100, 4))
        index.flush()
        [(definition,)] = execute(
            database, f"SELECT pg_get_indexdef('{index.sql_index}'::regclass)"
        )
    for word in ("m='8'", "ef_construction='64'", "ef_search='33'"):
        assert word in definition
