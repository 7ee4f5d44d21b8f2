"""Writing without a lease: as a role that may insert only, and to attached tables.

Every call is a transaction: what returned is stored, and what raised is not.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from conftest import Process

from pychassis import ChassisError, IndexLockedError, VectorIndex

Matrix = npt.NDArray[np.float32]
Make = Callable[[int, int], Matrix]
Start = Callable[..., Process]

GRANTS = """
DO $$ BEGIN
    CREATE ROLE inserter LOGIN;
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;
GRANT USAGE ON SCHEMA chassis_data TO inserter;
GRANT SELECT, INSERT, UPDATE, DELETE ON chassis_data.items TO inserter;
GRANT SELECT ON chassis_data.indexes TO inserter;
"""


def first(dsn: str, statement: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


@pytest.fixture
def owner(database: str) -> Iterator[VectorIndex]:
    with VectorIndex("items", 4, connection=database) as index:
        with psycopg.connect(database) as connection:
            connection.execute(GRANTS)
        yield index


@pytest.fixture
def dsn(owner: VectorIndex, as_role: Callable[[str], str]) -> str:
    return as_role("inserter")


@pytest.fixture
def index(dsn: str) -> Iterator[VectorIndex]:
    with VectorIndex("items", 4, connection=dsn) as made:
        yield made


def test_nothing_waits_for_a_flush(index: VectorIndex, database: str) -> None:
    assert index.add([1, 2, 3, 4]) == 0
    assert index.add([5, 6, 7, 8], id=10, metadata={"a": "ü"}) == 10
    assert index.add([0, 0, 0, 0]) == 11
    count = "SELECT count(*) FROM chassis_data.items"
    assert first(database, count) == 3
    assert len(index) == 3
    assert index.stats().buffered == 0
    assert index.discard() == []
    assert index.metadata(10) == {"a": "ü"}
    index.flush()
    assert first(database, count) == 3


def test_large_batches_and_their_answers(index: VectorIndex, vectors: Make) -> None:
    """Ids, vectors, documents and answers of 20,000 rows in blocks are the same."""
    rows = vectors(20_000, 4)
    documents = [{"n": n, "text": "x" * (n % 50)} for n in range(len(rows))]
    seen: list[int] = []
    ids = index.add_batch(
        rows,
        metadata=documents,
        batch_size=3000,
        progress=lambda done, total: seen.append(done),
    )
    assert ids.tolist() == list(range(len(rows)))
    assert seen[-1] == len(rows) and seen == sorted(seen)
    assert np.array_equal(index.get_many(ids), rows)
    assert index.metadata(19_999) == documents[19_999]
    queries = rows[::500]
    found = index.search_batch(queries, k=300, exact=True)
    for query, answer, away in zip(queries, found.ids, found.distances):
        truth = np.linalg.norm(rows.astype(np.float64) - query, axis=1)
        assert np.allclose(truth[answer], away, atol=1e-6)
        assert np.allclose(away, np.sort(truth)[:300], atol=1e-6)
    everything = index.search(rows[0], k=30_000, exact=True)
    assert sorted(each.id for each in everything) == list(range(len(rows)))
    assert index.delete_where({"n": {"$gte": 10_000}}) == 10_000
    assert len(index) == 10_000


def test_a_batch_is_refused_as_a_whole(index: VectorIndex, vectors: Make) -> None:
    rows = vectors(10, 4)
    index.add_batch(rows, ids=np.arange(100, 110))
    with pytest.raises(ValueError, match="in use"):
        index.add_batch(rows, ids=np.arange(91, 101))
    with pytest.raises(ValueError, match="in use"):
        index.add(rows[0], id=105)
    assert list(index) == list(range(100, 110))
    # the blocks before the refused one are in, as documented
    with pytest.raises(ValueError, match="in use"):
        index.add_batch(rows, ids=np.arange(95, 105), batch_size=5)
    assert list(index) == list(range(95, 110))


def test_changes(index: VectorIndex, vectors: Make) -> None:
    rows = vectors(5, 4)
    index.add_batch(rows, metadata=[{"n": n} for n in range(5)])
    index.upsert([1, 7], rows[:2])
    assert np.array_equal(index.get_many([1, 7]), rows[:2])
    assert (index.metadata(1), index.metadata(7)) == ({"n": 1}, None)
    index.upsert([1], rows[2:3], metadata=[{"n": "one"}])
    assert index.metadata(1) == {"n": "one"}
    assert index.delete([0, 99]) == 1
    index.set_metadata(2, {"n": 22})
    index.set_metadata(3, None)
    assert index.metadata(2) == {"n": 22} and index.metadata(3) is None
    with pytest.raises(KeyError):
        index.set_metadata(99, {})
    assert index.delete_where({"n": 4}) == 1
    assert list(index) == [1, 2, 3, 7]
    assert index.add(rows[0]) == 8


def test_the_holder_of_the_lease_goes_first(
    owner: VectorIndex, dsn: str, database: str
) -> None:
    """While one writer has ids reserved nobody may take the same ones."""
    assert owner.add([1, 1, 1, 1]) == 0
    with VectorIndex("items", 4, connection=dsn, timeout=0.3) as index:
        with pytest.raises(IndexLockedError, match="another process"):
            index.add([2, 2, 2, 2])
        owner.flush()
        id = index.add([2, 2, 2, 2])
        assert id == 1
        assert owner.add([3, 3, 3, 3]) == 2
        owner.flush()
        assert list(owner) == [0, 1, 2]
        assert len(owner) == len(index) == 3


def test_many_writers_at_once(
    owner: VectorIndex, dsn: str, second_process: Start
) -> None:
    """Threads of no two processes get the same id, and each is the vector's own."""
    code = """
        from concurrent.futures import ThreadPoolExecutor
        me = float(sys.argv[2])
        index = VectorIndex("items", 4, connection=sys.argv[1])
        with ThreadPoolExecutor(3) as threads:
            ids = list(threads.map(lambda n: index.add([me, n, 0, 0]), range(20)))
        ids += index.add_batch([[me, n, 0, 0] for n in range(20, 30)]).tolist()
        say(ids)
        os._exit(0)                         # no close: nothing is left to write
        """
    workers = [second_process(code, dsn, number) for number in range(3)]
    for number in range(20):
        owner.add([99, number, 0, 0])
        owner.flush()
    given = [worker.hear() for worker in workers]
    together = [id for ids in given for id in ids]
    assert len(set(together)) == 90
    for number, ids in enumerate(given):
        found = owner.get_many(ids)
        assert found[:, :2].tolist() == [[number, n] for n in range(30)]
    assert len(owner) == 110


