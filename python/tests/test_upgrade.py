"""What older versions left behind: their extension, and the format of their graphs.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from conftest import Process

from pychassis import (
    AsyncVectorIndex,
    IndexOptions,
    UpgradeRequiredError,
    VectorIndex,
    __version__,
    _embedded,
    _outdated,
)
from pychassis._embedded.plan import Plan
from pychassis._embedded.status import describe_programs
from pychassis._link import Link

Matrix = npt.NDArray[np.float32]
Make = Callable[[int, int], Matrix]
Start = Callable[..., Process]

RELEASED = Path(__file__).parents[2] / "test" / "upgrade"
VERSIONS = sorted(
    file.name.removeprefix("chassis--").removesuffix(".sql")
    for file in RELEASED.glob("chassis--*.sql")
)

MAGIC = 0x53484331
CHECKSUM_AT, BLOCK = 8, 8192


def plan_here(directory: Path) -> Plan:
    found = describe_programs(directory)
    assert isinstance(found, Plan), found
    return found


def log_of_builds(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage() for r in caplog.records if "building the graph anew" in r.msg
    ]


# --- the extension -------------------------------------------------------------------


def test_there_are_released_versions() -> None:
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_directory_of_an_older_version(
    version: str, directory: Path, vectors: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its extension is updated by the first who starts its server."""
    files = plan_here(directory).extension
    older = directory / "older"
    older.mkdir(mode=0o755)
    for file in files.library.glob("chassis*.so"):
        shutil.copy(file, older)
    shutil.copy(RELEASED / f"chassis--{version}.sql", older)
    control = older / "chassis.control"
    text = (files.share / "chassis.control").read_text()
    control.write_text(text.replace(f"'{__version__}'", f"'{version}'"))
    for file in older.iterdir():
        file.chmod(0o644)

    path, some = directory / "a.chassis", vectors(300, 8)
    with monkeypatch.context() as patch:
        patch.setenv("CHASSIS_LIB_PATH", str(older))
        with VectorIndex(path, 8, IndexOptions(build="eager")) as index:
            index.add_batch(some)
            index.flush()
            assert index.stats().engine_version == version
    with VectorIndex.open(path) as index:
        assert index.stats().engine_version == __version__
        assert index.sql_index is not None
        assert index.add(some[7]) == 300
        assert {each.id for each in index.search(some[7], k=2)} == {7, 300}
        assert index.recall(some[:50], k=5) > 0.9


# --- graphs --------------------------------------------------------------------------


def page_checksum(page: bytes, number: int) -> int:
    """PostgreSQL's checksum of a page, which stands in the page as zero."""
    seeds = [
        *(0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3),
        *(0x217E7CD2, 0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA),
        *(0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC),
        *(0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4),
        *(0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE),
        *(0xF2CA9FD3, 0x959BD756),
    ]
    sums = np.array(seeds, np.uint32)
    words = np.frombuffer(page, "<u4").reshape(-1, len(seeds))
    for row in (*words, *np.zeros((2, len(seeds)), np.uint32)):
        mixed = sums ^ row
        sums = (mixed * np.uint32(16777619)) ^ (mixed >> np.uint32(17))
    return int((int(np.bitwise_xor.reduce(sums)) ^ number) % 65535) + 1


def make_outdated(path: Path) -> None:
    """Lets the graph of a closed index say that it has the first format."""
    directory = path.parent
    with VectorIndex.open(path) as index, index.connection() as connection:
        row = connection.execute(
            "SELECT pg_relation_filepath(%s::regclass)", (index.sql_index,)
        ).fetchone()
        assert row is not None
    _embedded.stop(directory, 60)
    file = directory / ".chassis" / "data" / row[0]
    with open(file, "r+b") as graph:
        page = bytearray(graph.read(BLOCK))
        (stored,) = struct.unpack_from("<H", page, CHECKSUM_AT)
        struct.pack_into("<H", page, CHECKSUM_AT, 0)
        assert page_checksum(bytes(page), 0) == stored
        at = page.index(struct.pack("<I", MAGIC)) + 4
        struct.pack_into("<I", page, at, 1)
        struct.pack_into("<H", page, CHECKSUM_AT, page_checksum(bytes(page), 0))
        graph.seek(0)
        graph.write(page)


@pytest.fixture
def some(vectors: Make) -> Matrix:
    return vectors(300, 8)


@pytest.fixture
def outdated(directory: Path, some: Matrix) -> Path:
    """An index with a graph that the library refuses; no server runs."""
    path = directory / "a.chassis"
    with VectorIndex(path, 8, IndexOptions(build="eager")) as index:
        index.add_batch(some)
    make_outdated(path)
    return path


