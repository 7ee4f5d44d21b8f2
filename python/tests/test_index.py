"""The documented contract of ``VectorIndex``, on the embedded server.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import array
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import chassis
import chassis.exceptions
import chassis.index
import pychassis
import pychassis.exceptions
import pychassis.index
from pychassis import (
    ChassisError,
    DimensionMismatchError,
    IndexOptions,
    SearchResult,
    VectorIndex,
)

Vectors = Callable[[int, int], npt.NDArray[np.float32]]


def nearest(
    data: npt.NDArray[np.float32], query: npt.NDArray[Any], k: int
) -> list[int]:
    """Positions of the k nearest rows by exact L2, nearest first."""
    distances = np.linalg.norm(data.astype(np.float64) - query, axis=1)
    return [int(i) for i in np.argsort(distances, kind="stable")[:k]]


def test_add_and_search(index: VectorIndex) -> None:
    assert index.add([1.0, 0.0, 0.0]) == 0
    assert index.add([0.0, 1.0, 0.0]) == 1
    assert index.add([0.0, 0.0, 1.0]) == 2
    index.flush()
    results = index.search([0.9, 0.1, 0.0], k=2)
    assert [r.id for r in results] == [0, 1]
    assert results[0].distance < results[1].distance


# --- names -----------------------------------------------------------------------

PUBLIC = [
    "ChassisError",
    "DimensionMismatchError",
    "IndexNotFoundError",
    "IndexOptions",
    "InvalidPathError",
    "NullPointerError",
    "SearchResult",
    "VectorIndex",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_both_packages_give_the_same_class(name: str) -> None:
    assert getattr(chassis, name) is getattr(pychassis, name)
    assert name in pychassis.__all__
    assert name in chassis.__all__


def test_modules_of_both_packages_give_the_same_class() -> None:
    assert chassis.index.VectorIndex is pychassis.index.VectorIndex
    assert chassis.exceptions.ChassisError is pychassis.exceptions.ChassisError


def test_everything_named_public_exists() -> None:
    for package in (chassis, pychassis):
        for name in package.__all__:
            assert hasattr(package, name), name


def test_exceptions_derive_from_the_base() -> None:
    for name in PUBLIC:
        if name.endswith("Error"):
            assert issubclass(getattr(pychassis, name), ChassisError)


# --- construction ------------------------------------------------------------------


def test_new_index(path: Path) -> None:
    with VectorIndex(path, dimensions=128) as index:
        assert index.dimensions == 128
        assert index.path == path
        assert isinstance(index.path, Path)
        assert index.options == IndexOptions(metric="l2")
        assert len(index) == 0
        assert index.is_empty()
        assert path.exists()


def test_path_as_string_and_as_pathlike(new_path: Callable[[], Path]) -> None:
    class PathLike(os.PathLike[str]):
        def __init__(self, value: Path) -> None:
            self.value = value

        def __fspath__(self) -> str:
            return str(self.value)

    wanted = new_path()
    with VectorIndex(str(wanted), dimensions=2) as index:
        assert index.path == wanted
        index.add([1, 2])
    with VectorIndex(PathLike(wanted), dimensions=2) as index:
        assert len(index) == 1


def test_positional_arguments(path: Path) -> None:
    options = IndexOptions(8, 100, 30)
    with VectorIndex(path, 4, options) as index:
        assert index.dimensions == 4
        assert index.options.max_connections == 8
        assert index.options.ef_construction == 100
        assert index.options.ef_search == 30


def test_options_default_to_the_documented_numbers() -> None:
    options = IndexOptions()
    assert options.max_connections == 16
    assert options.ef_construction == 200
    assert options.ef_search == 50
    assert IndexOptions() == IndexOptions(16, 200, 50)


def test_repr(index: VectorIndex) -> None:
    index.add([1, 2, 3])
    text = repr(index)
    assert "VectorIndex" in text
    assert str(index.path) in text
    assert "3" in text
    assert repr(SearchResult(1, 0.5)) == "SearchResult(id=1, distance=0.5)"


@pytest.mark.parametrize("dimensions", [0, -1, 16001])
def test_impossible_dimensions(path: Path, dimensions: int) -> None:
    with pytest.raises(ValueError, match="dimensions"):
        VectorIndex(path, dimensions=dimensions)
    assert not path.exists()


@pytest.mark.parametrize("dimensions", [2.5, "128", None, True])
def test_dimensions_of_another_type(path: Path, dimensions: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="dimensions"):
        VectorIndex(path, dimensions=dimensions)
    assert not path.exists()


def test_dimensions_as_numpy_integer(path: Path) -> None:
    with VectorIndex(path, dimensions=np.int64(3)) as index:  # type: ignore[arg-type]
        assert index.dimensions == 3
        assert type(index.dimensions) is int


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (IndexOptions(max_connections=1), "max_connections"),
        (IndexOptions(max_connections=101), "max_connections"),
        (IndexOptions(ef_construction=3), "ef_construction"),
        (IndexOptions(ef_construction=10001), "ef_construction"),
        (IndexOptions(ef_search=0), "ef_search"),
        (IndexOptions(ef_search=10001), "ef_search"),
        (IndexOptions(metric="manhattan"), "metric"),  # type: ignore[arg-type]
        (IndexOptions(build="never"), "build"),  # type: ignore[arg-type]
    ],
)
def test_options_out_of_range(path: Path, options: IndexOptions, name: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        VectorIndex(path, dimensions=3, options=options)
    # the message names what is allowed
    assert any(word in str(caught.value) for word in (" to ", "cosine", "manual"))
    assert not path.exists()


def test_options_at_reopen(path: Path) -> None:
    with VectorIndex(path, 3, IndexOptions(32, 400, 100)):
        pass
    with VectorIndex(path, 3) as index:
        assert index.options == IndexOptions(32, 400, 100, metric="l2")
    with VectorIndex(path, 3, IndexOptions(32, 400, ef_search=77)) as index:
        assert index.options.ef_search == 77
    with VectorIndex(path, 3) as index:
        assert index.options.ef_search == 100


# --- what goes in --------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        lambda v: np.array(v, dtype=np.float32),
        lambda v: np.array(v, dtype=np.float64),
        lambda v: np.array(v, dtype=np.float16),
        lambda v: np.array(v, dtype=">f4"),
        lambda v: np.array([v, v], dtype=np.float32)[0],
        lambda v: np.array(list(zip(v, v)), dtype=np.float32)[:, 0],
        lambda v: np.array([int(x * 4) for x in v], dtype=np.int32) / 4,
        lambda v: np.array(v, dtype=np.float32)[::-1][::-1],
        lambda v: array.array("f", v),
        lambda v: memoryview(array.array("d", v)),
        lambda v: [np.float32(x) for x in v],
    ],
)
def test_every_sequence_of_numbers(
    index: VectorIndex, make: Callable[[Sequence[float]], Any]
) -> None:
    wanted = [0.5, -0.25, 2.0]
    index.add(make(wanted))
    assert index.get(0).tolist() == wanted
    assert index.search(make(wanted), k=1) == [SearchResult(0, 0.0)]


def test_integers_are_numbers(index: VectorIndex) -> None:
    index.add([1, 2, 3])
    index.add(np.array([1, 2, 3], dtype=np.uint8))
    assert [r.distance for r in index.search([1, 2, 3], k=2)] == [0.0, 0.0]


def test_what_was_added_is_not_what_the_caller_changes(index: VectorIndex) -> None:
    vector = np.zeros(3, dtype=np.float32)
    index.add(vector)
    vector[:] = 7
    assert index.get(0).tolist() == [0, 0, 0]


def test_one_dimension(path: Path) -> None:
    with VectorIndex(path, dimensions=1) as index:
        assert [index.add([x]) for x in (5, 1, 3)] == [0, 1, 2]
        assert [r.id for r in index.search([0], k=3)] == [1, 2, 0]


def test_most_dimensions(path: Path, vectors: Vectors) -> None:
    data = vectors(3, 16000)
    with VectorIndex(path, dimensions=16000) as index:
        for row in data:
            index.add(row)
        index.flush()
        assert [r.id for r in index.search(data[1], k=1)] == [1]
        assert np.array_equal(index.get(2), data[2])


# --- what comes out ---------------------------------------------------------------------


def test_ids_start_at_zero_and_have_no_gaps(path: Path, vectors: Vectors) -> None:
    data = vectors(60, 4)
    with VectorIndex(path, dimensions=4) as index:
        assert [index.add(row) for row in data[:20]] == list(range(20))
        index.flush()
        assert [index.add(row) for row in data[20:40]] == list(range(20, 40))
    with VectorIndex(path, dimensions=4) as index:
        ids = [index.add(row) for row in data[40:]]
        assert ids == list(range(40, 60))
        assert all(type(i) is int for i in ids)


def test_distance_is_the_root_of_the_squared_sum(index: VectorIndex) -> None:
    index.add([3.0, 4.0, 0.0])
    [result] = index.search([0.0, 0.0, 0.0], k=1)
    assert result.distance == pytest.approx(5.0)
    assert type(result.id) is int
    assert type(result.distance) is float


def test_results_are_sorted(path: Path, vectors: Vectors) -> None:
    data = vectors(200, 8)
    with VectorIndex(path, dimensions=8) as index:
        for row in data:
            index.add(row)
        results = index.search(data[0], k=50)
        assert len(results) == 50
        distances = [r.distance for r in results]
        assert distances == sorted(distances)
        assert [r.id for r in results] == nearest(data, data[0], 50)


def test_k_defaults_to_ten(path: Path, vectors: Vectors) -> None:
    with VectorIndex(path, dimensions=2) as index:
        for row in vectors(20, 2):
            index.add(row)
        assert len(index.search([0, 0])) == 10


def test_k_larger_than_the_index(index: VectorIndex) -> None:
    index.add([1, 2, 3])
    index.add([4, 5, 6])
    assert len(index.search([0, 0, 0], k=1000)) == 2


def test_search_on_an_empty_index(index: VectorIndex) -> None:
    assert index.search([1, 2, 3], k=5) == []
    index.flush()
    assert index.search([1, 2, 3]) == []


def test_search_sees_adds_that_are_not_flushed(index: VectorIndex) -> None:
    for i in range(5):
        index.add([i, 0, 0])
        assert len(index) == i + 1
        assert not index.is_empty()
        assert index.search([i, 0, 0], k=1) == [SearchResult(i, 0.0)]


def test_equal_vectors_are_kept_apart(index: VectorIndex) -> None:
    ids = {index.add([1, 1, 1]) for _ in range(5)}
    assert {r.id for r in index.search([1, 1, 1], k=10)} == ids == set(range(5))


def test_what_was_flushed_is_there_after_reopening(
    path: Path, vectors: Vectors
) -> None:
    data = vectors(30, 16)
    with VectorIndex(path, dimensions=16) as index:
        for row in data:
            index.add(row)
        index.flush()
    with VectorIndex(path, dimensions=16) as index:
        assert len(index) == 30
        for i, row in enumerate(data):
            assert index.search(row, k=1) == [SearchResult(i, 0.0)]


def test_close_flushes(path: Path) -> None:
    index = VectorIndex(path, dimensions=2)
    index.add([1, 2])
    index.close()
    with VectorIndex(path, dimensions=2) as index:
        assert len(index) == 1


def test_search_after_the_index_was_built(path: Path, vectors: Vectors) -> None:
    data = vectors(3000, 32)
    with VectorIndex(path, dimensions=32, options=IndexOptions(ef_search=200)) as index:
        for row in data:
            index.add(row)
        index.flush()
        assert index.sql_index is not None
        queries = vectors(20, 32)
        found = sum(
            len({r.id for r in index.search(q, k=10)} & set(nearest(data, q, 10)))
            for q in queries
        )
        assert found >= 190
        # as many rows as asked for, though ef_search is far less
        assert len({r.id for r in index.search(queries[0], k=3000)}) == 3000
        # and rows added later are found as well
        assert index.add(queries[0] * 10) == 3000
        assert index.search(queries[0] * 10, k=1) == [SearchResult(3000, 0.0)]


def test_flush_twice_and_without_adds(index: VectorIndex) -> None:
    index.flush()
    index.add([1, 2, 3])
    index.flush()
    index.flush()
    assert len(index) == 1


def test_two_indexes_in_one_directory(new_path: Callable[[], Path]) -> None:
    with VectorIndex(new_path(), 2) as first, VectorIndex(new_path(), 3) as second:
        assert first.add([1, 1]) == 0
        assert second.add([1, 1, 1]) == 0
        assert second.add([2, 2, 2]) == 1
        assert (len(first), len(second)) == (1, 2)
        assert first.path != second.path


def test_two_handles_of_one_index_share_ids(path: Path) -> None:
    with VectorIndex(path, 2) as first, VectorIndex(path, 2) as second:
        ids = [handle.add([1, 1]) for handle in (first, second, first, second)]
        assert ids == [0, 1, 2, 3]
        first.flush()
        second.flush()
        assert len(first) == len(second) == 4


# --- closing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda index: index.add([1, 2, 3]),
        lambda index: index.search([1, 2, 3]),
        lambda index: index.flush(),
        lambda index: len(index),
        lambda index: index.is_empty(),
        lambda index: index.dimensions,
        lambda index: index.add_batch([[1, 2, 3]]),
        lambda index: index.search_batch([[1, 2, 3]]),
        lambda index: index.get(0),
        lambda index: index.delete(0),
        lambda index: index.stats(),
        lambda index: index.rebuild(),
        lambda index: index.vacuum(),
        lambda index: 0 in index,
        lambda index: list(index),
        lambda index: index.__enter__(),
    ],
)
def test_closed_index(index: VectorIndex, use: Callable[[VectorIndex], Any]) -> None:
    index.add([1, 2, 3])
    index.close()
    with pytest.raises(ChassisError, match="^Index is closed"):
        use(index)


def test_what_a_closed_index_still_tells(path: Path) -> None:
    index = VectorIndex(path, dimensions=3)
    options = index.options
    index.close()
    index.close()
    assert index.path == path
    assert index.options == options
    assert "closed" in repr(index)


def test_context_manager_gives_the_index_and_closes_it(path: Path) -> None:
    index = VectorIndex(path, dimensions=3)
    with index as same:
        assert same is index
        index.add([1, 2, 3])
    with pytest.raises(ChassisError, match="^Index is closed"):
        index.add([1, 2, 3])


def test_an_exception_in_the_block_is_not_hidden(path: Path) -> None:
    class Mine(Exception):
        pass

    with pytest.raises(Mine), VectorIndex(path, dimensions=3) as index:
        index.add([1, 2, 3])
        raise Mine
    with VectorIndex(path, dimensions=3) as index:
        assert len(index) == 1


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 2, 4, 300])
def test_wrong_dimensions(index: VectorIndex, length: int) -> None:
    for call in (index.add, index.search):
        with pytest.raises(DimensionMismatchError) as caught:
            call([0.5] * length)
        assert "3" in str(caught.value)
        assert str(length) in str(caught.value)
    assert len(index) == 0
    assert index.add([1, 2, 3]) == 0


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (2, 3), (3, 3), ()])
def test_wrong_shape(index: VectorIndex, shape: tuple[int, ...]) -> None:
    for call in (index.add, index.search):
        with pytest.raises((DimensionMismatchError, TypeError)):
            call(np.zeros(shape, dtype=np.float32))
    assert len(index) == 0


@pytest.mark.parametrize(
    "bad",
    [
        [float("nan"), 0, 0],
        [0, float("inf"), 0],
        [0, 0, -float("inf")],
        np.array([1, np.nan, 1], dtype=np.float32),
        # finite as float64, not as the float32 that is stored
        [1e39, 0, 0],
        np.array([0, -1e200, 0]),
        [10**40, 0, 0],
    ],
)
def test_not_finite(index: VectorIndex, bad: Any) -> None:
    for call in (index.add, index.search):
        with pytest.raises(ValueError, match="(?i)finite|nan|inf"):
            call(bad)
    assert len(index) == 0
    assert index.add([1, 2, 3]) == 0


@pytest.mark.parametrize(
    "bad",
    [
        ["a", "b", "c"],
        "abc",
        b"abc",
        None,
        7,
        [1, 2, None],
        [1, [2], 3],
        {1: 2, 2: 3, 3: 4},
        {1, 2, 3},
        ...,
        np.array(["1", "2", "3"]),
        np.array([1j, 2, 3]),
        np.array([None, 1, 2], dtype=object),
        np.array(["2020-01-01"] * 3, dtype="datetime64[D]"),
    ],
    ids=repr,
)
def test_not_numbers(index: VectorIndex, bad: Any) -> None:
    for call in (index.add, index.search):
        with pytest.raises((TypeError, DimensionMismatchError)):
            call(bad)
    assert len(index) == 0
    assert index.add([1, 2, 3]) == 0


@pytest.mark.parametrize("k", [0, -1, -1000])
def test_k_below_one(index: VectorIndex, k: int) -> None:
    with pytest.raises(ValueError, match="k"):
        index.search([1, 2, 3], k=k)


@pytest.mark.parametrize("k", [1.5, "3", None])
def test_k_of_another_type(index: VectorIndex, k: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="k"):
        index.search([1, 2, 3], k=k)


def test_k_as_numpy_integer(index: VectorIndex) -> None:
    index.add([1, 2, 3])
    assert len(index.search([1, 2, 3], k=np.int32(4))) == 1  # type: ignore[arg-type]


def test_huge_k(index: VectorIndex) -> None:
    index.add([1, 2, 3])
    assert len(index.search([1, 2, 3], k=2**40)) == 1


# --- threads --------------------------------------------------------------------------------


def test_many_threads_search_while_one_adds(path: Path, vectors: Vectors) -> None:
    data = vectors(600, 8)
    started = threading.Barrier(5, timeout=120)

    def read(index: VectorIndex, seed: int) -> int:
        started.wait()
        rounds = 0
        for i in range(40):
            row = (seed * 37 + i) % 100
            assert index.search(data[row], k=1) == [SearchResult(row, 0.0)]
            rounds += 1
        return rounds

    with VectorIndex(path, dimensions=8) as index:
        for row in data[:100]:
            index.add(row)
        index.flush()
        with ThreadPoolExecutor(4) as executor:
            readers = [executor.submit(read, index, seed) for seed in range(4)]
            started.wait()
            for i, row in enumerate(data[100:]):
                assert index.add(row) == 100 + i
                if i % 100 == 99:
                    index.flush()
            assert [reader.result() for reader in readers] == [40] * 4
        assert len(index) == 600


def test_many_threads_add(path: Path) -> None:
    """The documentation asks for one writer; more must still be harmless."""
    with VectorIndex(path, dimensions=1) as index:
        with ThreadPoolExecutor(8) as executor:
            ids = list(executor.map(lambda x: (index.add([x]), x), range(400)))
        assert sorted(i for i, _ in ids) == list(range(400))
        for i, x in ids[::40]:
            assert index.get(i).tolist() == [x]


def test_more_threads_than_connections(path: Path, vectors: Vectors) -> None:
    data = vectors(64, 4)
    together = threading.Barrier(40, timeout=120)
    with VectorIndex(path, dimensions=4) as index:
        for row in data:
            index.add(row)
        index.flush()

        def search(i: int) -> int:
            together.wait()
            return index.search(data[i], k=1)[0].id

        with ThreadPoolExecutor(40) as executor:
            assert list(executor.map(search, range(40))) == list(range(40))
