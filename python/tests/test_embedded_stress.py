"""A short, seeded run of stress_embedded.py.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_kills_at_random_lose_nothing(directory: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).with_name("stress_embedded.py"))),
            *("--directory", str(directory)),
            *("--seconds", os.environ.get("CHASSIS_STRESS_SECONDS", "8")),
            *("--workers", os.environ.get("CHASSIS_STRESS_WORKERS", "6")),
            *("--seed", os.environ.get("CHASSIS_STRESS_SEED", "1")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 failed_opens" in ended.stdout
    assert " 0 lost" in ended.stdout
