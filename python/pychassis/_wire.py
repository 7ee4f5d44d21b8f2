"""Vectors, ids and metadata as Python gives them, checked, and as bytes.

Separate because it does no I/O and can be tested with bytes alone.  It knows
NumPy and PostgreSQL's binary formats (vector, arrays, COPY) and nothing of
connections or tables.

A vector on the wire: int16 dimensions, int16 zero, then float4 elements, all
big-endian.  A row of COPY BINARY: int16 number of fields, then each field as int32
length (-1 for NULL) and bytes.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .exceptions import DimensionMismatchError
from .options import Ids, Metadata, Vectors, check_integer

__all__: list[str] = []

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"

# Larger writes are slower: libpq copies them again while it waits for the socket.
COPY_BLOCK = 32 * 1024

_FLOAT4 = np.dtype(np.float32)
_BIG_FLOAT4 = np.dtype(">f4")
_NULL = struct.pack(">i", -1)

# Before 1.24 NumPy only warned of rows of different lengths.
_RAGGED_WARNS = tuple(map(int, np.__version__.split(".")[:2])) < (1, 24)


# --- what users pass ----------------------------------------------------------


def _as_array(values: object) -> npt.NDArray[Any]:
    if not _RAGGED_WARNS or isinstance(values, np.ndarray):
        return np.asarray(values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(values)


def _as_floats(values: object, what: str) -> npt.NDArray[Any]:
    """``values`` as an array of some real type; TypeError when it is none."""
    try:
        array = _as_array(values)
    except (ValueError, Warning) as error:  # rows of different lengths
        raise DimensionMismatchError(
            f"{what} must be rectangular: {error}. Pass rows of the same length"
        ) from error
    kind = array.dtype.kind
    if kind == "O" and array.ndim:
        # Decimal, Fraction and the like; what is no number fails here.  A ragged
        # list, which older NumPy makes an array of lists, is a matter of shape.
        if any(isinstance(item, (Sequence, np.ndarray)) for item in array.flat):
            raise DimensionMismatchError(
                f"{what} must be rectangular: pass rows of the same length"
            )
        if any(item is None or isinstance(item, (str, bytes)) for item in array.flat):
            raise TypeError(f"{what} must consist of numbers")
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{what} must consist of numbers: {error}") from error
    if kind not in "fiub" or array.ndim == 0:
        if array.size == 0 and array.ndim:
            return array.astype(np.float32)
        raise TypeError(
            f"{what} must consist of numbers, not {type(values).__name__}"
            + (f" of {array.dtype}" if array.ndim else "")
        )
    return array


def _to_float4(array: npt.NDArray[Any], what: str) -> Vectors:
    """Converted, and refused unless every element is finite afterwards."""
    if array.dtype != _FLOAT4:
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(np.float32)
    if not _all_finite(array):
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"{what} must be finite in single precision: element "
            f"{where if len(where) > 1 else where[0]} is {array[tuple(where)]}"
        )
    return array


def _all_finite(array: Vectors) -> bool:
    """In pieces, so that a large matrix needs no mask of its own size."""
    step = max(1, 2**20 // max(1, array.shape[-1]))
    if array.ndim == 1:
        return bool(np.isfinite(array).all())
    return all(
        bool(np.isfinite(array[start : start + step]).all())
        for start in range(0, len(array), step)
    )


def _mismatch(got: object, dimensions: int) -> DimensionMismatchError:
    return DimensionMismatchError(
        f"expected {dimensions} dimensions, got {got}: the number is fixed when an "
        "index is created"
    )


def as_vector(values: object, dimensions: int) -> Vectors:
    """One vector as float32, checked."""
    array = _as_floats(values, "a vector")
    if array.ndim != 1:
        raise _mismatch(f"an array of shape {array.shape}", dimensions)
    if len(array) != dimensions:
        raise _mismatch(len(array), dimensions)
    return _to_float4(array, "a vector")


def as_matrix(values: object, dimensions: int) -> Vectors:
    """Rows of vectors as float32, checked; no rows at all is a matrix, too."""
    array = _as_floats(values, "vectors")
    if array.size == 0 and array.ndim <= 2 and len(array) == 0:
        return np.empty((0, dimensions), np.float32)
    if array.ndim != 2:
        raise _mismatch(f"an array of shape {array.shape}", dimensions)
    if array.shape[1] != dimensions:
        raise _mismatch(array.shape[1], dimensions)
    return _to_float4(array, "vectors")


def row_checker(dimensions: int) -> Callable[[object], Vectors]:
    """``as_vector`` for one number of dimensions, with a short way for NumPy rows.

    ``add()`` is called in loops over matrices, where a float32 row of the right
    shape takes about a microsecond here.
    """
    shape = (dimensions,)
    isfinite, array_type, float4, false = np.isfinite, np.ndarray, _FLOAT4, b"\0"

    def check(values: object) -> Vectors:
        if (
            values.__class__ is array_type
            and values.dtype is float4
            and values.shape == shape
        ):
            # A byte search costs a third less than all(); a dot product as a
            # test would be faster still, but NumPy warns when it overflows.
            if false not in isfinite(values).tobytes():
                return values
        return as_vector(values, dimensions)

    return check


def query_encoder(dimensions: int) -> Callable[[object], bytes]:
    """Checks a query and gives it in the vector type's binary format."""
    check = row_checker(dimensions)
    header = struct.pack(">HH", dimensions, 0)
    big = _BIG_FLOAT4

    def encode(values: object) -> bytes:
        return header + check(values).astype(big).tobytes()

    return encode


