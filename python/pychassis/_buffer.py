"""Rows that were added and not yet sent: one array, filled row by row.

Separate because ``add()`` spends its time here.  It knows arrays and documents; who
locks it and where the rows go is the writer's business.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import threading

import numpy as np

from ._wire import Documents
from .options import Ids, Vectors

__all__: list[str] = []

# Whichever comes first: what one COPY should carry.
MAX_ROWS = 4096
MAX_BYTES = 16 * 2**20

_NO_ROWS: Vectors = np.empty((0, 0), np.float32)
_NO_IDS: Ids = np.empty(0, np.int64)


class Buffer:
    """A fixed number of rows; the memory is taken when the first one comes."""

    __slots__ = (
        "_documents",
        "_guard",
        "_lent",
        "capacity",
        "count",
        "dimensions",
        "ids",
        "rows",
    )

    capacity: int
    count: int

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._lent = False
        self.free()

    def allocate(self) -> None:
        """Takes the memory, unless it has it."""
        if not self.capacity:
            size = max(1, min(MAX_ROWS, MAX_BYTES // (4 * self.dimensions)))
            self.rows = np.empty((size, self.dimensions), np.float32)
            self.ids = np.empty(size, np.int64)
            self.capacity = size

    def free(self) -> None:
        """Empty, and without memory."""
        # New, since a forked child may have inherited it locked.
        self._guard = threading.Lock()
        self.rows, self.ids = _NO_ROWS, _NO_IDS
        self.capacity = self.count = 0
        self._documents: dict[int, bytes] = {}

    def clear(self) -> None:
        """Empty, ready for the next rows.

        Arrays that a search may still be looking at are left to it.
        """
        with self._guard:
            if self._lent:
                self._lent = False
                self.rows = np.empty_like(self.rows)
                self.ids = np.empty_like(self.ids)
            self.count = 0
        if self._documents:
            self._documents = {}

    def lend(self, most: int) -> tuple[Ids, Vectors] | None:
        """Ids and rows as they are now, to be read without the writer's lock.

        None when there are more than ``most``.
        """
        with self._guard:
            count = self.count
            if count > most:
                return None
            self._lent = True
            return self.ids[:count], self.rows[:count]

    def append(self, row: Vectors, id: int, document: bytes | None) -> None:
        """One more; there must be room."""
        self.rows[self.count] = row
        self.ids[self.count] = id
        if document is not None:
            self._documents[self.count] = document
        self.count += 1

    def contents(self) -> tuple[Ids, Vectors, Documents | None]:
        """What is in it; the arrays are views and end with ``clear()``."""
        count = self.count
        documents = None
        if self._documents:
            documents = [self._documents.get(number) for number in range(count)]
        return self.ids[:count], self.rows[:count], documents

    def has_id(self, id: int) -> bool:
        return bool((self.ids[: self.count] == id).any())
