"""More than one process on one index, and the ways in which they end.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import servers
from conftest import Process

from pychassis import ChassisError, SearchResult, VectorIndex

Start = Callable[..., Process]


def rows(path: Path) -> list[float]:
    with VectorIndex.open(path) as index:
        return [float(index.get(i)[0]) for i in sorted(index)]


# --- ways to end ---------------------------------------------------------------------

ADD_SEVEN = """
index = VectorIndex(sys.argv[1], dimensions=1)
for i in range(7):
    index.add([i])
"""

ENDS = {
    "falls off the end": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "exception": ("raise KeyError('mine')", 1),
    "in a thread": (
        "import threading\nthreading.Thread(target=lambda: index.add([7])).start()",
        0,
    ),
    "at exit": ("import atexit\natexit.register(lambda: index.add([7]))", 0),
    "keyboard interrupt": ("raise KeyboardInterrupt", -signal.SIGINT),
    "removed module": ("del sys.modules['pychassis'], VectorIndex", 0),
}


@pytest.mark.parametrize("way", ENDS)
def test_exit_with_rows_not_flushed(
    way: str, path: Path, second_process: Start
) -> None:
    code, status = ENDS[way]
    process = second_process(ADD_SEVEN + code, path)
    errors = process.end(expected=status)
    assert "Exception ignored" not in errors
    assert rows(path)[:7] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_killed_after_flush(
    kill: signal.Signals, path: Path, second_process: Start
) -> None:
    """What was flushed is there, and the next writer need not wait for ever."""
    process = second_process(
        ADD_SEVEN + "index.flush()\nindex.add([7])\nsay('ready')\ninput()\n", path
    )
    assert process.hear() == "ready"
    process.popen.send_signal(kill)
    process.end(expected=-kill)
    with VectorIndex.open(path) as index:
        assert set(range(7)) <= set(index)
        # an id that add() returned is not given out again
        assert index.add([100]) >= 8
    assert rows(path)[:7] == [0, 1, 2, 3, 4, 5, 6]


def test_killed_embedded_user_leaves_no_server(
    directory: Path, second_process: Start
) -> None:
    """The server notices by itself (the fixture waits for it to stop)."""
    process = second_process(
        ADD_SEVEN + "index.flush()\nsay('ready')\ninput()\n", directory / "a.chassis"
    )
    assert process.hear() == "ready"
    process.kill()


def test_sigterm_turned_into_an_exit(path: Path, second_process: Start) -> None:
    """What servers and containers do: then not even the buffer is lost."""
    process = second_process(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        + ADD_SEVEN
        + "say('ready')\ninput()\n",
        path,
    )
    assert process.hear() == "ready"
    process.popen.terminate()
    process.end()
    assert rows(path) == [0, 1, 2, 3, 4, 5, 6]


# --- fork ---------------------------------------------------------------------------------


def test_fork_after_open(path: Path, second_process: Start) -> None:
    process = second_process(
        """
        index = VectorIndex(sys.argv[1], dimensions=1)
        for i in range(5):
            index.add([i])
        index.flush()
        assert index.search([3], k=1)[0].id == 3
        index.add([5])                      # in the parent's buffer
        children = []
        for n in range(3):
            child = os.fork()
            if child == 0:
                ids = [index.search([i], k=1)[0].id for i in range(5)]
                assert ids == list(range(5)), ids
                os._exit(7 if len(index) < 5 else 0) if n == 0 else sys.exit(0)
            children.append(child)
        # the parent goes on meanwhile, on connections that are still its own
        for i in range(50):
            assert index.search([i % 5], k=1)[0].id == i % 5
        codes = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
        assert codes == [0, 0, 0], codes
        index.add([6])
        index.flush()
        say(sorted(index))
        index.close()
        """,
        path,
    )
    assert process.hear() == [0, 1, 2, 3, 4, 5, 6]
    errors = process.end()
    assert "DeprecationWarning" in errors or errors == ""
    assert rows(path) == [0, 1, 2, 3, 4, 5, 6]


def test_child_of_a_fork_adds(path: Path, second_process: Start) -> None:
    """The buffer stays with the parent; the child gets ids of its own."""
    process = second_process(
        """
        index = VectorIndex(sys.argv[1], dimensions=1)
        index.add([0])
        child = os.fork()
        if child == 0:
            say(["child", index.add([10])])
            index.close()
            sys.exit(0)
        index.flush()                       # gives the lease up to the child
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        say(["parent", index.add([1]), status])
        """,
        path,
    )
    who, child_id = process.hear()
    assert who == "child"
    who, parent_id, status = process.hear()
    assert (who, status) == ("parent", 0)
    process.end()
    with VectorIndex.open(path) as index:
        assert index.get(0).tolist() == [0]
        assert index.get(child_id).tolist() == [10]
        assert index.get(parent_id).tolist() == [1]
        assert len(index) == 3


def test_fork_while_threads_add_and_search(path: Path, second_process: Start) -> None:
    """Locks that other threads held, and what they were doing, stay behind."""
    process = second_process(
        """
        import threading
        index = VectorIndex(sys.argv[1], dimensions=1)
        ids = index.add_batch([[i] for i in range(100)]).tolist()
        index.flush()
        done = threading.Event()
        def add():
            while not done.is_set():
                ids.extend(index.add([-1]) for _ in range(5))
                index.flush()
        def search():
            while not done.is_set():
                assert index.search([50], k=1)[0].distance == 0
        threads = [threading.Thread(target=work) for work in (add, search, search)]
        for thread in threads:
            thread.start()
        for n in range(6):
            child = os.fork()
            if child == 0:
                assert index.search([7], k=1)[0].id == 7
                given = index.add([1000 + n])
                assert index.search([1000 + n], k=1)[0].id == given
                index.flush()
                say(given)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status == 0, status
        done.set()
        for thread in threads:
            thread.join()
        index.close()
        say(ids)
        """,
        path,
    )
    given = [process.hear() for _ in range(6)]
    ids = process.hear()
    process.end()
    assert len({*given, *ids}) == 6 + len(ids)
    with VectorIndex.open(path) as index:
        assert index.get_many(given)[:, 0].tolist() == [1000 + n for n in range(6)]
        assert len(index) == 6 + len(ids)


def test_a_child_does_not_keep_its_parents_connections(
    path: Path, second_process: Start
) -> None:
    """The server sees that the parent is gone, though its child lives on."""
    process = second_process(
        """
        index = VectorIndex(sys.argv[1], dimensions=1)
        index.add([1])
        index.flush()
        sessions = [link.pgconn.backend_pid for link in index._source._all]
        child = os.fork()
        if child == 0:
            signal.pause()
        say([child, sessions])
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    child, sessions = process.hear()
    assert sessions
    deadline = servers.Deadline(servers.PATIENCE)
    try:
        with VectorIndex.open(path) as index, index.connection() as connection:
            connection.autocommit = True
            alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
            while connection.execute(alive, (sessions,)).fetchone() != (0,):
                assert not deadline.passed(), "the child holds them"
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
    process.end(expected=-signal.SIGKILL)


