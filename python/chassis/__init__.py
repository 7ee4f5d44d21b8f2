"""The names of ``pychassis`` under the name of the extension.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pychassis import (
    ChassisError,
    DimensionMismatchError,
    FileFormatError,
    IndexLockedError,
    IndexNotFoundError,
    IndexOptions,
    IndexStats,
    InvalidPathError,
    Metric,
    NullPointerError,
    SearchBatch,
    SearchResult,
    ServerError,
    StorageFullError,
    UpgradeRequiredError,
    VectorIndex,
    __version__,
)

if TYPE_CHECKING:
    from pychassis.aio import AsyncVectorIndex

__all__ = [
    "AsyncVectorIndex",
    "ChassisError",
    "DimensionMismatchError",
    "FileFormatError",
    "IndexLockedError",
    "IndexNotFoundError",
    "IndexOptions",
    "IndexStats",
    "InvalidPathError",
    "Metric",
    "NullPointerError",
    "SearchBatch",
    "SearchResult",
    "ServerError",
    "StorageFullError",
    "UpgradeRequiredError",
    "VectorIndex",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """``AsyncVectorIndex`` on first use, as in ``pychassis``."""
    if name == "AsyncVectorIndex":
        from pychassis.aio import AsyncVectorIndex

        return AsyncVectorIndex
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
