"""Filters on metadata mean on the server what a second implementation says.

The model below is the dialect written down a second time, over Python values;
hypothesis looks for a filter and a document on which the two disagree.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from pychassis import _filters
from pychassis._filters import compile_where
from pychassis._render import render

COLUMN = sql.Identifier("metadata")

MISSING = object()


# ------------------------------------------------------------------- the model


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return type(value).__name__


def canonical(value: Any) -> Any:
    """What JSON texts have in common that are the same jsonb value."""
    if kind(value) == "number":
        return ("number", Decimal(json.dumps(value)))
    if isinstance(value, (list, tuple)):
        return ("list", [canonical(item) for item in value])
    if isinstance(value, dict):
        return ("dict", {key: canonical(item) for key, item in value.items()})
    return (kind(value), value)


def lookup(document: Any, path: list[str]) -> Any:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return MISSING
        document = document[key]
    return document


def compare(operator: str, value: Any, operand: Any) -> bool:
    if value is MISSING or kind(value) != kind(operand):
        return False
    left, right = canonical(value)[1], canonical(operand)[1]
    return bool(
        {
            "$gt": left > right,
            "$gte": left >= right,
            "$lt": left < right,
            "$lte": left <= right,
        }[operator]
    )


def equal(value: Any, operand: Any) -> bool:
    return value is not MISSING and bool(canonical(value) == canonical(operand))


def contains(value: Any, operand: Any) -> bool:
    if isinstance(value, list):
        return any(equal(item, operand) for item in value)
    return isinstance(value, str) and isinstance(operand, str) and operand in value


def holds(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$not":
        return not all(holds(value, *item) for item in operand.items())
    if operator in ("$eq", "$ne"):
        return equal(value, operand) is (operator == "$eq")
    if operator in ("$in", "$nin"):
        found = any(equal(value, item) for item in operand)
        return found is (operator == "$in")
    if operator == "$contains":
        return value is not MISSING and contains(value, operand)
    if operator == "$exists":
        return (value is not MISSING) is operand
    return compare(operator, value, operand)


def is_operators(condition: Any) -> bool:
    return (
        isinstance(condition, dict)
        and bool(condition)
        and all(key.startswith("$") for key in condition)
    )


def matches(where: dict[str, Any], document: Any) -> bool:
    results = []
    for key, condition in where.items():
        if key == "$and":
            results.append(all(matches(part, document) for part in condition))
        elif key == "$or":
            results.append(any(matches(part, document) for part in condition))
        elif key == "$not":
            results.append(not matches(condition, document))
        else:
            value = lookup(document, key.split("."))
            if not is_operators(condition):
                condition = {"$eq": condition}
            results.append(all(holds(value, *item) for item in condition.items()))
    return all(results)


# ------------------------------------------------------------------ generation

# Few keys and few values, so that filters and documents often meet.
KEYS = ["a", "b", "0", "é"]
NUMBERS = st.sampled_from([0, 1, -1, 2, 1.0, 0.1, 1e23, 10**23, 2**63, -0.0, 1e-7])
TEXTS = st.sampled_from(["", "a", "ab", "B", "b", "1", "é", "z", "\U0001f600", '"\\%'])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2)
    ),
    max_leaves=5,
)
DOCUMENTS = st.one_of(
    st.none(), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3)
)
FIELDS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(".".join)
COMPARABLE = st.one_of(NUMBERS, TEXTS)
OPERATOR = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), VALUES),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), COMPARABLE),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(VALUES, max_size=3)),
    st.tuples(st.just("$contains"), SCALARS),
    st.tuples(st.just("$exists"), st.booleans()),
)
OPERATORS = st.recursive(
    st.lists(OPERATOR, min_size=1, max_size=2).map(dict),
    lambda inner: inner.map(lambda operators: {"$not": operators}),
    max_leaves=3,
)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(FIELDS, OPERATORS | VALUES, max_size=2),
    lambda inner: st.one_of(
        st.builds(
            lambda word, parts: {word: parts},
            st.sampled_from(["$and", "$or"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def connection(server: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server, autocommit=True) as connection:
        yield connection


def ask(
    connection: psycopg.Connection, where: dict[str, Any], documents: list[Any]
) -> list[bool]:
    """What the server says of each document."""
    condition, values = compile_where(where, COLUMN)
    texts = [None if doc is None else json.dumps(doc) for doc in documents]
    query = sql.SQL(
        "SELECT COALESCE({}, FALSE) FROM unnest(%s::text[]::jsonb[])"
        " WITH ORDINALITY AS t(metadata, place) ORDER BY place"
    ).format(condition)
    rows = connection.execute(query, [*values, texts]).fetchall()
    return [row[0] for row in rows]


# ----------------------------------------------------------------------- tests


@settings(
    max_examples=400,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(where=FILTERS, documents=st.lists(DOCUMENTS, min_size=1, max_size=8))
@example(where={"a": {"$not": {"$gt": 1}}}, documents=[None, {}, {"a": "x"}, {"a": 1}])
@example(where={"a.0": 1}, documents=[{"a": [1]}, {"a": {"0": 1}}])
@example(where={"a": [1]}, documents=[{"a": [1, 1]}, {"a": [1]}, {"a": [1.0]}])
@example(where={"a": {"$lt": "b"}}, documents=[{"a": "B"}, {"a": "é"}, {"a": "ab"}])
@example(where={"a": {"b": 1}}, documents=[{"a": {"b": 1, "0": 2}}, {"a": {"b": 1}}])
def test_the_server_agrees_with_the_model(
    connection: psycopg.Connection, where: dict[str, Any], documents: list[Any]
) -> None:
    expected = [matches(where, document) for document in documents]
    assert ask(connection, where, documents) == expected


# Each row: a filter, documents it finds, documents it does not find.
RULES: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({}, [None, {}, {"a": 1}], []),
    ({"a": 1}, [{"a": 1}, {"a": 1.0}], [None, {}, {"a": True}, {"a": "1"}]),
    ({"a": True}, [{"a": True}], [{"a": 1}, {"a": "true"}, {}]),
    ({"a": None}, [{"a": None}], [{}, None, {"a": 0}]),
    ({"a": {"$ne": None}}, [{}, None, {"a": 0}], [{"a": None}]),
    ({"a": {"$ne": 1}}, [{}, None, {"a": 2}, {"a": True}], [{"a": 1}]),
    ({"a": {"$nin": [1, 2]}}, [{}, {"a": 3}, {"a": None}], [{"a": 1}, {"a": 2.0}]),
    ({"a": {"$in": []}}, [], [{}, {"a": None}, {"a": []}]),
    ({"a": {"$nin": []}}, [{}, None, {"a": 1}], []),
    ({"a": {"$gt": 1}}, [{"a": 1.5}], [{"a": 1}, {"a": "2"}, {"a": True}, {}]),
    ({"a": {"$gte": 1, "$lt": 3}}, [{"a": 1}, {"a": 2}], [{"a": 3}, {"a": 0}]),
    ({"a": {"$not": {"$gt": 1}}}, [{}, {"a": 1}, {"a": "x"}], [{"a": 2}]),
    ({"a": {"$exists": True}}, [{"a": None}, {"a": []}], [{}, None]),
    ({"a": {"$exists": False}}, [{}, None], [{"a": None}]),
    ({"a.b": 1}, [{"a": {"b": 1, "c": 2}}], [{"a.b": 1}, {"a": [{"b": 1}]}]),
    ({"a\\.b": 1}, [{"a.b": 1}], [{"a": {"b": 1}}]),
    ({"\\$a": {"$gt": 1}}, [{"$a": 2}], [{"a": 2}]),
    ({"a\\\\": 1}, [{"a\\": 1}], [{"a": 1}]),
    ({"a\\b": 1}, [{"a\\b": 1}], [{"ab": 1}]),
    ({"a": {"b": 1}}, [{"a": {"b": 1}}], [{"a": {"b": 1, "c": 2}}]),
    ({"a": []}, [{"a": []}], [{"a": [1]}, {}]),
    ({"a": {}}, [{"a": {}}], [{"a": {"b": 1}}, {}]),
    ({"a": {"$contains": "x"}}, [{"a": ["x"]}, {"a": "axb"}], [{"a": {"x": 1}}, {}]),
    ({"a": {"$contains": 1}}, [{"a": [2, 1.0]}], [{"a": 1}, {"a": ["1"]}]),
    ({"a": {"$contains": ""}}, [{"a": ""}, {"a": "x"}, {"a": [""]}], [{"a": ["x"]}]),
    ({"a": {"$eq": {"$x": 1}}}, [{"a": {"$x": 1}}], [{"a": 1}]),
    ({"$not": {"a": 1, "b": 1}}, [{"a": 1}, {}, None], [{"a": 1, "b": 1}]),
    ({"$or": [{"a": 1}, {"b": 1}]}, [{"a": 1}, {"b": 1}], [{}, {"a": 2}]),
    ({"a": 1, "$or": [{"b": 1}, {"b": 2}]}, [{"a": 1, "b": 2}], [{"a": 1}, {"b": 1}]),
    ({"a": "x' OR TRUE --"}, [{"a": "x' OR TRUE --"}], [{"a": "x"}, {}]),
    ({"' OR TRUE --": 1}, [{"' OR TRUE --": 1}], [{"a": "x"}, {}]),
    ({"%s": "%s"}, [{"%s": "%s"}], [{"a": "x"}, {}]),
]


@pytest.mark.parametrize(("where", "found", "not_found"), RULES, ids=str)
def test_rules(
    connection: psycopg.Connection,
    where: dict[str, Any],
    found: list[Any],
    not_found: list[Any],
) -> None:
    expected = [True] * len(found) + [False] * len(not_found)
    assert ask(connection, where, found + not_found) == expected


def test_metadata_that_is_no_object_has_no_fields(
    connection: psycopg.Connection,
) -> None:
    documents = [[{"a": 1}], ["a"], "a", 5]
    assert ask(connection, {"a": 1}, documents) == [False] * 4
    assert ask(connection, {"0": {"$exists": True}}, documents) == [False] * 4
    assert ask(connection, {"a": {"$ne": 1}}, documents) == [True] * 4


def test_many_alternatives_mean_the_same_as_few(
    connection: psycopg.Connection,
) -> None:
    many = list(range(_filters.MAX_INDEXED_ALTERNATIVES)) + ["x", None, [1], {"b": 2}]
    documents: list[Any] = [
        *({"a": value} for value in [3.0, "x", None, [1], {"b": 2}]),
        *({"a": value} for value in [True, "3", [1, 1], -1]),
        *({}, None),
    ]
    expected = [True] * 5 + [False] * 6
    assert ask(connection, {"a": {"$in": many}}, documents) == expected
    assert ask(connection, {"a": {"$in": many[3:4] + many[-4:]}}, documents) == expected
    opposite = [not value for value in expected]
    assert ask(connection, {"a": {"$nin": many}}, documents) == opposite


def test_operands_may_come_from_numpy(connection: psycopg.Connection) -> None:
    documents = [{"a": 1}, {"a": 2}, {"a": 3.5}, {"a": True}]
    assert ask(connection, {"a": np.int64(1)}, documents)[0]
    assert ask(connection, {"a": np.bool_(True)}, documents)[3]
    above = ask(connection, {"a": {"$gt": np.float32(1.5)}}, documents)
    assert above == [False, True, True, False]
    among = ask(connection, {"a": {"$in": np.array([1, 2])}}, documents)
    assert among == [True, True, False, False]


@pytest.mark.parametrize(
    "where",
    [
        {"kind": "k7"},
        {"nested.number": 7},
        {"kind": {"$in": ["k7", "k8"]}},
        {"tags": {"$contains": 7}},
        {"nested": {"number": 7}},
        {"$and": [{"kind": "k7"}, {"nested.number": {"$gt": 3}}]},
    ],
    ids=str,
)
def test_a_gin_index_answers_equality(
    connection: psycopg.Connection, where: dict[str, Any]
) -> None:
    condition, values = compile_where(where, COLUMN)
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE TEMP TABLE t (metadata jsonb)")
        connection.execute(
            "INSERT INTO t SELECT jsonb_build_object('kind', 'k' || i,"
            " 'nested', jsonb_build_object('number', i), 'tags', jsonb_build_array(i))"
            " FROM generate_series(1, 2000) i"
        )
        connection.execute("CREATE INDEX ON t USING gin (metadata jsonb_path_ops)")
        connection.execute("ANALYZE t")
        explain = sql.SQL("EXPLAIN (COSTS OFF) SELECT FROM t WHERE {}")
        rows = connection.execute(explain.format(condition), values).fetchall()
    assert "Bitmap Index Scan on t_metadata_idx" in "\n".join(row[0] for row in rows)


def nest(depth: int) -> dict[str, Any]:
    where: dict[str, Any] = {"a": 1}
    for _ in range(depth):
        where = {"$and": [where]}
    return where


def nest_not(depth: int) -> dict[str, Any]:
    operators: dict[str, Any] = {"$gt": 1}
    for _ in range(depth):
        operators = {"$not": operators}
    return {"a": operators}


def nest_value(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (None, "a filter is a mapping"),
        ([("a", 1)], "a filter is a mapping"),
        ({1: 2}, "field names are strings, not 1"),
        ({"$nor": []}, "unknown operator '$nor'"),
        ({"$and": []}, "$and needs a list of at least one filter"),
        ({"$or": {"a": 1}}, "$or needs a list"),
        ({"$or": [1]}, "a filter is a mapping"),
        ({"$not": 3}, "a filter is a mapping"),
        ({"a": {"$like": "x"}}, "unknown operator $like on field 'a'"),
        ({"a": {"$gt": 1, "b": 2}}, "field 'a' mixes operators and plain keys"),
        ({"a": {"$gt": True}}, "$gt on field 'a' compares with a number or a string"),
        ({"a": {"$lt": None}}, "$lt on field 'a' compares"),
        ({"a": {"$lte": [1]}}, "$lte on field 'a' compares"),
        ({"a": {"$in": "xy"}}, "$in on field 'a' needs a list, not str"),
        ({"a": {"$nin": 3}}, "$nin on field 'a' needs a list, not int"),
        ({"a": {"$contains": [1]}}, "$contains on field 'a' looks for one"),
        ({"a": {"$exists": 1}}, "$exists on field 'a' needs True or False, not 1"),
        ({"a": {"$not": 1}}, "$not on field 'a' needs operators"),
        ({"a": {"$not": {}}}, "$not on field 'a' needs operators"),
        ({"a": float("nan")}, "field 'a' is nan"),
        ({"a": {"$gt": float("inf")}}, "$gt on field 'a' is inf"),
        ({"a": object()}, "field 'a' is a object"),
        ({"a": {1: 2}}, "field 'a' has a key that is no string: 1"),
        ({"a": 10**5000}, "field 'a' is too large a number"),
        ({"a": "x\0y"}, "field 'a' contains a NUL character"),
        ({"a": "\ud800"}, "field 'a' is not valid Unicode"),
        ({"a\0": 1}, "contains a NUL character"),
        ({"a": {"b\0": 1}}, "contains a NUL character"),
        ({"": 1}, "field '' has an empty key"),
        ({"a..b": 1}, "field 'a..b' has an empty key"),
        ({".".join("a" * 1000): 1}, "nested deeper"),
        (nest(51), "nested deeper than 50"),
        (nest_not(51), "nested deeper than 50"),
        (nest_value(52), "nested deeper than 50"),
    ],
)
def test_what_is_no_filter_is_refused(where: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^where: ") as caught:
        compile_where(where, COLUMN)
    assert message in str(caught.value)


def test_the_deepest_filter_allowed_is_one_the_server_takes(
    connection: psycopg.Connection,
) -> None:
    assert ask(connection, nest(50), [{"a": 1}]) == [True]
    assert ask(connection, nest_not(50), [{"a": 1}]) == [False]
    assert ask(connection, nest_value(50), [nest_value(50)]) == [True]


def test_values_never_become_part_of_the_statement() -> None:
    secret = "it's a 'secret'"
    filters: list[dict[str, Any]] = [
        {secret: secret},
        {"a": {"$in": [secret]}},
        {"a": {"$gt": secret}},
        {f"a.{secret}": {"$contains": secret}},
    ]
    for where in filters:
        condition, values = compile_where(where, COLUMN)
        assert "secret" not in render(condition)
        assert "secret" in json.dumps(values)