# --- multiprocessing --------------------------------------------------------------------------

WORKERS = """
import multiprocessing, sys
from chassis import VectorIndex

def work(path, values):
    index = VectorIndex(path, dimensions=1)
    for value in values:
        index.add([value])
    return len(values)                      # no flush, no close

def work_on_global(values):
    for value in values:
        INDEX.add([value])
    return INDEX.search([values[0]], k=1)[0].distance

if __name__ == "__main__":
    method, kind, path = sys.argv[1:]
    context = multiprocessing.get_context(method)
    shares = [[n * 100.0 + i for i in range(20)] for n in range(4)]
    if kind == "pool":
        with context.Pool(2) as pool:
            print(pool.starmap(work, [(path, share) for share in shares]))
            pool.close()
            pool.join()
    elif kind == "process":
        jobs = [context.Process(target=work, args=(path, s)) for s in shares]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        print([job.exitcode for job in jobs])
    else:
        INDEX = VectorIndex(path, dimensions=1)
        jobs = [context.Process(target=work_on_global, args=(s,)) for s in shares]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        print([job.exitcode for job in jobs])
"""

CASES = [
    (method, kind)
    for method in ("fork", "spawn", "forkserver")
    for kind in ("pool", "process")
] + [("fork", "inherited handle")]


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_workers_that_end_without_close(
    method: str, kind: str, path: Path, tmp_path: Path
) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), method, kind, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=servers.PATIENCE * 2,
    )
    assert result.returncode == 0, result.stderr
    expected = "[20, 20, 20, 20]" if kind == "pool" else "[0, 0, 0, 0]"
    assert result.stdout.strip() == expected, result.stderr
    wanted = sorted(n * 100.0 + i for n in range(4) for i in range(20))
    assert sorted(rows(path)) == wanted


