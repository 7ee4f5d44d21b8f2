"""The parameters of an index, and the types its interface is written in.

Separate because users import it without opening anything.  It knows the ranges
that the access methods accept, and nothing of servers.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

import numpy as np
import numpy.typing as npt

__all__ = [
    "IndexOptions",
    "MatrixLike",
    "Metadata",
    "Metric",
    "PathLike",
    "Progress",
    "VectorLike",
]

PathLike = Union[str, "os.PathLike[str]"]
VectorLike = Union[Sequence[float], npt.NDArray[Any]]
MatrixLike = Union[Sequence[VectorLike], npt.NDArray[Any]]
Metadata = Mapping[str, Any]
Metric = Literal["l2", "cosine", "ip", "l1"]
# done, total; True shows tqdm's bar on standard error if tqdm is installed.
Progress = Union[bool, Callable[[int, int], object]]

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

METRICS: tuple[Metric, ...] = ("l2", "cosine", "ip", "l1")
BUILD_POLICIES = ("auto", "eager", "manual")
MAX_DIMENSIONS = 16_000

# name -> engine -> lowest, highest.  pgvector has no option below 4 either, but a
# smaller ef_construction than 2 m is raised to that for both (see build.py).
_RANGES: dict[str, dict[str, tuple[int, int]]] = {
    "max_connections": {"chassis": (2, 100), "pgvector": (2, 100)},
    "ef_construction": {"chassis": (4, 10_000), "pgvector": (4, 1_000)},
    "ef_search": {"chassis": (1, 10_000), "pgvector": (1, 1_000)},
}


@dataclass
class IndexOptions:
    """How the graph is built and searched.

    ``build`` says when ``flush()`` builds the graph: ``"auto"`` from 2,000 rows
    on, ``"eager"`` from the first row on, ``"manual"`` never (``rebuild()`` does).
    ``metric=None`` means: as stored, or ``"l2"`` for a new index.
    """

    max_connections: int = 16
    ef_construction: int = 200
    ef_search: int = 50
    metric: Metric | None = None
    build: Literal["auto", "eager", "manual"] = "auto"

    def validate(self, engine: str = "chassis") -> None:
        """Raises ValueError, naming the range, for a value ``engine`` refuses."""
        for name, ranges in _RANGES.items():
            lowest, highest = ranges[engine]
            check_integer(name, getattr(self, name), lowest, highest)
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(
                f"metric must be one of {', '.join(METRICS)}, not {self.metric!r}"
            )
        if self.build not in BUILD_POLICIES:
            raise ValueError(
                f"build must be one of {', '.join(BUILD_POLICIES)}, not {self.build!r}"
            )


def check_integer(name: str, value: object, lowest: int, highest: int) -> int:
    """``value`` as an int; TypeError or ValueError names what was expected."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not bool")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{name} must be an integer, not {kind}") from None
    if not lowest <= number <= highest:
        raise ValueError(f"{name} must be {lowest} to {highest}, not {number}")
    return number
