"""What users pass, checked and as bytes: the wire codec alone, without a server.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pychassis import DimensionMismatchError, _wire

# A machine that does other things as well is no defect.
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ROWS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 40), st.integers(1, 12)), elements=FLOATS
)


def take_rows(data: bytes) -> list[list[bytes | None]]:
    """A reader of COPY BINARY, by the format's description alone."""
    assert data[:11] == b"PGCOPY\n\xff\r\n\0"
    assert data[11:19] == bytes(8)
    place = 19
    rows: list[list[bytes | None]] = []
    while True:
        (fields,) = struct.unpack_from(">h", data, place)
        place += 2
        if fields == -1:
            assert place == len(data)
            return rows
        row: list[bytes | None] = []
        for _ in range(fields):
            (length,) = struct.unpack_from(">i", data, place)
            place += 4
            row.append(None if length < 0 else data[place : place + length])
            place += max(length, 0)
        rows.append(row)


def vector_of(wire: bytes | None) -> list[float]:
    assert wire is not None
    dimensions, zero = struct.unpack_from(">HH", wire)
    assert zero == 0
    return list(struct.unpack(f">{dimensions}f", wire[4:]))


@RELAXED
@given(ROWS, st.booleans())
def test_copy_rows_say_what_went_in(rows: Any, with_documents: bool) -> None:
    ids = np.arange(len(rows)) * 7
    documents = None
    if with_documents:
        documents = [None if n % 2 else b'{"n": %d}' % n for n in range(len(rows))]
    data = b"".join(_wire.copy_blocks(ids, rows, documents))
    for number, row in enumerate(take_rows(data)):
        assert row[0] == struct.pack(">q", number * 7)
        assert vector_of(row[1]) == rows[number].tolist()
        if documents is None:
            assert len(row) == 2
        else:
            wanted = documents[number]
            assert row[2] == (None if wanted is None else b"\1" + wanted)


@RELAXED
@given(ROWS)
def test_rows_come_back_as_they_went(rows: Any) -> None:
    ids = np.arange(len(rows)) + 2**40
    texts = [None if n % 3 else json.dumps({"é": n}).encode() for n in range(len(rows))]
    blocks = []
    for row in take_rows(b"".join(_wire.copy_blocks(ids, rows, texts))):
        # the server sends metadata as text, without jsonb's version
        fields = [row[0], row[1], None if row[2] is None else row[2][1:]]
        blocks.append(struct.pack(">h", 3) + b"".join(map(field, fields)))
    got_ids, got, documents = _wire.RowReader(rows.shape[1]).decode(blocks)
    assert np.array_equal(got_ids, ids)
    assert np.array_equal(got, rows)
    assert documents == [None if each is None else each.decode() for each in texts]


def field(wire: bytes | None) -> bytes:
    return (
        struct.pack(">i", -1) if wire is None else struct.pack(">i", len(wire)) + wire
    )


def test_blocks_are_small() -> None:
    rows = np.zeros((2000, 768), np.float32)
    sizes = [len(each) for each in _wire.copy_blocks(np.arange(2000), rows, None)]
    assert max(sizes) <= _wire.COPY_BLOCK


@RELAXED
@given(ROWS)
def test_arrays_of_vectors(rows: Any) -> None:
    wire = _wire.encode_vectors(rows, 4711)
    assert struct.unpack_from(">iiIii", wire) == (1, 0, 4711, len(rows), 1)
    place = 20
    for row in rows:
        (length,) = struct.unpack_from(">i", wire, place)
        assert vector_of(wire[place + 4 : place + 4 + length]) == row.tolist()
        place += 4 + length
    assert place == len(wire)


@RELAXED
@given(hnp.arrays(np.int64, st.integers(0, 50)))
def test_arrays_of_ids(values: Any) -> None:
    wire = _wire.encode_int8s(values)
    assert np.array_equal(_wire.decode_array(wire, ">i8"), values)


def test_an_array_that_is_null_is_empty() -> None:
    assert len(_wire.decode_array(None, ">f8")) == 0


def test_arrays_of_texts() -> None:
    wire = _wire.encode_texts([b"a", None, b""])
    assert struct.unpack_from(">iiIii", wire) == (1, 1, 25, 3, 1)
    assert wire[20:] == b"\0\0\0\1a\xff\xff\xff\xff\0\0\0\0"
    assert _wire.encode_texts([]) == struct.pack(">iiI", 0, 0, 25)