def test_pickled_handle_opens_the_same_index(path: Path) -> None:
    import pickle

    with VectorIndex(path, dimensions=1) as index:
        index.add([1])
        with pytest.raises(ChassisError, match="flush"):
            pickle.dumps(index)
        index.flush()
        with pickle.loads(pickle.dumps(index)) as other:
            assert other.search([1], k=1) == [SearchResult(0, 0.0)]


# --- several processes at once -------------------------------------------------------------------


def test_readers_in_other_processes_see_flushed_rows(
    path: Path, second_process: Start
) -> None:
    with VectorIndex(path, dimensions=1) as index:
        index.add([1])
        index.flush()
        reader = second_process(
            """
            index = VectorIndex.open(sys.argv[1])
            while True:
                say([r.id for r in index.search([0], k=10)])
                input()
            """,
            path,
        )
        assert reader.hear() == [0]
        index.add([2])
        index.flush()
        reader.go_on()
        assert reader.hear() == [0, 1]


def test_second_writer_waits_then_says_who(path: Path, second_process: Start) -> None:
    """One writer at a time; the message tells what to do about it."""
    writer = second_process(
        """
        import threading
        index = VectorIndex(sys.argv[1], dimensions=1)
        index.add([1])
        index.flush()
        index.add([2])
        say("holding")
        # the lease is kept for as long as there is something new to write
        done = threading.Event()
        def write():
            while not done.is_set():
                index.add([2])
                done.wait(0.05)
        thread = threading.Thread(target=write)
        thread.start()
        input()
        done.set()
        thread.join()
        index.close()
        say("closed")
        """,
        path,
    )
    assert writer.hear() == "holding"
    from pychassis import IndexLockedError

    with VectorIndex.open(path, timeout=0.5) as index:
        with pytest.raises(IndexLockedError) as caught:
            index.add([3])
            index.flush()
        assert isinstance(caught.value, ChassisError)
        assert str(writer.popen.pid) in str(caught.value)
        # readers are not concerned
        assert index.search([1], k=1) == [SearchResult(0, 0.0)]
        writer.go_on()
        assert writer.hear() == "closed"
        writer.end()
        index.add([3])
    assert rows(path)[-1] == 3


def test_writers_take_turns(path: Path, second_process: Start) -> None:
    """Processes that flush between their adds all get through, no id twice."""
    workers = [
        second_process(
            """
            index = VectorIndex(sys.argv[1], dimensions=1)
            ids = []
            for i in range(15):
                ids.append(index.add([float(sys.argv[2]) + i]))
                index.flush()
            index.close()
            say(ids)
            """,
            path,
            n * 100,
        )
        for n in range(3)
    ]
    heard = [worker.hear() for worker in workers]
    for worker in workers:
        worker.end()
    assert sorted(i for ids in heard for i in ids) == list(range(45))
    with VectorIndex.open(path) as index:
        for n, ids in enumerate(heard):
            assert [index.get(i)[0] for i in ids] == [n * 100 + i for i in range(15)]


