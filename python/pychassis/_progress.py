"""Tells whoever wants to know how far something has come.

It knows callables and tqdm's bar, and nothing of what is being done.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .options import Progress

__all__ = ["Report", "reporter"]

logger = logging.getLogger("pychassis.progress")


class Report:
    """Called with how much is done; ``phase`` names what is being done."""

    def __init__(
        self, call: Callable[[int, int], object] | None, total: int, bar: Any
    ) -> None:
        self._call = call
        self._total = total
        self._bar = bar

    def __call__(self, done: int) -> None:
        if self._call is not None:
            self._call(done, self._total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def phase(self, name: str) -> None:
        """A bar shows it; a callable has no place for it."""
        if self._bar is not None:
            self._bar.set_description_str(name)


@contextmanager
def reporter(progress: Progress, total: int, unit: str) -> Iterator[Report]:
    """A report for ``total`` units: to a callable, a bar on stderr, or nobody."""
    bar: Any = None
    if progress is True:
        try:
            tqdm = importlib.import_module("tqdm")
        except ImportError:
            logger.info("progress=True shows a bar when tqdm is installed")
        else:
            bar = tqdm.tqdm(total=total, unit=" " + unit)
    try:
        yield Report(progress if callable(progress) else None, total, bar)
    finally:
        if bar is not None:
            bar.close()
