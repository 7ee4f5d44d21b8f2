"""Composed SQL as text where there is no connection to quote names with.

Separate because psycopg before 3.2 cannot: its ``Identifier`` asks libpq, which
asks for a connection.  Values are still quoted by psycopg.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from psycopg import sql

__all__ = ["quote_name", "render"]


def quote_name(*parts: str) -> str:
    """A name with its schema before it, in double quotes."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def render(query: sql.Composable) -> str:
    """The text of ``query``, whatever it is composed of."""
    if isinstance(query, sql.Composed):
        return "".join(map(render, query))
    if isinstance(query, sql.Identifier):
        return quote_name(*query._obj)
    return query.as_string(None)
