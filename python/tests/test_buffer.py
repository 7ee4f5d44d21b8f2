"""The buffer of rows that were not sent, and what a search may look at.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import numpy as np

from pychassis import _buffer


def filled(rows: int, dimensions: int = 4) -> _buffer.Buffer:
    buffer = _buffer.Buffer(dimensions)
    buffer.allocate()
    for number in range(rows):
        row = np.full(dimensions, number, np.float32)
        buffer.append(row, number + 10, b"{}" if number == 1 else None)
    return buffer


def test_memory_is_taken_with_the_first_row() -> None:
    buffer = _buffer.Buffer(4)
    assert buffer.capacity == 0
    buffer.allocate()
    assert buffer.capacity == _buffer.MAX_ROWS
    rows = buffer.rows
    buffer.allocate()
    assert buffer.rows is rows
    buffer.free()
    assert buffer.capacity == 0


def test_rows_are_fewer_when_they_are_large() -> None:
    buffer = _buffer.Buffer(16_000)
    buffer.allocate()
    assert buffer.rows.nbytes <= _buffer.MAX_BYTES
    assert buffer.capacity >= 1


def test_contents() -> None:
    buffer = filled(3)
    ids, rows, documents = buffer.contents()
    assert ids.tolist() == [10, 11, 12]
    assert rows[:, 0].tolist() == [0, 1, 2]
    assert documents == [None, b"{}", None]
    assert buffer.has_id(11)
    assert not buffer.has_id(13)
    buffer.clear()
    assert buffer.contents()[2] is None
    assert not buffer.has_id(11)


def test_what_was_lent_does_not_change() -> None:
    buffer = filled(3)
    lent = buffer.lend(3)
    assert lent is not None
    buffer.clear()
    buffer.append(np.full(4, 99, np.float32), 99, None)
    assert lent[0].tolist() == [10, 11, 12]
    assert lent[1][:, 0].tolist() == [0, 1, 2]
    assert buffer.lend(0) is None


def test_memory_is_kept_when_nobody_looks() -> None:
    buffer = filled(3)
    rows = buffer.rows
    buffer.clear()
    assert buffer.rows is rows