def search(index: VectorIndex, some: Matrix) -> None:
    assert index.search(some[3], k=1)[0].id == 3


def search_otherwise(index: VectorIndex, some: Matrix) -> None:
    assert index.search(some[3], k=1, ef_search=80)[0].id == 3


def search_many(index: VectorIndex, some: Matrix) -> None:
    assert index.search_batch(some[:20], k=1).ids[:, 0].tolist() == list(range(20))


def add_one(index: VectorIndex, some: Matrix) -> None:
    index.add(some[5])
    index.flush()


def add_many(index: VectorIndex, some: Matrix) -> None:
    index.add_batch(np.concatenate([some, some]))
    index.flush()


def replace(index: VectorIndex, some: Matrix) -> None:
    index.upsert([3], [some[4]])


def vacuum(index: VectorIndex, some: Matrix) -> None:
    index.vacuum()


def stats(index: VectorIndex, some: Matrix) -> None:
    assert index.stats().indexed


@pytest.mark.parametrize(
    "use",
    [
        *(search, search_otherwise, search_many, add_one, add_many, replace),
        *(vacuum, stats),
    ],
)
def test_an_outdated_graph_is_built_anew_by_who_uses_it(
    use: Callable[[VectorIndex, Matrix], None],
    outdated: Path,
    some: Matrix,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "pychassis")
    with VectorIndex.open(outdated) as index:
        use(index, some)
        assert len(log_of_builds(caplog)) == 1
        assert "has format 1" in caplog.text
        assert index.sql_index is not None
        assert index.recall(some[:50], k=5) > 0.9
        assert index.stats().details["graph"]["format"] != "1"
    assert len(log_of_builds(caplog)) == 1


def test_an_outdated_graph_and_readers_only(outdated: Path, some: Matrix) -> None:
    with VectorIndex.open(outdated, read_only=True) as index:
        search(index, some)
        assert index.sql_index is not None


def test_an_outdated_graph_does_not_hinder_what_needs_none(
    outdated: Path, some: Matrix, caplog: pytest.LogCaptureFixture
) -> None:
    with VectorIndex.open(outdated) as index:
        assert len(index) == 300
        assert np.array_equal(index.get(3), some[3])
        assert index.search(some[3], k=1, exact=True)[0].id == 3
        assert index.delete(3) == 1
        index.save(outdated.with_suffix(".zip"))
        assert log_of_builds(caplog) == []
        index.rebuild()
        assert index.search(some[4], k=1, ef_search=80)[0].id == 4
    assert log_of_builds(caplog) == []


def test_of_many_who_find_an_outdated_graph_one_builds_it(
    outdated: Path,
    some: Matrix,
    second_process: Start,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = second_process(
        """
        import logging
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        index = VectorIndex.open(sys.argv[1])
        say("open")
        input()
        say([index.search(index.get(i), k=1)[0].id for i in range(20)])
        """,
        outdated,
    )
    with VectorIndex.open(outdated) as index:
        assert other.hear() == "open"
        other.go_on()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: search(index, some), range(32)))
        assert other.hear() == list(range(20))
    theirs = other.end().count("building the graph anew")
    assert len(log_of_builds(caplog)) + theirs == 1


def test_an_outdated_graph_that_was_built_since_the_error(
    outdated: Path,
    some: Matrix,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = _outdated.build_anew

    def build_twice(link: Link, error: psycopg.Error) -> bool:
        return build(link, error) and build(link, error)

    monkeypatch.setattr(_outdated, "build_anew", build_twice)
    with VectorIndex.open(outdated) as index:
        search(index, some)
    assert len(log_of_builds(caplog)) == 1


def test_an_outdated_graph_through_asyncio(outdated: Path, some: Matrix) -> None:
    async def use() -> int:
        async with await AsyncVectorIndex.open(outdated) as index:
            return (await index.search(some[3], k=1))[0].id

    assert asyncio.run(use()) == 3


def test_on_a_given_server_the_owner_is_asked(
    outdated: Path, some: Matrix, caplog: pytest.LogCaptureFixture
) -> None:
    """Where others may be at work nothing is rebuilt behind their backs."""
    with VectorIndex.open(outdated) as keeper:
        with (
            VectorIndex.attach(keeper.dsn, keeper.table) as index,
            pytest.raises(UpgradeRequiredError, match=r"has format 1.*rebuild\(\)"),
        ):
            index.search(some[3])
        assert log_of_builds(caplog) == []
