"""Faults around an embedded index: servers, disks and garbage collection.

What is common to all: the exception is a ``ChassisError`` that says why, and
no row that a flush() acknowledged is ever missing afterwards.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import subprocess
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import servers
from conftest import Process, server_processes

from pychassis import ChassisError, SearchResult, VectorIndex

NewPath = Callable[[], Path]


def postmaster(directory: Path) -> int:
    """The process id of the server that belongs to the directory."""
    file = directory / ".chassis" / "data" / "postmaster.pid"
    return int(file.read_text().splitlines()[0])


def kill_server(directory: Path) -> None:
    """A crash: the server and all its children end without a word."""
    processes = server_processes(directory)
    assert postmaster(directory) in processes
    for process in [postmaster(directory), *processes]:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass


# --- the server goes away --------------------------------------------------------


def test_server_killed_between_calls(directory: Path) -> None:
    with VectorIndex(directory / "a.chassis", dimensions=2) as index:
        for i in range(10):
            index.add([i, i])
        index.flush()
        for _ in range(3):
            kill_server(directory)
            assert index.search([3, 3], k=1) == [SearchResult(3, 0.0)]
            assert len(index) == 10
        kill_server(directory)
        assert index.add([10, 10]) == 10
        index.flush()
        assert len(index) == 11
    with VectorIndex.open(directory / "a.chassis") as index:
        assert sorted(index) == list(range(11))


def test_server_killed_with_rows_not_flushed(directory: Path) -> None:
    """They arrive, or the flush says that they did not; ids are not reused."""
    path = directory / "a.chassis"
    index = VectorIndex(path, dimensions=1)
    for i in range(100):
        index.add([i])
    index.flush()
    ids = [index.add([1000 + i]) for i in range(50)]
    assert len(index) == 150  # spills: they are in the server, not on disk
    ids += [index.add([2000 + i]) for i in range(50)]
    kill_server(directory)
    try:
        index.flush()
        complete = True
    except ChassisError as error:
        complete = False
        assert any(str(i) in str(error) for i in (ids[0], ids[49])), error
    after = index.add([9999])
    assert after not in ids
    assert after >= 100
    index.close()
    with VectorIndex.open(path) as again:
        for i in range(100):
            assert again.get(i).tolist() == [i]
        if complete:
            wanted = [1000 + i for i in range(50)] + [2000 + i for i in range(50)]
            assert [again.get(i).tolist()[0] for i in ids] == wanted
        assert again.get(after).tolist() == [9999]


def test_server_killed_while_threads_search_and_add(directory: Path) -> None:
    """Readers notice nothing; the writer loses nothing that it flushed."""
    stop = threading.Event()
    failures: list[BaseException] = []
    searches = [0] * 3
    with VectorIndex(directory / "a.chassis", dimensions=1) as index:
        for i in range(20):
            index.add([i])
        index.flush()

        def read(number: int) -> None:
            try:
                while not stop.is_set():
                    assert index.search([number], k=1)[0].id == number
                    searches[number] += 1
            except BaseException as error:
                failures.append(error)

        readers = [threading.Thread(target=read, args=(n,)) for n in range(3)]
        for reader in readers:
            reader.start()
        acknowledged: dict[int, float] = {}
        for round_ in range(3):
            pending = {index.add([1000 + round_ * 50 + i]): i for i in range(50)}
            index.flush()
            acknowledged.update(
                {id_: 1000 + round_ * 50 + i for id_, i in pending.items()}
            )
            kill_server(directory)
            before = list(searches)
            deadline = servers.Deadline(servers.PATIENCE)
            while not failures and any(a == b for a, b in zip(searches, before)):
                assert not deadline.passed()
        stop.set()
        for reader in readers:
            reader.join()
        assert failures == []
        assert {i: float(index.get(i)[0]) for i in acknowledged} == acknowledged


def test_server_that_cannot_start_says_why(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / "a.chassis"
    with VectorIndex(path, dimensions=1) as index:
        index.add([1])
    control = directory / ".chassis" / "data" / "global" / "pg_control"
    content = control.read_bytes()
    control.write_bytes(b"damaged")
    with pytest.raises(ChassisError) as caught:
        VectorIndex.open(path, timeout=5)
    assert "pg_control" in str(caught.value) or "log" in str(caught.value)
    assert str(directory) in str(caught.value)
    control.write_bytes(content)
    with VectorIndex.open(path) as index:
        assert len(index) == 1


def test_damaged_data_directory_is_never_replaced(directory: Path) -> None:
    """An index whose data are gone is an error, not a new and empty index."""
    path = directory / "a.chassis"
    with VectorIndex(path, dimensions=1) as index:
        index.add([1])
    data = directory / ".chassis" / "data"
    data.rename(directory / "aside")
    with pytest.raises(ChassisError):
        VectorIndex(path, dimensions=1, timeout=5)
    if data.exists():
        subprocess.run(["rm", "-rf", str(data)], check=True)
    (directory / "aside").rename(data)
    with VectorIndex(path, dimensions=1) as index:
        assert len(index) == 1


# --- the disk is full --------------------------------------------------------------------

SMALL_DISK = "96m"


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system that is soon full.  Only root can mount one."""
    if os.geteuid() != 0:
        pytest.fail("mounting a small file system needs root: run the suite as root")
    place = directory / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=755", "chassis"]
    subprocess.run([*mount, str(place)], check=True)
    yield place
    servers_gone = servers.Deadline(servers.PATIENCE)
    while server_processes(place):
        assert not servers_gone.passed()
    subprocess.run(["umount", str(place)], check=True)