def test_many_processes_open_a_new_directory_at_once(
    directory: Path, second_process: Start
) -> None:
    """One of them makes the cluster; all of them get in."""
    workers = [
        second_process(
            """
            say("here")
            input()
            with VectorIndex(sys.argv[1] + "/own" + sys.argv[2], 1) as own:
                own.add([1])
                with VectorIndex(sys.argv[1] + "/common", 1) as common:
                    common.add([1])
                    common.flush()
            say("done")
            """,
            directory,
            n,
        )
        for n in range(4)
    ]
    for worker in workers:
        assert worker.hear() == "here"
    for worker in workers:
        worker.go_on()
    for worker in workers:
        assert worker.hear() == "done"
        worker.end()
    with VectorIndex.open(directory / "common") as index:
        assert sorted(index) == [0, 1, 2, 3]


# --- notebooks ------------------------------------------------------------------------------------


def test_notebook_cell_run_twice(path: Path) -> None:
    """The second run makes a new handle while the first has a row in it."""
    cell = textwrap.dedent("""
        index = VectorIndex(PATH, dimensions=2)
        last = index.add([1.0, 2.0])
        """)
    space = {"VectorIndex": VectorIndex, "PATH": path}
    for run in range(4):
        exec(cell, space)
        assert space["last"] == run
    index = space["index"]
    assert isinstance(index, VectorIndex)
    assert len(index.search([1, 2])) == 4
    index.close()
    with VectorIndex.open(path) as again:
        assert len(again) == 4


def test_notebook_cell_run_twice_with_the_handle_kept(path: Path) -> None:
    """IPython's ``_`` and ``Out`` keep every handle alive."""
    kept = []
    for run in range(3):
        kept.append(VectorIndex(path, dimensions=1))
        assert kept[-1].add([run]) == run
    assert [len(handle) for handle in kept] == [3, 3, 3]
    for handle in kept:
        handle.close()
    assert rows(path) == [0, 1, 2]


def test_interrupted_call_leaves_the_handle_usable(
    path: Path, second_process: Start
) -> None:
    """Ctrl-C in a notebook: the kernel and its handle live on."""
    process = second_process(
        """
        index = VectorIndex(sys.argv[1], dimensions=64)
        index.add_batch(np.random.default_rng(1).random((3000, 64), np.float32))
        index.flush()
        interrupted = 0
        queries = np.random.default_rng(2).random((2000, 64), np.float32)
        try:
            say("ready")
            while True:
                index.search_batch(queries, k=10, exact=True)
        except KeyboardInterrupt:
            interrupted = 1
        assert len(index.search(queries[0])) == 10
        index.add(queries[0])
        index.flush()
        say([interrupted, len(index)])
        """,
        path,
    )
    assert process.hear() == "ready"
    os.kill(process.popen.pid, signal.SIGINT)
    assert process.hear() == [1, 3001]
    process.end()


def test_interrupted_build(path: Path, second_process: Start) -> None:
    """Ctrl-C while flush() builds the graph: the rows are in, and so is the handle."""
    process = second_process(
        """
        index = VectorIndex(sys.argv[1], dimensions=64)
        index.add_batch(np.random.default_rng(1).random((3000, 64), np.float32))
        interrupted = 0
        def interrupt(done, total):
            if not interrupted:
                os.kill(os.getpid(), signal.SIGINT)
        try:
            index.flush(progress=interrupt)
        except KeyboardInterrupt:
            interrupted = 1
        say([interrupted, len(index), len(index.search([0.5] * 64))])
        index.flush()
        say(index.sql_index is not None)
        index.close()
        """,
        path,
    )
    assert process.hear() == [1, 3000, 10]
    assert process.hear() is True
    process.end()
    with VectorIndex.open(path) as index:
        assert len(index) == 3000
