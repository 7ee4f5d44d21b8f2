"""The names of ``pychassis.results``, the same objects.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from pychassis.results import *  # noqa: F403
from pychassis.results import __all__ as __all__
