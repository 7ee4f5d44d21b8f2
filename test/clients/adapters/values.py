"""The sample embeddings as the classes of pgvector-python.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pgvector import Bit, HalfVector, SparseVector, Vector

from samples import Array


def wrap(type_: str, row: Array) -> Any:
    """An embedding as the documentation passes one of that type."""
    if type_ == "vector":
        return row
    if type_ == "halfvec":
        return HalfVector(row)
    if type_ == "sparsevec":
        return SparseVector(row)
    return Bit(row.tolist())


def unwrap(value: Any) -> list[float]:
    """The numbers of what a client gives back.

    In text they are as short as identifies a 32-bit float: 0.34570312 is 0.345703125.
    """
    if isinstance(value, Vector | HalfVector | SparseVector):
        value = value.to_list()
    return [float(x) for x in np.asarray(value, np.float32)]


def bits(row: Array) -> str:
    return "".join("1" if bit else "0" for bit in row)
