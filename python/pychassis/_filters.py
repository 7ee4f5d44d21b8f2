"""Compiles ``where=`` filters on metadata into a condition for the server.

Separate because the dialect is a small language with rules of its own: it knows
``jsonb`` and nothing of tables, vectors or connections.  The rules, which the
tests check against a second implementation in Python:

* A document is what was stored as metadata; none counts as ``{}``.
* A field is a key, or a path through objects written with dots (``"a.b"``).  Where
  a dot, a backslash or a leading dollar sign belongs to the key itself, a
  backslash goes before it.  Paths do not enter arrays.
* ``null`` is a value: ``{"a": None}`` finds documents whose ``a`` is null and not
  those without ``a``; ``{"a": {"$exists": False}}`` finds the latter.
* Kinds never mix: ``True`` is not ``1``, ``"1"`` is not ``1``; ``1`` is ``1.0``.
* A field that is missing, or of another kind than the operand, fails ``$eq``,
  ``$in``, ``$contains`` and every comparison.  ``$ne``, ``$nin`` and ``$not`` are
  the exact opposites, so they are true for it.
* Strings are compared by code point, whatever the locale of the database.

A condition may come out as NULL where it is not true.  ``WHERE``, ``AND`` and
``OR`` treat that as false; negations in here are ``IS NOT TRUE``, which makes
them exact.  Whatever is true by containment is written as a plain
``column @> value``, because only as such can a GIN index answer it.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from psycopg import sql

__all__ = ["compile_where"]

# Filters are written by people or by small programs; a deeper one is a mistake,
# or an attack on the recursion limits of Python and of the server's parser.
MAX_DEPTH = 50

# Up to here $in is a chain of containments, each of which the GIN index can
# answer; above, planning the chain costs more than the index gains.
MAX_INDEXED_ALTERNATIVES = 64

# Python refuses to write integers of more than 4,300 digits; this is a bit less.
MAX_INTEGER_BITS = 14_000


class _Condition(NamedTuple):
    """A piece of the condition, and the values of its placeholders in order."""

    text: sql.Composable
    values: list[Any]


_TRUE = _Condition(sql.SQL("TRUE"), [])
_FALSE = _Condition(sql.SQL("FALSE"), [])


def compile_where(
    where: Mapping[str, Any], column: sql.Composable
) -> tuple[sql.Composable, list[Any]]:
    """Return the condition on ``column``, a nullable jsonb, and its parameters.

    The condition may be NULL for a row that does not match: use it in WHERE or
    under AND and OR, never under NOT.  Raises ValueError, naming the field or
    the operator at fault, for whatever is not a filter.
    """
    condition = _Compiler(column).document(where, 0)
    return condition.text, condition.values


def _wrong(what: str) -> ValueError:
    """Return the error for a filter that is none, whatever is wrong with it."""
    return ValueError(f"where: {what}")


def _join(parts: Sequence[_Condition], word: str) -> _Condition:
    """Combine conditions with AND or OR."""
    if len(parts) == 1:
        return parts[0]
    text = sql.SQL(f" {word} ").join(part.text for part in parts)
    values = [value for part in parts for value in part.values]
    return _Condition(sql.SQL("({})").format(text), values)


def _negate(part: _Condition) -> _Condition:
    """Return what is true exactly where ``part`` is false or NULL."""
    return _Condition(sql.SQL("({} IS NOT TRUE)").format(part.text), part.values)


class _Field:
    """A path into the document, and the ways to speak of it in SQL."""

    def __init__(self, name: str, column: sql.Composable) -> None:
        self.name = name
        self.column = column
        self.keys = _split(name)

    def value(self) -> _Condition:
        """Return the field's value; NULL when it is missing.

        A chain of ``->`` with text enters objects only; ``#>`` would take a key
        that looks like a number for a place in an array.
        """
        step = sql.SQL(" -> %s::text") * len(self.keys)
        return _Condition(sql.SQL("({}{})").format(self.column, step), list(self.keys))

    def holds(self, value: Any) -> _Condition:
        """Return that the document contains ``value`` at this path."""
        document = value
        for key in reversed(self.keys):
            document = {key: document}
        text = sql.SQL("({} @> %s::jsonb)").format(self.column)
        return _Condition(text, [json.dumps(document)])

    def test(
        self, template: sql.SQL, *values: Any, **parts: sql.Composable
    ) -> _Condition:
        """Return ``template`` with this field's value for each ``{value}`` in it.

        ``values`` belong to the placeholders after the last ``{value}``.
        """
        value = self.value()
        places = template.as_string(None).count("{value}")
        text = template.format(value=value.text, **parts)
        return _Condition(text, value.values * places + list(values))


def _split(name: str) -> list[str]:
    """Split a path at its dots, except escaped ones."""
    keys = [""]
    letters = iter(name)
    for letter in letters:
        if letter == "\\":
            following = next(letters, "")
            keys[-1] += following if following in ("\\", ".", "$") else "\\" + following
        elif letter == ".":
            keys.append("")
        else:
            keys[-1] += letter
    if "" in keys:
        raise _wrong(f"field {name!r} has an empty key")
    if len(keys) > MAX_DEPTH:
        raise _wrong(f"field {name!r} is nested deeper than {MAX_DEPTH}")
    for key in keys:
        _check_text(key, f"field {name!r}")
    return keys


class _Compiler:
    """Walks a filter; one method for each kind of thing that may stand in it."""

    def __init__(self, column: sql.Composable) -> None:
        self.column = column

    def document(self, where: Any, depth: int) -> _Condition:
        """Compile a mapping of fields and of $and, $or, $not."""
        if not isinstance(where, Mapping):
            raise _wrong(
                f"a filter is a mapping such as {{'year': 2024}}, "
                f"not {type(where).__name__}"
            )
        if depth > MAX_DEPTH:
            raise _wrong(f"filter is nested deeper than {MAX_DEPTH}")
        parts = [self._entry(key, value, depth) for key, value in where.items()]
        return _join(parts, "AND") if parts else _TRUE

    def _entry(self, key: Any, value: Any, depth: int) -> _Condition:
        if not isinstance(key, str):
            raise _wrong(f"field names are strings, not {key!r}")
        if key in ("$and", "$or"):
            return self._several(key, value, depth)
        if key == "$not":
            return _negate(self.document(value, depth + 1))
        if key.startswith("$"):
            raise _wrong(
                f"unknown operator {key!r} (here: $and, $or, $not, or a field)"
            )
        return self._field(_Field(key, self.column), value, depth)

    def _several(self, operator: str, value: Any, depth: int) -> _Condition:
        if not isinstance(value, (list, tuple)) or not value:
            raise _wrong(f"{operator} needs a list of at least one filter")
        parts = [self.document(item, depth + 1) for item in value]
        return _join(parts, "AND" if operator == "$and" else "OR")

    def _field(self, field: _Field, condition: Any, depth: int) -> _Condition:
        """Compile what is asked of one field: a value, or operators."""
        if not _has_operators(condition, field.name):
            return _equal(field, _plain(condition, f"field {field.name!r}"))
        if depth > MAX_DEPTH:
            raise _wrong(f"filter is nested deeper than {MAX_DEPTH}")
        parts = []
        for operator, operand in condition.items():
            where = f"{operator} on field {field.name!r}"
            if operator == "$not":
                parts.append(_negate(self._not_operand(field, operand, depth)))
            elif operator in _OPERATORS:
                parts.append(_OPERATORS[operator](field, operand, where))
            else:
                known = ", ".join([*_OPERATORS, "$not"])
                raise _wrong(f"unknown operator {where} (known: {known})")
        return _join(parts, "AND")

    def _not_operand(self, field: _Field, operand: Any, depth: int) -> _Condition:
        if not _has_operators(operand, field.name):
            raise _wrong(
                f"$not on field {field.name!r} needs operators, "
                f"such as {{'$gt': 1}}; use $ne for a value"
            )
        return self._field(field, operand, depth + 1)


def _has_operators(condition: Any, name: str) -> bool:
    """Tell ``{"$gt": 1}`` from a value; refuse a mixture of both."""
    if not isinstance(condition, Mapping) or not condition:
        return False
    marked = [isinstance(key, str) and key.startswith("$") for key in condition]
    if any(marked) and not all(marked):
        raise _wrong(f"field {name!r} mixes operators and plain keys")
    return all(marked)


# ------------------------------------------------------------------ operators


def _equal(field: _Field, value: Any) -> _Condition:
    """Return equality; for an object or array the containment is a pre-test."""
    if not isinstance(value, (dict, list)):
        return field.holds(value)
    exact = field.test(sql.SQL("({value} = %s::jsonb)"), json.dumps(value))
    return _join([field.holds(value), exact], "AND")


def _eq(field: _Field, operand: Any, where: str) -> _Condition:
    return _equal(field, _plain(operand, where))


def _ne(field: _Field, operand: Any, where: str) -> _Condition:
    return _negate(_eq(field, operand, where))


def _in(field: _Field, operand: Any, where: str) -> _Condition:
    if isinstance(operand, np.ndarray):
        operand = operand.tolist()
    if not isinstance(operand, (list, tuple, set, frozenset, range)):
        raise _wrong(f"{where} needs a list, not {type(operand).__name__}")
    values = [_plain(item, where) for item in operand]
    if not values:
        return _FALSE
    if len(values) <= MAX_INDEXED_ALTERNATIVES:
        return _join([_equal(field, value) for value in values], "OR")
    texts = [json.dumps(value) for value in values]
    return field.test(sql.SQL("({value} = ANY (%s::text[]::jsonb[]))"), texts)


def _nin(field: _Field, operand: Any, where: str) -> _Condition:
    return _negate(_in(field, operand, where))


def _contains(field: _Field, operand: Any, where: str) -> _Condition:
    """Return that an array has the element, or a string the substring."""
    value = _plain(operand, where)
    if isinstance(value, (dict, list)):
        raise _wrong(
            f"{where} looks for one string, number, bool or null, "
            f"not {type(operand).__name__}"
        )
    element = field.holds([value])
    if not isinstance(value, str):
        return element
    substring = field.test(
        sql.SQL(
            "(jsonb_typeof({value}) = 'string' AND "
            'strpos(({value} #>> ARRAY[]::text[]) COLLATE "C", %s::text) > 0)'
        ),
        value,
    )
    return _join([element, substring], "OR")


def _exists(field: _Field, operand: Any, where: str) -> _Condition:
    value = _plain(operand, where)
    if not isinstance(value, bool):
        raise _wrong(f"{where} needs True or False, not {operand!r}")
    return field.test(
        sql.SQL("({value} IS NOT NULL)" if value else "({value} IS NULL)")
    )


_STRINGS = sql.SQL(
    "(jsonb_typeof({value}) = 'string' AND "
    '({value} #>> ARRAY[]::text[]) COLLATE "C" {operator} %s::text)'
)
_NUMBERS = sql.SQL(
    "(jsonb_typeof({value}) = 'number' AND {value} {operator} %s::jsonb)"
)


def _comparison(operator: sql.SQL) -> Callable[[_Field, Any, str], _Condition]:
    """Return what compares a field by ``operator``: ``<``, ``<=``, ``>`` or ``>=``."""

    def compare(field: _Field, operand: Any, where: str) -> _Condition:
        value = _plain(operand, where)
        if isinstance(value, str):
            return field.test(_STRINGS, value, operator=operator)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return field.test(_NUMBERS, json.dumps(value), operator=operator)
        raise _wrong(f"{where} compares with a number or a string, not {operand!r}")

    return compare


_OPERATORS: dict[str, Callable[[_Field, Any, str], _Condition]] = {
    "$eq": _eq,
    "$ne": _ne,
    "$gt": _comparison(sql.SQL(">")),
    "$gte": _comparison(sql.SQL(">=")),
    "$lt": _comparison(sql.SQL("<")),
    "$lte": _comparison(sql.SQL("<=")),
    "$in": _in,
    "$nin": _nin,
    "$contains": _contains,
    "$exists": _exists,
}


# -------------------------------------------------------------------- operands


def _check_text(text: str, where: str) -> None:
    """Refuse what jsonb cannot hold, which therefore matches nothing."""
    if "\x00" in text:
        raise _wrong(f"{where} contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong(f"{where} is not valid Unicode") from None


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """Return ``value`` as what ``json.dumps`` writes, or raise ValueError."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        _check_text(value, where)
        return str(value)
    if isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise _wrong(f"{where} is too large a number")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _wrong(f"{where} is {value!r}, which jsonb cannot hold")
        return float(value)
    if depth > MAX_DEPTH:
        raise _wrong(f"{where} is nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        return _plain_object(value, where, depth)
    if isinstance(value, (list, tuple)):
        return [_plain(item, where, depth + 1) for item in value]
    raise _wrong(
        f"{where} is a {type(value).__name__}; metadata holds strings, "
        f"numbers, bools, null, lists and objects"
    )


def _plain_object(value: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise _wrong(f"{where} has a key that is no string: {key!r}")
        _check_text(key, where)
    return {key: _plain(item, where, depth + 1) for key, item in value.items()}
