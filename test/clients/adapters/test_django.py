"""pgvector-python with Django: migrations, fields, indexes, distances, forms.

Django is configured once in a process, for one database, and so these tests share
theirs.  The application under test is in django_items/.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import django
import pgvector.django
import pytest
from django.conf import settings
from django.core import serializers
from django.core.management import call_command
from django.db import connection, models
from django.db.models import Avg, Sum
from django.db.models.functions import Cast
from django.db.utils import DataError
from django.forms import modelform_factory
from pgvector import SparseVector

from databases import Database, Server
from samples import CASES, ROWS, Case, distances, nearest, query, values
from values import bits, unwrap, wrap

COLUMNS = {"vector": "a", "halfvec": "b", "sparsevec": "c", "bit": "d"}
DISTANCES = {
    "<->": "L2Distance",
    "<#>": "MaxInnerProduct",
    "<=>": "CosineDistance",
    "<+>": "L1Distance",
    "<~>": "HammingDistance",
    "<%>": "JaccardDistance",
}


@pytest.fixture(scope="module")
def migrated(server: Server) -> Iterator[Database]:
    """A database on which ``manage.py migrate`` was run."""
    database = server.database()
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": database.name,
                "USER": database.user,
                "HOST": database.host,
                "PORT": database.port,
            }
        },
        INSTALLED_APPS=["django.contrib.postgres", "django_items"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    yield database
    connection.close()
    server.drop(database)


@pytest.fixture
def items(migrated: Database) -> Any:
    """The model's manager, with the samples in the table."""
    from django_items.models import Item

    Item.objects.all().delete()
    Item.objects.bulk_create(
        Item(
            id=i + 1,
            a=values("vector")[i],
            b=values("halfvec")[i].tolist(),
            c=SparseVector(values("sparsevec")[i]),
            d=bits(values("bit")[i]),
        )
        for i in range(ROWS)
    )
    return Item.objects


def distance(case: Case) -> Any:
    at = bits(case.query) if case.type == "bit" else wrap(case.type, case.query)
    return getattr(pgvector.django, DISTANCES[case.operator])(COLUMNS[case.type], at)


def ids(found: Any) -> list[int]:
    return [item.id for item in found]


def test_migration_is_that_of_the_model(migrated: Database) -> None:
    assert migrated.indexes("django_items_item") == {
        "items_hnsw": "hnsw",
        "items_half": "hnsw",
        "items_ivfflat": "ivfflat",
    }
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
    statements = StringIO()
    call_command("sqlmigrate", "django_items", "0001", stdout=statements)
    assert "Creates extension vector" in statements.getvalue()
    assert "USING hnsw" in statements.getvalue()


def test_indexes_are_ours(items: Any, migrated: Database) -> None:
    migrated.check_index("items_hnsw", opclass="vector_l2_ops")
    migrated.check_index("items_half", opclass="halfvec_l1_ops")
    migrated.check_index("items_ivfflat", "ivfflat", opclass="vector_cosine_ops")


def test_documentation(items: Any, migrated: Database) -> None:
    plans = migrated.plans()
    found = items.order_by(pgvector.django.L2Distance("a", query("vector")))[:5]
    assert ids(found) == CASES[0].nearest
    assert plans.used("items_hnsw")
    text = items.order_by(pgvector.django.L2Distance("a", query("vector")))[:5]
    assert "Index Scan using items_hnsw" in text.explain()


def test_ivfflat(items: Any, migrated: Database) -> None:
    plans = migrated.plans()
    found = items.order_by(pgvector.django.CosineDistance("a", query("vector")))[:5]
    assert ids(found) == nearest("<=>", values("vector"), query("vector"))
    assert plans.used("items_ivfflat")


