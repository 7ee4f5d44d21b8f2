"""The names of ``pychassis.exceptions``, the same objects.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from pychassis.exceptions import *  # noqa: F403
from pychassis.exceptions import __all__ as __all__
