"""What a handle holds, and how it is let go: by close, collection, or exit.

All handles of a process on one index share a writer, found here by index.  Letting
go is safe to repeat and to ask for from anywhere.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Union

from . import _fork
from ._catalog import Spec
from ._connect import Source, close_source
from ._direct import DirectWriter
from ._janitor import janitor
from ._writer import Writer

if TYPE_CHECKING:
    from ._open import Opened

__all__: list[str] = []

logger = logging.getLogger("pychassis.index")

AnyWriter = Union[Writer, DirectWriter]


class _Writers:
    """The writers of this process, with the number of their users."""

    def __init__(self) -> None:
        self._shared: dict[tuple[int, str], tuple[Writer, int]] = {}
        self._lock = threading.Lock()
        _fork.register(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, source: Source, spec: Spec, timeout: float) -> AnyWriter:
        if spec.uuid is None or not spec.may_update_catalog:
            return DirectWriter(source, spec, timeout)
        key = (id(source), spec.uuid)
        with self._lock:
            writer, users = self._shared.get(key) or (
                Writer(source, spec, timeout),
                0,
            )
            self._shared[key] = (writer, users + 1)
        return writer

    def release(self, source: Source, spec: Spec) -> bool:
        """Whether this was the last user."""
        key = (id(source), spec.uuid or "")
        with self._lock:
            if key not in self._shared:
                return True
            writer, users = self._shared[key]
            if users > 1:
                self._shared[key] = (writer, users - 1)
                return False
            del self._shared[key]
            return True


_writers = _Writers()


class Resources:
    """Connections and writer of one handle."""

    def __init__(self, source: Source, spec: Spec, writer: AnyWriter | None) -> None:
        self.source = source
        self.writer = writer
        self.closed = False
        self._spec = spec
        self._once = threading.Lock()
        _fork.register(self)
        janitor.start()
        janitor.at_exit(self)

    @classmethod
    def of(cls, opened: Opened, timeout: float) -> Resources:
        """Those of a handle that was just opened."""
        source, spec = opened.source, opened.spec
        writer = None
        if not opened.read_only:
            writer = _writers.acquire(source, spec, timeout)
        return cls(source, spec, writer)

    def after_fork(self) -> None:
        self._once = threading.Lock()

    def release(self, *, flush: bool) -> None:
        """Lets go, once; with ``flush`` what was added is made durable first."""
        with self._once:
            if self.closed:
                return
            self.closed = True
        try:
            if self.writer is not None:
                last = _writers.release(self.source, self._spec)
                if last:
                    self.writer.finish(flush=flush)
                elif flush:
                    self.writer.flush()
        finally:
            close_source(self.source)

    def abandon(self) -> None:
        """From ``__del__``: the janitor does it, since this must not lock or wait."""
        if not self.closed:
            janitor.submit(self._finish_quietly)

    def exit(self) -> None:
        """At the end of the process."""
        self._finish_quietly()

    def _finish_quietly(self) -> None:
        with logged_failure("close the index"):
            self.release(flush=True)


@contextlib.contextmanager
def logged_failure(doing: str) -> Iterator[None]:
    """For what nobody waits for: an exception becomes a log record."""
    try:
        yield
    except Exception as error:
        logger.error("could not %s: %s", doing, error)
