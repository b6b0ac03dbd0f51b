"""Pools without processes: ``ThreadPool``, and ``InlinePool`` for a debugger.

They are `Pool`, with the same calls and the same rules, over another engine (engines/).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from multiprocessing import pool as _std
from multiprocessing import util
from typing import Any

from allcores.engines.inline import Inline
from allcores.engines.local import Local
from allcores.engines.threads import Threads
from allcores.pool import INIT, RUN, Pool
from allcores.task.settings import check_initializer, worker_count

__all__ = ["InlinePool", "ThreadPool"]


class _LocalPool(Pool):
    """A pool over an engine of this process."""

    _line: Any

    def _open(self, engine: Local, size: int) -> None:
        self._line = engine
        self._processes = size
        self._pid = os.getpid()
        self._finalizer = util.Finalize(self, engine.terminate, exitpriority=15)
        self._state = RUN

    def _join(self) -> None:
        self._line.join()

    def _repopulate_pool(self) -> None:
        pass


class ThreadPool(_LocalPool, _std.ThreadPool):
    """Threads of this process, and calls to share out among them; `multiprocessing.pool`.

    For calls that wait (for the network, a disk, a database) or leave the interpreter's lock while
    they compute. Arguments and results are the objects themselves, not copies.

    `terminate`, and with it leaving the ``with`` block, doesn't interrupt a call that runs: its
    thread leaves when it has ended.

    Args:
        processes: how many threads; None for one a usable core.
        initializer: called in each thread as it starts.
        initargs: arguments of the initializer.

    Raises:
        ValueError: a count below 1.
        TypeError: a count that is no whole number; an initializer that can't be called.

    Example:
        >>> from allcores.pool import ThreadPool
        >>> with ThreadPool(2) as pool:
        ...     pool.map(len, ["a", "bc"])
        [1, 2]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        self._state = INIT
        self._pool: list[Any] = []
        size = worker_count(processes, "processes", "Number of processes must be at least 1")
        check_initializer(initializer)
        engine = Threads(size, initializer, initargs)
        self._pool = engine.workers
        try:
            engine.fill()
        except BaseException:
            engine.terminate()
            raise
        self._open(engine, size)


class InlinePool(_LocalPool):
    """A pool without workers: calls are made in the thread that asks, for a debugger.

    What `Pool` would do in workers happens in ``get``, ``next`` or the call itself, one at a time,
    so that breakpoints, profilers and tracebacks are in one thread of one process. ``apply_async``
    and ``map_async`` do their work before they return; ``imap`` when results are taken.

    Args:
        processes: not needed; there so that this can stand for `Pool`.
        initializer: called once, first.
        initargs: arguments of the initializer.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        self._state = INIT
        self._pool: list[Any] = []
        worker_count(processes, "processes", "Number of processes must be at least 1")
        check_initializer(initializer)
        engine = Inline()
        self._open(engine, 1)
        engine.welcome(initializer, tuple(initargs))
