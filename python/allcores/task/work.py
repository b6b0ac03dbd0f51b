"""In the worker: take a task, run it, publish the result; leave when told or when orphaned."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from multiprocessing import process, util
from typing import Any, NoReturn

from allcores import _core, pickling
from allcores.launch import tether
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
    # They end with it, though, as nobody else knows of them.
    config = process.current_process()._config  # type: ignore[attr-defined]
    config["daemon"] = False
    config[tether.MARK] = True
    if not tether.tether():
        return  # (where there is no such thing, an idle worker still looks every second)
    try:
        worker = _Worker(link, interrupts)
    except (ValueError, OSError):
        if _core.is_alive(link.parent):
            raise
        return  # the pool's process ended while this one started
    if worker.start(initializer, initargs):
        worker.run(maxtasks)


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
            if os.getpid() != self._pid:
                _end_copy(None)
        except BaseException as error:
            interrupts.task_runs = False
            if os.getpid() != self._pid:
                _end_copy(error)
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


def _end_copy(error: BaseException | None) -> NoReturn:
    """End a process that the task forked and that has come out of the task.

    It is no worker: the task's result, and the next task, are for the one it was forked from.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
