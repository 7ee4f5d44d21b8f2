"""Add vectors, search, and open the same index again.

Run it in any folder: ``python basic_usage.py``.  The index is made there, in a
file ``basic.chassis`` and the folder ``.chassis`` beside it; a second run adds to
it.  With CHASSIS_DATABASE_URL set the same program works on that server.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

import numpy as np

from chassis import DimensionMismatchError, VectorIndex

DIMENSIONS = 64
rng = np.random.default_rng(seed=1)

with VectorIndex("basic.chassis", dimensions=DIMENSIONS) as index:
    # Anything that is a sequence of numbers can be added; ids count from 0.
    index.add([0.1] * DIMENSIONS, metadata={"word": "apple"})
    index.add(tuple(0.01 * i for i in range(DIMENSIONS)), metadata={"word": "pear"})
    for vector in rng.random((998, DIMENSIONS), dtype=np.float32):
        index.add(vector)

    # Searches of this handle see what was added at once; after flush() nothing
    # of it can be lost.
    index.flush()

    print("nearest to 'apple':")
    for result in index.search([0.1] * DIMENSIONS, k=3, with_metadata=True):
        print(f"  id {result.id:4}  distance {result.distance:.4f}  {result.metadata}")

    try:
        index.add([1.0, 2.0])
    except DimensionMismatchError as error:
        print(f"refused: {error}")

# The index is closed here; opening it again takes milliseconds.
with VectorIndex("basic.chassis", dimensions=DIMENSIONS) as index:
    print(f"{len(index):,} vectors of {index.dimensions} dimensions in {index.path}")