def test_fork_in_the_middle(
    owner: VectorIndex, dsn: str, second_process: Start
) -> None:
    """Parent, child and grandchild go on, each over connections of its own."""
    process = second_process(
        """
        index = VectorIndex("items", 4, connection=sys.argv[1])
        ids = [index.add([0, 0, 0, 0])]
        def family(depth):
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                mine = [index.add([depth, n, 0, 0]) for n in range(3)]
                assert index.search([depth, 1, 0, 0], k=1)[0].id == mine[1]
                below = family(depth + 1) if depth < 3 else []
                os.write(writer, json.dumps(mine + below).encode())
                os._exit(0)
            os.close(writer)
            mine = [index.add([-depth, n, 0, 0]) for n in range(3)]
            with os.fdopen(reader) as pipe:
                theirs = json.loads(pipe.read())
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            return mine + theirs
        ids += family(1)
        say(sorted(ids))
        say(len(index))
        index.close()
        """,
        dsn,
    )
    assert process.hear() == list(range(1 + 3 * 6))
    assert process.hear() == 19
    process.end()


def test_a_lost_connection_writes_nothing_twice(
    index: VectorIndex, database: str
) -> None:
    index.add([1, 0, 0, 0])
    first(
        database,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE usename = 'inserter'",
    )
    # Whether it was written cannot be known, so that it is the caller's to repeat.
    with pytest.raises(ChassisError):
        index.add([2, 0, 0, 0])
    assert index.add([2, 0, 0, 0]) == 1
    assert index.get_many([0, 1])[:, 0].tolist() == [1, 2]
    assert len(index) == 2


# --- attached tables -------------------------------------------------------------------


@pytest.fixture
def table(database: str) -> str:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE EXTENSION chassis")
        connection.execute(
            "CREATE TABLE things (id bigserial PRIMARY KEY, embedding vector(4),"
            " about jsonb)"
        )
    return database


def test_ids_of_an_attached_table_come_from_its_default(
    table: str, vectors: Make
) -> None:
    rows = vectors(10_000, 4)
    first(table, "SELECT setval('things_id_seq', 500)")
    with VectorIndex.attach(table, "things", metadata_column="about") as index:
        assert index.add(rows[0], metadata={"n": 0}) == 501
        ids = index.add_batch(rows[1:])
        assert ids.tolist() == list(range(502, 502 + 9_999))
        assert np.array_equal(index.get_many(ids), rows[1:])
        # A sequence does not notice ids that somebody chooses.
        assert index.add(rows[0], id=5) == 5
        assert index.add(rows[0]) == 501 + 10_000
        assert len(index) == 10_002
    assert first(table, "SELECT count(*) FROM things WHERE about IS NULL") == 10_001


def test_an_attached_table_without_metadata(table: str) -> None:
    with VectorIndex.attach(table, "things") as index:
        index.add([1, 2, 3, 4])
        for refused in (
            lambda: index.add([1, 2, 3, 4], metadata={"a": 1}),
            lambda: index.upsert([1], [[1, 2, 3, 4]], metadata=[{"a": 1}]),
            lambda: index.set_metadata(1, {"a": 1}),
            lambda: index.delete_where({"a": 1}),
            lambda: index.search([1, 2, 3, 4], where={"a": 1}),
        ):
            with pytest.raises(ValueError, match="metadata"):
                refused()
        assert len(index) == 1