@pytest.mark.parametrize(
    "good",
    [
        [1, 2, 3],
        (1.0, 2.0, 3.0),
        range(1, 4),
        np.array([1, 2, 3], np.int8),
        np.array([1, 2, 3], np.float16),
        np.array([1, 2, 3], np.float64),
        np.array([1, 2, 3], ">f4"),
        np.array([1, 9, 2, 9, 3, 9], np.float32)[::2],
        [True, 2, 3],
        [Decimal(1), 2, 3],
        [np.float32(1), np.int64(2), 3],
    ],
    ids=str,
)
def test_vectors_of_every_kind(good: Any) -> None:
    for made in (_wire.as_vector(good, 3), _wire.row_checker(3)(good)):
        assert made.dtype == np.float32
        assert made[1:].tolist() == [2, 3]
        assert made[0] == 1
    wire = _wire.query_encoder(3)(good)
    assert vector_of(wire) == [1, 2, 3]


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ([1, 2], DimensionMismatchError),
        ([1, 2, 3, 4], DimensionMismatchError),
        ([], DimensionMismatchError),
        ([[1, 2, 3]], DimensionMismatchError),
        ([[1], [2, 3], [4]], DimensionMismatchError),
        ([1, float("nan"), 3], ValueError),
        ([1, float("inf"), 3], ValueError),
        ([1, 1e39, 3], ValueError),
        (np.array([1, -np.inf, 3], np.float32), ValueError),
        (["a", "b", "c"], TypeError),
        ("abc", TypeError),
        (None, TypeError),
        (3, TypeError),
        ([1, None, 3], TypeError),
        ([1j, 2, 3], TypeError),
        (b"abc", TypeError),
        ([..., 2, 3], TypeError),
    ],
    ids=str,
)
def test_what_is_no_vector(bad: Any, kind: type[Exception]) -> None:
    for check in (partial(_wire.as_vector, dimensions=3), _wire.row_checker(3)):
        with pytest.raises(kind) as caught:
            check(bad)
        assert str(caught.value)


def test_a_large_finite_vector_is_finite() -> None:
    big = np.full(3, 3e38, np.float32)
    assert _wire.row_checker(3)(big) is big


def test_the_message_says_which_element() -> None:
    with pytest.raises(ValueError, match=r"element \[1, 2\] is nan"):
        _wire.as_matrix([[1, 2, 3], [1, 2, float("nan")]], 3)
    with pytest.raises(ValueError, match="element 1 is inf"):
        _wire.as_vector([0, float("inf"), 0], 3)


def test_matrices() -> None:
    assert _wire.as_matrix([], 3).shape == (0, 3)
    assert _wire.as_matrix(np.empty((0, 3)), 3).shape == (0, 3)
    assert _wire.as_matrix([[1, 2, 3], (4, 5, 6)], 3).tolist()[1] == [4, 5, 6]
    for bad in ([1, 2, 3], [[1, 2]], np.zeros((1, 2, 3))):
        with pytest.raises(DimensionMismatchError):
            _wire.as_matrix(bad, 3)


def test_ids() -> None:
    assert _wire.as_ids([3, 1], 2, 10).tolist() == [3, 1]
    assert _wire.as_ids(np.array([3], np.uint64), 1, 10).dtype == np.int64
    assert _wire.as_ids([], 0, 10).tolist() == []
    assert _wire.as_ids([3, 3], None, 10).tolist() == [3, 3]
    for bad in ([3, 3], [-1, 2], [1, 11], [1], [[1, 2]]):
        with pytest.raises(ValueError):
            _wire.as_ids(bad, 2, 10)
    worse: Any
    for worse in ([1.0, 2.0], ["1", "2"], [None, 1]):
        with pytest.raises(TypeError):
            _wire.as_ids(worse, 2, 10)


def test_lists_of_ids() -> None:
    assert _wire.as_id_list(5) == [5]
    assert _wire.as_id_list(np.int64(5)) == [5]  # type: ignore[arg-type]
    assert _wire.as_id_list(np.array([1, 2])) == [1, 2]
    assert _wire.as_id_list(iter([1, 2])) == [1, 2]
    with pytest.raises(TypeError):
        _wire.as_id_list(["1"])  # type: ignore[list-item]


def test_metadata() -> None:
    assert _wire.encode_metadata(None) is None
    wire = _wire.encode_metadata({"a": "é\\u0000", "b": [1, None]})
    assert wire is not None
    assert json.loads(wire) == {"a": "é\\u0000", "b": [1, None]}
    assert _wire.decode_metadata(wire.decode()) == {"a": "é\\u0000", "b": [1, None]}
    assert _wire.decode_metadata(None) is None


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ([1], TypeError),
        ("text", TypeError),
        ({"a": ...}, TypeError),
        ({"a": {1, 2}}, TypeError),
        ({"a": float("nan")}, ValueError),
        ({"a": "x\0y"}, ValueError),
        ({"a": [{"b\0": 1}]}, ValueError),
        ({"a": "\ud800"}, ValueError),
    ],
    ids=repr,
)
def test_metadata_that_jsonb_refuses(bad: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="metadata"):
        _wire.encode_metadata(bad)
    with pytest.raises(kind, match="vector 1"):
        _wire.encode_documents([None, bad], 2)


def test_documents_are_one_for_each_vector() -> None:
    assert _wire.encode_documents(None, 2) is None
    assert _wire.encode_documents([{}, None], 2) == [b"{}", None]
    with pytest.raises(ValueError, match="1 metadata for 2 vectors"):
        _wire.encode_documents([{}], 2)
    with pytest.raises(TypeError, match="sequence"):
        _wire.encode_documents({"a": 1}, 1)  # type: ignore[arg-type]