def as_ids(values: npt.ArrayLike, count: int | None, highest: int) -> Ids:
    """Distinct ids as int64; ``count`` is how many there must be."""
    array = np.asarray(values)
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, not {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"ids must be one-dimensional, not of shape {array.shape}")
    if count is not None and len(array) != count:
        raise ValueError(f"{len(array)} ids for {count} vectors: pass one for each")
    if len(array) and (int(array.min()) < 0 or int(array.max()) > highest):
        raise ValueError(f"ids must be 0 to {highest}")
    ids: Ids = array.astype(np.int64)
    if count is not None and len(np.unique(ids)) != len(ids):
        values_, counts = np.unique(ids, return_counts=True)
        raise ValueError(f"id {values_[counts > 1][0]} occurs more than once")
    return ids


def as_id_list(ids: int | Iterable[int]) -> list[int]:
    """One id or several, as Python integers; those out of range match nothing."""
    if isinstance(ids, np.ndarray):
        ids = ids.ravel().tolist()
    elif isinstance(ids, (int, np.integer)):
        ids = [int(ids)]
    limit = 2**63 - 1
    return [check_integer("id", each, -limit, limit) for each in ids]


# --- metadata -----------------------------------------------------------------


def encode_metadata(document: Metadata | None) -> bytes | None:
    """Metadata as JSON text that jsonb takes, or None; refused here otherwise."""
    if document is None:
        return None
    if not isinstance(document, Mapping):
        raise TypeError(f"metadata must be a mapping, not {type(document).__name__}")
    try:
        text = json.dumps(dict(document), ensure_ascii=False, allow_nan=False)
        wire = text.encode()
    except TypeError as error:
        raise TypeError(f"metadata must be JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"metadata must be JSON: {error}") from error
    if "\\u0000" in text and _has_nul(document):
        raise ValueError("metadata must not contain NUL characters: jsonb has none")
    return wire


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return any(map(_has_nul, value))
    return False


Documents = list["bytes | None"]


def encode_documents(
    metadata: Sequence[Metadata | None] | None, count: int
) -> Documents | None:
    """One document, or None, for each of ``count`` vectors."""
    if metadata is None:
        return None
    if isinstance(metadata, (Mapping, str, bytes)):
        raise TypeError("metadata must be a sequence with one mapping per vector")
    documents = []
    for number, document in enumerate(metadata):
        try:
            documents.append(encode_metadata(document))
        except (TypeError, ValueError) as error:
            raise type(error)(f"metadata of vector {number}: {error}") from error
    if len(documents) != count:
        raise ValueError(
            f"{len(documents)} metadata for {count} vectors: pass one for each"
        )
    return documents


def decode_metadata(text: str | None) -> dict[str, Any] | None:
    """What was stored; an attached table may hold other JSON than objects."""
    if text is None:
        return None
    value: dict[str, Any] = json.loads(text)
    return value


# --- to the server ------------------------------------------------------------


def _row_type(dimensions: int, fields: int) -> np.dtype[Any]:
    """The layout of a COPY BINARY row up to its vector's last element."""
    return np.dtype(
        [
            ("fields", ">i2"),
            ("id_length", ">i4"),
            ("id", ">i8"),
            ("vector_length", ">i4"),
            ("dimensions", ">u2"),
            ("zero", ">u2"),
            ("vector", ">f4", (dimensions,)),
            *([("null", ">i4")] if fields == 3 else []),
        ]
    )


def _fill_rows(ids: Ids, rows: Vectors, kind: np.dtype[Any], fields: int) -> Any:
    dimensions = rows.shape[1]
    block = np.empty(len(ids), kind)
    block["fields"] = fields
    block["id_length"] = 8
    block["id"] = ids
    block["vector_length"] = 4 + 4 * dimensions
    block["dimensions"] = dimensions
    block["zero"] = 0
    block["vector"] = rows
    return block


def copy_blocks(
    ids: Ids, rows: Vectors, documents: Documents | None
) -> Iterator[bytes]:
    """The rows as data of ``COPY … (id, embedding[, metadata]) BINARY``.

    Three fields when there are documents, two otherwise; with header and trailer.
    """
    fields = 2 if documents is None else 3
    kind = _row_type(rows.shape[1], 2)
    # Filled in larger pieces than sent: NumPy's cost is by the call.
    step = max(1, 8 * COPY_BLOCK // kind.itemsize)
    yield COPY_HEADER
    for start in range(0, len(ids), step):
        stop = start + step
        block = _fill_rows(ids[start:stop], rows[start:stop], kind, fields)
        if documents is None:
            wire = block.tobytes()
        else:
            wire = _with_documents(block, documents[start:stop])
        for sent in range(0, len(wire), COPY_BLOCK):
            yield wire[sent : sent + COPY_BLOCK]
    yield COPY_TRAILER


def _with_documents(block: Any, documents: Documents) -> bytes:
    """Rows of different lengths: jsonb is its version, 1, and then text."""
    parts = []
    for row, document in zip(block, documents):
        parts.append(row.tobytes())
        if document is None:
            parts.append(_NULL)
        else:
            parts.append(struct.pack(">ib", len(document) + 1, 1))
            parts.append(document)
    return b"".join(parts)


def encode_vectors(rows: Vectors, oid: int) -> bytes:
    """A one-dimensional array of vectors, ``vector[]``; ``oid`` is vector's."""
    count, dimensions = rows.shape
    kind = np.dtype(
        [
            ("length", ">i4"),
            ("dimensions", ">u2"),
            ("zero", ">u2"),
            ("vector", ">f4", (dimensions,)),
        ]
    )
    block = np.empty(count, kind)
    block["length"] = 4 + 4 * dimensions
    block["dimensions"] = dimensions
    block["zero"] = 0
    block["vector"] = rows
    return _array_header(count, oid) + block.tobytes()


def encode_int8s(values: Ids) -> bytes:
    """A one-dimensional ``int8[]``."""
    block = np.empty(len(values), np.dtype([("length", ">i4"), ("value", ">i8")]))
    block["length"] = 8
    block["value"] = values
    return _array_header(len(values), 20) + block.tobytes()


def encode_texts(values: Documents) -> bytes:
    """A one-dimensional ``text[]`` with NULLs."""
    parts = [_array_header(len(values), 25, any(each is None for each in values))]
    for each in values:
        if each is None:
            parts.append(_NULL)
        else:
            parts.append(struct.pack(">i", len(each)))
            parts.append(each)
    return b"".join(parts)


def _array_header(count: int, oid: int, nulls: bool = False) -> bytes:
    if count == 0:
        return struct.pack(">iiI", 0, 0, oid)
    return struct.pack(">iiIii", 1, int(nulls), oid, count, 1)


# --- from the server ----------------------------------------------------------


def decode_array(wire: bytes | None, kind: str) -> npt.NDArray[Any]:
    """A one-dimensional array without NULLs of a fixed-size type (">i8", ">f8")."""
    if wire is None:
        return np.empty(0, kind)
    if struct.unpack_from(">i", wire)[0] == 0:
        return np.empty(0, kind)
    row = np.dtype([("length", ">i4"), ("value", kind)])
    values: npt.NDArray[Any] = np.frombuffer(wire, row, offset=20)["value"]
    return values


def decode_vector(wire: bytes) -> Vectors:
    """One vector."""
    return np.frombuffer(wire, _BIG_FLOAT4, offset=4).astype(np.float32)


class RowReader:
    """Takes ``(id, embedding, metadata::text)`` rows of COPY BINARY apart."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._kind = _row_type(dimensions, 2)

    def decode(self, rows: Sequence[bytes]) -> tuple[Ids, Vectors, list[str | None]]:
        """Blocks of whole rows; the fixed part of every row has the same length."""
        size = self._kind.itemsize
        fixed = np.frombuffer(b"".join([row[:size] for row in rows]), self._kind)
        documents = [
            row[size + 4 :].decode() if len(row) > size + 4 else None for row in rows
        ]
        return (
            fixed["id"].astype(np.int64),
            fixed["vector"].astype(np.float32),
            documents,
        )
