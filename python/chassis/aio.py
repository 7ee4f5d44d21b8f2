"""The names of ``pychassis.aio``, the same objects.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from pychassis.aio import *  # noqa: F403
from pychassis.aio import __all__ as __all__
