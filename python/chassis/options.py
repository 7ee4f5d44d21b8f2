"""The names of ``pychassis.options``, the same objects.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from pychassis.options import *  # noqa: F403
from pychassis.options import __all__ as __all__
