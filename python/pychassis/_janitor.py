"""One thread per process that finishes what nobody waits for.

It frees what garbage collection found (``__del__`` only leaves a message, since it
may run anywhere, also with locks held), sends buffered rows that have waited for a
second, gives up the writer's lease when nothing was written for a while, and
closes connections that nobody used.  At exit it does all of it once more.

It knows tasks as callables and objects with ``tick()``, not what they are.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from . import _fork

__all__: list[str] = []

logger = logging.getLogger("pychassis.janitor")

# The longest that anything is late; a quarter of the shortest period, a second.
INTERVAL = 0.25


class Ticking(Protocol):
    """Something that wants to be looked at from time to time."""

    def tick(self, now: float) -> bool:
        """Does what is due; whether there is anything left to wait for."""


class Janitor:
    """The thread and its list; made once per process, started when needed."""

    def __init__(self) -> None:
        self._at_exit: weakref.WeakSet[AtExit] = weakref.WeakSet()
        self._hooked: int | None = None
        self._reset()
        _fork.register(self)

    def _reset(self) -> None:
        # SimpleQueue.put may be called while another put is under way in the same
        # thread, which is what __del__ needs.
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ticking: set[Ticking] = set()
        self._lock = threading.Lock()
        # Held while something is done, so that exit can wait for its end.
        self._working = threading.RLock()
        self._thread: threading.Thread | None = None

    def after_fork(self) -> None:
        """The thread stayed with the parent, and so did its tasks."""
        self._reset()

    def submit(self, task: Callable[[], None]) -> None:
        """Runs ``task`` soon; may be called from ``__del__``.

        The thread is not started here, which takes locks: ``start()`` did it.
        """
        self._tasks.put(task)
        self._wake.put(None)

    def watch(self, instance: Ticking) -> None:
        """Calls ``instance.tick()`` until it returns False."""
        with self._lock:
            known = instance in self._ticking
            self._ticking.add(instance)
        if not known:
            self.start()
            self._wake.put(None)

    def start(self) -> None:
        """Makes sure that the thread runs and that exit is noticed."""
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    thread = threading.Thread(
                        target=self._run, name="pychassis-janitor", daemon=True
                    )
                    try:
                        thread.start()
                    except RuntimeError:  # the interpreter is shutting down
                        return
                    self._thread = thread
        self._hook_exit()

    def at_exit(self, instance: AtExit) -> None:
        """``instance.exit()`` will be called when the process ends in order."""
        self._at_exit.add(instance)

    def _hook_exit(self) -> None:
        """Both ways a process ends: the ordinary one, and multiprocessing's.

        multiprocessing forgets its finalizers when it starts a worker, so that the
        worker has to register its own; such a worker never runs atexit.
        """
        if self._hooked == os.getpid():
            return
        if self._hooked is None:
            atexit.register(self.exit)
        self._hooked = os.getpid()
        from multiprocessing import util

        util.Finalize(None, self.exit, exitpriority=10)

    def exit(self) -> None:
        """Everything that was left, in the order in which it does least harm."""
        with self._working:
            self._run_tasks()
            for instance in list(self._at_exit):
                try:
                    instance.exit()
                except Exception as error:
                    logger.error("at exit: %s", error)

    def _run(self) -> None:
        wake, ticking = self._wake, self._ticking
        while True:
            # Tasks have a queue of their own, emptied under the lock: there is no
            # moment in which exit finds a task neither waiting nor under way.
            with contextlib.suppress(queue.Empty):
                wake.get(timeout=INTERVAL if ticking else None)
            with self._working:
                self._run_tasks()
                now = time.monotonic()
                for instance in list(ticking):
                    self._tick(instance, now)

    def _tick(self, instance: Ticking, now: float) -> None:
        """Taken off first, so that a ``watch()`` meanwhile is not forgotten."""
        with self._lock:
            self._ticking.discard(instance)
        try:
            more = instance.tick(now)
        except Exception as error:
            logger.error("in the background: %s", error)
            more = False
        if more:
            with self._lock:
                self._ticking.add(instance)

    def _run_tasks(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return
            self._do(task)

    @staticmethod
    def _do(task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            logger.error("while freeing an index: %s", error)


class AtExit(Protocol):
    """Something with a last duty."""

    def exit(self) -> None:
        """Called once the program is done, from any thread."""


janitor = Janitor()
