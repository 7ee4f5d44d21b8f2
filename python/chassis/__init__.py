"""The names of ``pychassis`` under the name of the extension.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from pychassis import __version__

__all__ = ["__version__"]
