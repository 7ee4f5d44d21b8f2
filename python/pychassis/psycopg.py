"""Adapters for programs that use psycopg themselves: NumPy arrays as ``vector``.

``register_vector(connection)`` once, and a one-dimensional array can be passed
as a parameter, a two-dimensional one as ``vector[]``, and both come back from
queries as float32 arrays, in text and in binary format.  It works for
connections, asynchronous connections and pools::

    from pychassis.psycopg import register_vector

    register_vector(connection)
    await register_vector(async_connection)
    ConnectionPool(conninfo, configure=register_vector)

Separate because ``VectorIndex`` does not need it, and because it changes what a
connection does, which only its owner may ask for.  It knows the type's two
formats and nothing of indexes.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import pq, sql
from psycopg.abc import AdaptContext, Buffer, PyFormat
from psycopg.adapt import Dumper, Loader
from psycopg.types import TypeInfo

from . import _wire
from .exceptions import ChassisError

__all__ = ["register_vector"]


@overload
def register_vector(
    connection: psycopg.Connection[Any], schema: str | None = None
) -> None: ...
@overload
def register_vector(
    connection: psycopg.AsyncConnection[Any], schema: str | None = None
) -> Awaitable[None]: ...
def register_vector(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
    schema: str | None = None,
) -> Awaitable[None] | None:
    """Let ``connection`` exchange vectors as NumPy arrays.

    The type is that of extension chassis, or of pgvector, whichever the search
    path finds; ``schema`` says where it is if that is not on the path.  Sends one
    query; the connection's transaction, if one is open, stays as it is.  Returns
    an awaitable for an AsyncConnection.  Raises ChassisError when the database has
    no such type.
    """
    # to_regtype takes the name as written in SQL, so it has to be quoted here.
    name = "vector" if schema is None else sql.Identifier(schema, "vector")
    if isinstance(connection, psycopg.AsyncConnection):
        return _register_later(connection, name)
    _register(TypeInfo.fetch(connection, name), connection)
    return None


async def _register_later(
    connection: psycopg.AsyncConnection[Any], name: str | sql.Identifier
) -> None:
    _register(await TypeInfo.fetch(connection, name), connection)


def _register(info: TypeInfo | None, context: AdaptContext) -> None:
    if info is None:
        raise ChassisError(
            "the database has no type vector on its search path: run CREATE "
            "EXTENSION chassis in it, or name the type's schema with schema="
        )
    # Makes vector[] known as the array of it.
    info.register(context)
    adapters = context.adapters if context else psycopg.adapters
    for dumper in _dumpers(info.oid, info.array_oid):
        adapters.register_dumper(np.ndarray, dumper)
    adapters.register_loader(info.oid, VectorLoader)
    adapters.register_loader(info.oid, VectorBinaryLoader)


# ---------------------------------------------------------------------- dumpers


def _as_float32(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return ``array`` as what the type holds, or raise an error psycopg reports."""
    if array.dtype.kind not in "fiu":
        raise psycopg.DataError(f"an array of {array.dtype} is no vector")
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def _text(vector: npt.NDArray[np.float32]) -> str:
    """Return the type's text format; shortest digits that give the same float32."""
    return "[" + ",".join(str(value) for value in vector) + "]"


class _ArrayDumper(Dumper):
    """Chooses between ``vector`` and ``vector[]`` by the number of dimensions."""

    # The class's own oid is what COPY's set_types() finds a dumper by.
    vector_oid = 0
    array_oid = 0

    def get_key(self, obj: Any, format: PyFormat) -> Any:
        return (self.cls, obj.ndim)

    def upgrade(self, obj: Any, format: PyFormat) -> Dumper:
        if obj.ndim not in (1, 2):
            raise psycopg.DataError(
                f"an array of shape {obj.shape} is neither a vector nor a matrix"
            )
        dumper = type(self)(self.cls)
        if obj.ndim == 2:
            dumper.oid = self.array_oid
        return dumper


class _TextDumper(_ArrayDumper):
    format = pq.Format.TEXT

    def dump(self, obj: npt.NDArray[Any]) -> Buffer:
        rows = _as_float32(obj)
        if rows.ndim == 1:
            return _text(rows).encode()
        return ("{" + ",".join(f'"{_text(row)}"' for row in rows) + "}").encode()


class _BinaryDumper(_ArrayDumper):
    format = pq.Format.BINARY

    def dump(self, obj: npt.NDArray[Any]) -> Buffer:
        rows = _as_float32(obj)
        if rows.ndim == 1:
            header = np.array([len(rows), 0], ">u2").tobytes()
            return header + rows.astype(">f4").tobytes()
        return _wire.encode_vectors(rows, self.vector_oid)


@functools.cache
def _dumpers(oid: int, array: int) -> tuple[type[Dumper], type[Dumper]]:
    """Return dumpers for a type's oids; classes are kept, psycopg caches by them."""
    oids = {"oid": oid, "vector_oid": oid, "array_oid": array}
    return (
        type("VectorTextDumper", (_TextDumper,), oids),
        type("VectorBinaryDumper", (_BinaryDumper,), oids),
    )


# ---------------------------------------------------------------------- loaders


class VectorLoader(Loader):
    """``[1,2,3]`` as a float32 array."""

    format = pq.Format.TEXT

    def load(self, data: Buffer) -> npt.NDArray[np.float32]:
        inner = bytes(data)[1:-1]
        if not inner:
            return np.empty(0, np.float32)
        return np.array(inner.split(b","), dtype=np.float32)


class VectorBinaryLoader(Loader):
    """The binary format as a float32 array."""

    format = pq.Format.BINARY

    def load(self, data: Buffer) -> npt.NDArray[np.float32]:
        return _wire.decode_vector(bytes(data))
