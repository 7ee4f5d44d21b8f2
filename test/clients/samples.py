"""Made-up embeddings of every type, and the exact answers to searches in them.

Clients are handed these values and what they find is compared with what numpy
computes here.  Every distance from the query differs from every other, so there is
one right order; and there are fewer rows than ``hnsw.ef_search`` has by default
(40), so a graph search sees them all and its answer is exact on any server.

Knows no client and no database.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ROWS = 36
DIMENSIONS = 8
SPARSE_DIMENSIONS = 24
BITS = 64
K = 5


def _dense(seed: int, rows: int) -> Array:
    """Exact as 16-bit floats too, so that vector and halfvec agree."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, DIMENSIONS))
    return values.astype(np.float16).astype(np.float32)


def _sparse(seed: int, rows: int) -> Array:
    rng = np.random.default_rng(seed)
    values = np.zeros((rows, SPARSE_DIMENSIONS), np.float32)
    for row in values:
        places = rng.choice(SPARSE_DIMENSIONS, size=9, replace=False)
        row[places] = rng.standard_normal(len(places)).astype(np.float16)
    return values


def _bits(rows: int) -> Array:
    """Row i has its first i + 1 bits set, so no two are equally far from one."""
    return np.arange(BITS)[None, :] < np.arange(1, rows + 1)[:, None]


_VALUES: dict[str, Array] = {
    "vector": _dense(1, ROWS),
    "halfvec": _dense(2, ROWS),
    "sparsevec": _sparse(3, ROWS),
    "bit": _bits(ROWS),
}

_QUERIES: dict[str, Array] = {
    "vector": _dense(11, 1)[0],
    "halfvec": _dense(12, 1)[0],
    "sparsevec": _sparse(13, 1)[0],
    "bit": _bits(1)[0],
}


def values(type_: str) -> Array:
    """One row an embedding; that of id n is row n - 1."""
    return _VALUES[type_]


def query(type_: str) -> Array:
    return _QUERIES[type_]


# --- distances, by the operator that stands for each -----------------------------


def _cosine(rows: Array, at: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(at)
    return np.asarray(1 - rows @ at / lengths)


_DISTANCES: dict[str, Callable[[Array, Array], Array]] = {
    "<->": lambda rows, at: np.asarray(np.linalg.norm(rows - at, axis=1)),
    "<#>": lambda rows, at: np.asarray(-(rows @ at)),
    "<=>": _cosine,
    "<+>": lambda rows, at: np.asarray(np.abs(rows - at).sum(axis=1)),
    "<~>": lambda rows, at: np.asarray((rows != at).sum(axis=1)),
    "<%>": lambda rows, at: np.asarray(
        1 - (rows * at).sum(axis=1) / np.maximum(rows, at).sum(axis=1)
    ),
}


def distances(operator: str, rows: Array, at: Array) -> Array:
    """From every row to one vector, as the operator defines it."""
    return _DISTANCES[operator](rows.astype(np.float64), at.astype(np.float64))


def nearest(operator: str, rows: Array, at: Array, k: int = K) -> list[int]:
    """Ids, counted from 1, of the k nearest rows, nearest first."""
    order = np.argsort(distances(operator, rows, at), kind="stable")
    return [int(row) + 1 for row in order[:k]]


@dataclass(frozen=True)
class Case:
    """One operator class, and what clients call its distance."""

    type: str
    opclass: str
    operator: str
    method: str
    """The name of the distance in pgvector-python's SQLAlchemy and Peewee types."""

    @property
    def column(self) -> str:
        """The column's type as SQL."""
        return f"{self.type}({self.size})"

    @property
    def size(self) -> int:
        return int(values(self.type).shape[1])

    @property
    def rows(self) -> Array:
        return values(self.type)

    @property
    def query(self) -> Array:
        return query(self.type)

    @property
    def nearest(self) -> list[int]:
        return nearest(self.operator, self.rows, self.query)

    def radius(self, count: int) -> float:
        """A distance within which exactly so many rows lie."""
        away = sorted(distances(self.operator, self.rows, self.query))
        return float(away[count - 1] + away[count]) / 2

    def __str__(self) -> str:
        return self.opclass


_NUMERIC = [
    ("l2", "<->", "l2_distance"),
    ("ip", "<#>", "max_inner_product"),
    ("cosine", "<=>", "cosine_distance"),
    ("l1", "<+>", "l1_distance"),
]

CASES = [
    *(
        Case(type_, f"{type_}_{metric}_ops", operator, method)
        for type_ in ("vector", "halfvec", "sparsevec")
        for metric, operator, method in _NUMERIC
    ),
    Case("bit", "bit_hamming_ops", "<~>", "hamming_distance"),
    Case("bit", "bit_jaccard_ops", "<%>", "jaccard_distance"),
]


def cases(*types: str) -> list[Case]:
    return [case for case in CASES if case.type in types]


def text(number: int) -> str:
    """The document whose embedding is row ``number`` - 1 of the vectors."""
    return f"document {number}"


def embed(document: str) -> list[float]:
    """What a model would do: the embedding of such a text, or of the query."""
    if document == "query":
        return [float(x) for x in query("vector")]
    return [float(x) for x in values("vector")[int(document.split()[-1]) - 1]]
