"""What the host of a virtual machine keeps from it.

Why separate: measures and the driver both ask, and only Linux answers this way.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

STOLEN = 0.02
"""A share of processor time that the host kept which readers must know of."""


def _processor_time() -> tuple[int, int]:
    """Ticks of all processors so far: those the host kept, and all."""
    line = Path("/proc/stat").read_text().split("\n", 1)[0]
    ticks = [int(word) for word in line.split()[1:9]]
    return ticks[7], sum(ticks)


def watch_host() -> Callable[[], float]:
    """Begins to watch; call what it returns for the share of processor time that
    the host has kept to itself since."""
    kept, spent = _processor_time()

    def share() -> float:
        kept_now, spent_now = _processor_time()
        return (kept_now - kept) / max(spent_now - spent, 1)

    return share
