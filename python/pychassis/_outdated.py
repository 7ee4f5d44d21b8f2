"""Graphs of a format that the extension's library does not read.

A new version of the extension may refuse a graph that an older one wrote.  The
vectors are in the table, so that a graph is only built anew.  On a private server
nobody but us would do it, and it is done by whoever stumbles over the graph first.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import logging

import psycopg
from psycopg import sql

from ._catalog import LOCK_BUILD, lock_key
from ._link import Link
from .exceptions import outdated_graph

__all__: list[str] = []

logger = logging.getLogger("pychassis.build")

# The error names the graph without its schema: all of that name are looked at.
_FIND = sql.SQL(
    "SELECT n.nspname, ic.oid::int8, i.indrelid::int8, hn.nspname"
    " FROM pg_catalog.pg_class ic"
    " JOIN pg_catalog.pg_am am ON am.oid = ic.relam"
    " JOIN pg_catalog.pg_proc h ON h.oid = am.amhandler"
    " JOIN pg_catalog.pg_namespace hn ON hn.oid = h.pronamespace"
    " JOIN pg_catalog.pg_index i ON i.indexrelid = ic.oid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = ic.relnamespace"
    " WHERE am.amname = 'chassis' AND ic.relname = %s"
)
# Fails on a graph that the library does not read.
_READ = sql.SQL("SELECT FROM {}.chassis_index_info(%s::pg_catalog.oid) LIMIT 1")
_LOCK = sql.SQL("SELECT pg_catalog.pg_advisory_lock(%s, %s)")
_UNLOCK = sql.SQL("SELECT pg_catalog.pg_advisory_unlock(%s, %s)")
_REINDEX = sql.SQL("REINDEX INDEX {}")


def build_anew(link: Link, error: psycopg.Error) -> bool:
    """Builds the graph that ``error`` says is outdated; False if it says no such thing.

    Of several who stumble over it one builds, and the others wait.  The connection
    must be in autocommit mode, and nobody else may have a transaction on it.
    """
    name = outdated_graph(error)
    if name is None:
        return False
    for row in link.query(_FIND, (name,)):
        _build_one(link, name, row, error)
    return True


def _is_outdated(link: Link, row: tuple[str, int, int, str]) -> bool:
    _, index, _, extension = row
    try:
        link.query(_READ.format(sql.Identifier(extension)), (index,))
    except psycopg.errors.FeatureNotSupported as error:
        if outdated_graph(error) is None:
            raise
        return True
    return False


def _build_one(
    link: Link, name: str, row: tuple[str, int, int, str], error: psycopg.Error
) -> None:
    schema, _, relation, _ = row
    keys = (LOCK_BUILD, lock_key(f"{relation}"))
    link.query(_LOCK, keys)
    try:
        # It is, unless somebody else has built it (or dropped it) since the error.
        if row not in link.query(_FIND, (name,)) or not _is_outdated(link, row):
            return
        logger.warning(
            "%s: building the graph anew, which takes a while and is done once",
            error.diag.message_primary,
        )
        link.execute(_REINDEX.format(sql.Identifier(schema, name)))
    except BaseException:
        if not (link.broken or link.idle):
            # Interrupted in mid-statement: the server goes on unless told.
            with contextlib.suppress(psycopg.Error):
                link.connection.cancel()
        raise
    finally:
        if link.idle and not link.broken:
            link.query(_UNLOCK, keys)
