"""Vector similarity search on PostgreSQL with the chassis index.

The implementation lives in this package; ``chassis`` gives the same names.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