def fill_disk(place: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    balloon = place / "balloon"
    status = os.statvfs(place)
    balloon.write_bytes(bytes(status.f_bavail * status.f_frsize - leave))
    return balloon


def test_disk_full(small_disk: Path) -> None:
    rng = np.random.default_rng(4)
    data = rng.standard_normal((1500, 512)).astype(np.float32)
    path = small_disk / "a.chassis"
    index = VectorIndex(path, dimensions=512)
    for row in data[:500]:
        index.add(row)
    index.flush()
    balloon = fill_disk(small_disk, leave=512 * 1024)
    ids: list[int] = []
    with pytest.raises(ChassisError) as caught:
        for row in data[500:]:
            ids.append(index.add(row))
        index.flush()
    text = str(caught.value).lower()
    assert "space" in text or "disk" in text or "full" in text
    with pytest.raises(ChassisError):
        index.flush()
    # what was flushed can be searched even now, or the error says why not
    try:
        assert index.search(data[7], k=1) == [SearchResult(7, 0.0)]
    except ChassisError as error:
        assert "space" in str(error).lower()
    balloon.unlink()
    # with space again nothing is missing: the buffer was kept
    index.flush()
    for id_, row in zip(ids, data[500:]):
        assert np.array_equal(index.get(id_), row)
    for row in data[500 + len(ids) :]:
        index.add(row)
    index.close()
    with VectorIndex.open(path) as again:
        assert len(again) == 1500
        assert [again.search(row, k=1)[0].id for row in data[::100]] == list(
            range(0, 1500, 100)
        )


def test_disk_full_at_creation(small_disk: Path) -> None:
    balloon = fill_disk(small_disk, leave=8 * 1024 * 1024)
    path = small_disk / "a.chassis"
    with pytest.raises(ChassisError) as caught:
        VectorIndex(path, dimensions=8)
    text = str(caught.value).lower()
    assert "space" in text or "full" in text
    balloon.unlink()
    with VectorIndex(path, dimensions=8) as index:
        index.add([0] * 8)
        assert len(index) == 1


# --- the owner goes away ---------------------------------------------------------------------


def test_garbage_collection_keeps_the_rows(path: Path) -> None:
    index = VectorIndex(path, dimensions=1)
    for i in range(10):
        index.add([i])
    del index
    gc.collect()
    with VectorIndex.open(path) as again:
        deadline = servers.Deadline(servers.PATIENCE)
        while len(again) < 10:
            assert not deadline.passed()


def test_garbage_collection_in_any_order(new_path: NewPath) -> None:
    """Cycles, exceptions and threads drop handles in the middle of others."""

    class Node:
        def __init__(self, index: VectorIndex) -> None:
            self.index = index
            self.me = self

        def __del__(self) -> None:
            # whatever the collector has already taken apart, this may not hang
            str(self.index)

    shuffle = random.Random(11)
    paths = [new_path() for _ in range(8)]
    handles = [VectorIndex(p, dimensions=1) for p in paths for _ in range(2)]
    for number, handle in enumerate(handles):
        handle.add([number])
    nodes = [Node(handle) for handle in handles]
    watched = [weakref.ref(handle) for handle in handles]
    shuffle.shuffle(nodes)
    handles.clear()
    del handle
    while nodes:
        nodes.pop()
        if shuffle.random() < 0.5:
            gc.collect()
        # other handles work on meanwhile
        with VectorIndex(paths[0], dimensions=1) as other:
            len(other)
    gc.collect()
    assert [w() for w in watched] == [None] * 16
    for path in paths:
        with VectorIndex.open(path) as again:
            deadline = servers.Deadline(servers.PATIENCE)
            while len(again) < 2:
                assert not deadline.passed()


def test_collector_runs_inside_of_calls(path: Path, new_path: NewPath) -> None:
    """Finalisers that run while locks are held do not dead-lock."""
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        with VectorIndex(path, dimensions=1) as index:
            for i in range(30):
                other = VectorIndex(new_path() if i % 10 == 0 else path, 1)
                other_cycle = [other]
                other_cycle.append(other_cycle)  # type: ignore[arg-type]
                other.add([i])
                del other, other_cycle
                index.search([i], k=1)
                index.add([i])
    finally:
        gc.set_threshold(*before)
    with VectorIndex.open(path) as again:
        assert len(again) >= 30


def test_an_unclosed_index_ends_with_its_interpreter(
    directory: Path, second_process: Callable[..., Process]
) -> None:
    process = second_process(
        """
        index = VectorIndex(sys.argv[1], dimensions=1)
        for i in range(7):
            index.add([i])
        cycle = [index]; cycle.append(cycle)
        """,
        directory / "a.chassis",
    )
    assert process.end() == ""
    with VectorIndex.open(directory / "a.chassis") as index:
        assert sorted(index) == list(range(7))


# --- secrets -----------------------------------------------------------------------------------


def test_no_password_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cr3t-p4ss"
    for dsn in (
        f"postgresql://user:{secret}@127.0.0.1:1/none?connect_timeout=2",
        f"host=127.0.0.1 port=1 user=u password={secret} connect_timeout=2",
        f"host=127.0.0.1 port='unclosed password={secret}",
    ):
        with pytest.raises(ChassisError) as caught:
            VectorIndex("items", dimensions=3, connection=dsn, timeout=3)
        error: BaseException | None = caught.value
        while error is not None:
            assert secret not in str(error)
            assert secret not in repr(error)
            error = error.__cause__ or error.__context__
    assert secret not in caplog.text