def test_halfvec_index_over_vectors(items: Any, migrated: Database) -> None:
    halves = Cast("a", pgvector.django.HalfVectorField(dimensions=8))
    plans = migrated.plans()
    at = wrap("halfvec", query("vector"))
    found = items.order_by(pgvector.django.L1Distance(halves, at))[:5]
    assert ids(found) == nearest("<+>", values("vector"), query("vector"))
    assert plans.used("items_half")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_search(items: Any, migrated: Database, case: Case) -> None:
    """Every type and distance, with an index for it made by a schema editor."""
    index = pgvector.django.HnswIndex(
        name="items_idx",
        fields=[COLUMNS[case.type]],
        m=16,
        ef_construction=64,
        opclasses=[case.opclass],
    )
    with connection.schema_editor() as editor:
        editor.add_index(items.model, index)
    try:
        migrated.check_index("items_idx", opclass=case.opclass)
        plans = migrated.plans()
        found = items.annotate(distance=distance(case)).order_by("distance")[:5]
        assert ids(found) == case.nearest
        away = sorted(distances(case.operator, case.rows, case.query))
        assert [i.distance for i in found] == pytest.approx(away[:5], abs=1e-5)
        # two classes have an index of the model, too, which may be as good
        others = {"vector_l2_ops": "items_hnsw", "vector_cosine_ops": "items_ivfflat"}
        assert plans.used("items_idx", others.get(case.opclass, "items_idx"))
    finally:
        with connection.schema_editor() as editor:
            editor.remove_index(items.model, index)


def test_values_come_back(items: Any) -> None:
    items.create(id=100)
    first, empty = items.get(pk=1), items.get(pk=100)
    assert unwrap(first.a) == values("vector")[0].tolist()
    assert unwrap(first.b) == values("halfvec")[0].tolist()
    assert unwrap(first.c) == values("sparsevec")[0].tolist()
    assert first.d == bits(values("bit")[0])
    assert (empty.a, empty.b, empty.c, empty.d) == (None,) * 4


def test_filter(items: Any) -> None:
    case = CASES[0]
    near = items.alias(distance=distance(case)).filter(distance__lt=case.radius(3))
    assert set(ids(near)) == set(case.nearest[:3])
    order = nearest("<->", case.rows, case.query, ROWS)
    even = items.alias(rest=models.F("id") % 2).filter(rest=0)
    assert (
        ids(even.order_by(distance(case))[:5]) == [i for i in order if i % 2 == 0][:5]
    )


def test_averages(items: Any) -> None:
    found = items.aggregate(Avg("a"), Sum("b"))
    assert unwrap(found["a__avg"]) == pytest.approx(
        values("vector").mean(axis=0), abs=1e-5
    )
    assert unwrap(found["b__sum"]) == pytest.approx(
        values("halfvec").sum(axis=0), abs=0.05
    )


def test_update_and_delete(items: Any, migrated: Database) -> None:
    case = CASES[0]
    order = nearest("<->", case.rows, case.query, ROWS)
    items.filter(pk__in=order[:2]).delete()
    last = items.get(pk=order[-1])
    last.a = case.query
    last.save()
    assert ids(items.order_by(distance(case))[:5]) == [order[-1], *order[2:6]]
    migrated.check_index("items_hnsw")
    migrated.check_index("items_half")


def test_serialization(items: Any) -> None:
    data = serializers.serialize("json", items.order_by("id")[:3])
    items.filter(pk__lte=3).delete()
    for kept in serializers.deserialize("json", data):
        kept.save()
    assert unwrap(items.get(pk=2).a) == values("vector")[1].tolist()
    assert unwrap(items.get(pk=2).c) == values("sparsevec")[1].tolist()


def test_form(items: Any) -> None:
    form = modelform_factory(items.model, fields=["a"])
    changed = form(instance=items.get(pk=1), data={"a": "[1,2,3,4,5,6,7,8]"})
    assert changed.is_valid() and changed.has_changed()
    changed.save()
    assert unwrap(items.get(pk=1).a) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_errors(items: Any) -> None:
    with pytest.raises((DataError, ValueError), match="expected 8 dimensions, not 2"):
        items.create(id=100, a=[1, 2])
