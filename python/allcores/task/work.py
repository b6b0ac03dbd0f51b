"""In the worker: take a task, run it, publish the result; leave when told or when orphaned."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Callable, Iterable
from multiprocessing import process, util
from typing import Any

from allcores import _core, pickling
from allcores.task import failure
from allcores.task.function import Functions
from allcores.task.records import (
    CALL,
    FAILURE,
    INITIALIZING,
    ITEM,
    LEASE_BYTES,
    MAP,
    NO_START,
    READY,
    RESULT,
    STAGE,
    STOP,
    TAG,
    TASK,
    UNSENDABLE,
    VALUE,
    Link,
)

# How often an idle worker looks whether its pool's process lives; it has 2 s to leave.
_LOOK_S = 1.0


class _Interrupts:
    """Ctrl-C reaches workers too: it ends the task that runs, never the worker."""

    def __init__(self) -> None:
        self.task_runs = False

    def __call__(self, *_: object) -> None:
        if self.task_runs:
            self.task_runs = False
            raise KeyboardInterrupt


def main(
    link: Link,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    maxtasks: int | None,
) -> None:
    """Be a worker, until told to stop.

    Args:
        link: the pool.
        initializer: called first, if there is one; when it fails, so does the pool.
        initargs: its arguments.
        maxtasks: tasks after which to leave; None for no limit.
    """
    interrupts = _Interrupts()
    signal.signal(signal.SIGINT, interrupts)
    # A fork copies the parent's handlers, which are about the parent: `terminate` has to work,
    # and no event loop of the parent's must hear of this process's signals.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    # The pool ends its workers; that is no reason why they should have no children.
    process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    if not _die_with_parent():
        return
    try:
        worker = _Worker(link, interrupts)
    except (ValueError, OSError):
        if _core.is_alive(link.parent):
            raise
        return  # the pool's process ended while this one started
    if worker.start(initializer, initargs):
        worker.run(maxtasks)


def _die_with_parent() -> bool:
    """Let the kernel kill this process when its parent ends; False when it has ended already.

    The parent holds the other end of a pipe. Its closing raises a signal here, whatever the
    task is doing, and without a thread, which would make a later fork in a task risky.
    """
    parent = process.parent_process()
    sentinel = None if parent is None else getattr(parent, "_sentinel", None)
    if sentinel is None:
        return True
    try:
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(sentinel, fcntl.F_GETFL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, flags | fcntl.FASYNC)
    except (AttributeError, OSError):
        return True  # not on this system: an idle worker still looks every second
    poll = select.poll()
    poll.register(sentinel, select.POLLIN)
    return not poll.poll(0)


class _Worker:
    def __init__(self, link: Link, interrupts: _Interrupts) -> None:
        self._parent = link.parent
        self._interrupts = interrupts
        self._tasks = _core.Ring.from_handle(*link.tasks)
        self._results = _core.Ring.from_handle(*link.results)
        self._lease = _core.Block.from_handle(*link.lease, LEASE_BYTES)
        self._words = memoryview(self._lease).cast("B").cast("Q")
        self._functions = Functions()
        self._pid = os.getpid()

    def start(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> bool:
        """Run the initializer; tell the pool, and return False, when it fails."""
        if initializer is not None:
            self._words[STAGE] = INITIALIZING
            try:
                initializer(*initargs)
            except BaseException as error:
                data, refs = failure.pack(error, skip=1)
                self._publish(0, NO_START, data, refs)
                return False
        self._words[STAGE] = READY
        return True

    def run(self, maxtasks: int | None) -> None:
        """Do tasks until told to stop, or `maxtasks` of them."""
        done = 0
        get, lease = self._tasks.get, self._lease
        while maxtasks is None or done < maxtasks:
            data = get(_LOOK_S, lease)
            if data is None:
                if not _core.is_alive(self._parent):
                    util.debug("worker's pool is gone -- exiting")
                    return
                continue
            if not self._do(data):
                self._words[TAG] = 0
                util.debug("worker was told to stop -- exiting")
                return
            del data  # its memory, which may be large, goes back before the next wait
            # From here on the pool needs no word of this task any more.
            self._words[TAG] = 0
            done += 1
        util.debug(f"worker exiting after {done} tasks")

    def _do(self, data: Any) -> bool:
        view = memoryview(data)
        tag, number, offset, generation, nbytes, kind = TASK.unpack_from(view)
        if kind == STOP:
            return False
        interrupts = self._interrupts
        try:
            interrupts.task_runs = True
            start = TASK.size if offset else TASK.size + nbytes
            func = self._functions.get(number, offset, generation, nbytes, view[TASK.size : start])
            payload = pickling.loads(view[start:])
            value = self._call(func, kind, payload)
            interrupts.task_runs = False
        except BaseException as error:
            interrupts.task_runs = False
            packed, refs = failure.pack(error, skip=2)
            self._publish(tag, FAILURE, packed, refs)
            return True
        del func, payload
        try:
            packed, refs = pickling.pack(value, "the result")
        except Exception as error:
            self._publish(tag, UNSENDABLE, failure.pack_unsendable(value, error), [])
            return True
        self._publish(tag, VALUE, packed, refs)
        return True

    def _call(self, func: Callable[..., Any], kind: int, payload: Any) -> Any:
        if kind == CALL:
            args, kwargs = payload
            return func(*args, **kwargs)
        # The loop's first target is the lease: should this process die, it says at which item.
        words = self._words
        values = []
        if kind == MAP:
            for words[ITEM], item in enumerate(payload):
                values.append(func(item))
        else:
            for words[ITEM], args in enumerate(payload):
                values.append(func(*args))
        return values

    def _publish(self, tag: int, status: int, data: bytes, refs: list[int]) -> None:
        self._results.put(RESULT.pack(tag, self._pid, status) + data, refs, tag)
