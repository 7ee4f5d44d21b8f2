"""Load many vectors fast, with metadata, then search many at once.

``python batch_insert.py [ROWS]`` makes ``batch.chassis`` in the current folder, or
an index of that name on the server that CHASSIS_DATABASE_URL names.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

import sys
import time

import numpy as np

from chassis import VectorIndex

DIMENSIONS = 128
rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000

rng = np.random.default_rng(seed=2)
# Real embeddings lie near a surface of far fewer dimensions than they have.
surface = rng.standard_normal((16, DIMENSIONS)).astype(np.float32)
vectors = rng.standard_normal((rows, 16)).astype(np.float32) @ surface
queries = vectors[:200] + 0.1 * rng.standard_normal((200, DIMENSIONS)).astype("f4")

with VectorIndex("batch.chassis", dimensions=DIMENSIONS) as index:
    start = time.perf_counter()
    # One call per matrix, not one per vector, and one flush() at the end: it
    # makes the rows durable and builds the graph.
    ids = index.add_batch(vectors, metadata=[{"even": i % 2 == 0} for i in range(rows)])
    loaded = time.perf_counter()
    index.flush()
    built = time.perf_counter()
    print(f"loaded ids {ids[0]} to {ids[-1]} in {loaded - start:.2f} s")
    print(f"flushed, with the graph built, in {built - loaded:.2f} s")

    answers = index.search_batch(queries, k=10)
    print(f"first neighbors of the first five queries: {answers.ids[:5, 0]}")
    print(f"recall of the 10 nearest: {index.recall(queries, k=10):.3f}")

    found = index.search(queries[1], k=3, where={"even": True}, with_metadata=True)
    print(f"only the even ones: {[result.id for result in found]}")
    print(f"{len(index):,} vectors")
