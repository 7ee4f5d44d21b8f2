"""The names of ``pychassis.index``, the same objects.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from pychassis.index import *  # noqa: F403
from pychassis.index import __all__ as __all__
