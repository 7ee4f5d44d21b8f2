"""``python -m chassis``: the command line.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from pychassis._cli import main

if __name__ == "__main__":
    raise SystemExit(main())
