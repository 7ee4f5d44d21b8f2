"""A model with a field of every type and the indexes of the documentation.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models.functions import Cast
from pgvector.django import (
    BitField,
    HalfVectorField,
    HnswIndex,
    IvfflatIndex,
    SparseVectorField,
    VectorField,
)


class Item(models.Model):
    a = VectorField(dimensions=8, null=True, blank=True)
    b = HalfVectorField(dimensions=8, null=True, blank=True)
    c = SparseVectorField(dimensions=24, null=True, blank=True)
    d = BitField(length=64, null=True, blank=True)

    class Meta:
        indexes = [
            HnswIndex(
                name="items_hnsw",
                fields=["a"],
                m=16,
                ef_construction=64,
                opclasses=["vector_l2_ops"],
            ),
            IvfflatIndex(
                name="items_ivfflat",
                fields=["a"],
                lists=1,
                opclasses=["vector_cosine_ops"],
            ),
            HnswIndex(
                OpClass(
                    Cast("a", HalfVectorField(dimensions=8)), name="halfvec_l1_ops"
                ),
                name="items_half",
                m=16,
                ef_construction=64,
            ),
        ]
