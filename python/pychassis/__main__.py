"""``python -m pychassis``: the command line; all of it lives in ``_cli``.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from ._cli import main

if __name__ == "__main__":
    raise SystemExit(main())
