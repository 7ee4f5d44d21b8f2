"""What searches and ``stats()`` return.

Plain values without a connection: they can be kept, pickled and compared after
the index is closed.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from .options import IndexOptions

__all__ = ["IndexStats", "SearchBatch", "SearchResult"]


@dataclass
class SearchResult:
    """One neighbor: its id, its distance (lower is closer), and its metadata.

    ``metadata`` is None unless the search was asked for it.
    """

    id: int
    distance: float
    metadata: dict[str, Any] | None = field(default=None, compare=False, repr=False)


class SearchBatch(Sequence[list[SearchResult]]):
    """The answers to several queries, as arrays and as lists of results.

    ``ids`` and ``distances`` have one row per query and k columns; where fewer
    than k were found the rest is -1 and inf.  ``counts`` says how many were.
    """

    __slots__ = ("counts", "distances", "ids")

    def __init__(
        self,
        ids: npt.NDArray[np.int64],
        distances: npt.NDArray[np.float32],
        counts: npt.NDArray[np.intp],
    ) -> None:
        self.ids = ids
        self.distances = distances
        self.counts = counts

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> list[SearchResult]: ...
    @overload
    def __getitem__(self, index: slice) -> SearchBatch: ...
    def __getitem__(self, index: int | slice) -> list[SearchResult] | SearchBatch:
        if isinstance(index, slice):
            return SearchBatch(
                self.ids[index], self.distances[index], self.counts[index]
            )
        count = int(self.counts[index])
        ids = self.ids[index, :count].tolist()
        distances = self.distances[index, :count].tolist()
        return [SearchResult(*pair) for pair in zip(ids, distances)]

    def __repr__(self) -> str:
        return f"SearchBatch(queries={len(self)}, k={self.ids.shape[1]})"


@dataclass(frozen=True)
class IndexStats:
    """What ``VectorIndex.stats()`` reports; sizes are in bytes."""

    name: str
    engine: str
    engine_version: str
    server_version: str
    table: str
    dimensions: int
    metric: str
    options: IndexOptions
    count: int
    buffered: int
    next_id: int | None
    sql_index: str | None
    indexed: bool
    table_size: int
    index_size: int
    writer: str | None
    details: dict[str, Any] = field(default_factory=dict)
