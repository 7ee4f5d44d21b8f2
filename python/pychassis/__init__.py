"""Vector similarity search on PostgreSQL with the chassis index.

The implementation lives in this package; ``chassis`` gives the same names.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .exceptions import (
    ChassisError,
    DimensionMismatchError,
    FileFormatError,
    IndexLockedError,
    IndexNotFoundError,
    InvalidPathError,
    NullPointerError,
    ServerError,
    StorageFullError,
    UpgradeRequiredError,
)
from .index import VectorIndex
from .options import IndexOptions, Metric
from .results import IndexStats, SearchBatch, SearchResult

if TYPE_CHECKING:
    from .aio import AsyncVectorIndex

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

__version__ = "0.2.0"

# A library says nothing unless the program asks; warnings still reach stderr
# through logging's last resort when the program configures nothing.
logging.getLogger("pychassis")


def __getattr__(name: str) -> Any:
    """``AsyncVectorIndex`` on first use: it imports asyncio, which takes long."""
    if name == "AsyncVectorIndex":
        from .aio import AsyncVectorIndex

        return AsyncVectorIndex
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
