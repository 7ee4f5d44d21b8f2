"""What ``makemigrations`` wrote for the model, and the extension before it.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

import django.contrib.postgres.indexes
import pgvector.django
from django.db import migrations, models
from django.db.models.functions import Cast


class Migration(migrations.Migration):
    initial = True

    operations = [
        pgvector.django.VectorExtension(),
        migrations.CreateModel(
            name="Item",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "a",
                    pgvector.django.VectorField(blank=True, dimensions=8, null=True),
                ),
                (
                    "b",
                    pgvector.django.HalfVectorField(
                        blank=True, dimensions=8, null=True
                    ),
                ),
                (
                    "c",
                    pgvector.django.SparseVectorField(
                        blank=True, dimensions=24, null=True
                    ),
                ),
                ("d", pgvector.django.BitField(blank=True, length=64, null=True)),
            ],
            options={
                "indexes": [
                    pgvector.django.HnswIndex(
                        ef_construction=64,
                        fields=["a"],
                        m=16,
                        name="items_hnsw",
                        opclasses=["vector_l2_ops"],
                    ),
                    pgvector.django.IvfflatIndex(
                        fields=["a"],
                        lists=1,
                        name="items_ivfflat",
                        opclasses=["vector_cosine_ops"],
                    ),
                    pgvector.django.HnswIndex(
                        django.contrib.postgres.indexes.OpClass(
                            Cast("a", pgvector.django.HalfVectorField(dimensions=8)),
                            name="halfvec_l1_ops",
                        ),
                        ef_construction=64,
                        m=16,
                        name="items_half",
                    ),
                ],
            },
        ),
    ]
