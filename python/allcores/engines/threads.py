"""The engine of threads: calls are made in threads of this process.

A worker takes a task off a queue, makes its calls, and hands what they return to the job itself.
What a slow one has not begun goes to idle ones, as with processes: one of these looks now and then
while all tasks of some job are out.

A thread can't be ended from outside. To stop what runs, the engine fails the task at once, asks
the interpreter to raise the error's class in the thread, and has another thread take its place. The
interpreter does so when the thread next runs Python code: not while it is in a call of the system's
or in native code. (Where a loop begins anew, CPython 3.13 raises it past the ``try`` around that in
the same function, ``finally`` included.)
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

from allcores.engines.contract import CLOSE, RUN, TERMINATE
from allcores.engines.local import Local, Task, perform
from allcores.errors import TaskCancelled, TaskTimeout
from allcores.task.death import overran
from allcores.task.records import MAP, ONE, STARMAP, current, end

# How often an idle thread looks whether it could take over what is left of another's task, while
# there is something to take, and at the least. (Guesses.)
_LOOK_S = 0.002
_LOOK_LEAST_S = 0.05
# What the word of a task of several items has room for (records.py: PLACE).
_MOST_ITEMS = (1 << 24) - 1

# Of quick items a thread makes so many its own at once, as each look costs as much as some of
# them; a few, as they may be followed by slow ones that nobody can take over then. (Guesses.)
_QUICK_NS = 50_000
_MOST_AT_ONCE = 16

_names = itertools.count(1)


class Threads(Local):
    """Threads of this process.

    Args:
        size: how many.
        initializer: called in each as it starts, if there is one.
        initargs: its arguments.

    Attributes:
        workers: the threads.
    """

    def __init__(
        self,
        size: int,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        super().__init__()
        # Tasks; None asks a worker to leave, a True to look after the tails.
        self.tasks: SimpleQueue[Any] = SimpleQueue()
        self.workers: list[Worker] = []
        self._size = size
        self.start_args = initializer, tuple(initargs)
        self._hiring = threading.Lock()
        self._looking = False
        self._clock: threading.Thread | None = None
        self._bell = threading.Event()

    def put(self, task: Task) -> None:
        """Have a thread do a task.

        Args:
            task: the task.
        """
        self.tasks.put(task)
        if self.state != RUN and not any(worker.is_alive() for worker in self.workers):
            self._too_late(task)

    def _too_late(self, task: Task) -> None:
        """Fail a call that was made just as the last thread left."""
        if (job := self.jobs.get(task[0])) is not None:
            job._abort(self.why_over())

    # Workers.

    def fill(self) -> None:
        """Start threads until there are enough."""
        with self._hiring:
            while len(self.workers) < self._size:
                worker = Worker(self)
                self.workers.append(worker)
                try:
                    worker.start()
                except RuntimeError as error:
                    self.workers.remove(worker)
                    error.add_note(
                        "allcores: a limit on processes and threads (ulimit -u, docker run "
                        "--pids-limit) or on memory (ulimit -v) keeps a thread from starting"
                    )
                    raise

    def stop(self, number: int) -> None:
        """Ask the threads that do a task of a job to stop, and have others take their places.

        Args:
            number: the job.
        """
        for worker, tag, start in self._running():
            if tag >> 32 == number and worker.interrupt(tag, start, TaskCancelled):
                self._replace(worker)

    def interrupt(self) -> None:
        """Ask all threads that do a task to stop and leave."""
        for worker, tag, start in self._running():
            worker.interrupt(tag, start, TaskCancelled)

    def _running(self) -> Iterator[tuple[Worker, int, int]]:
        """Return the workers that do a task, the task, and when they began it."""
        for worker in list(self.workers):
            lease = worker.lease
            tag, start = lease.tag, lease.start
            if tag and lease.tag == tag:
                yield worker, tag, start

    def _replace(self, worker: Worker) -> None:
        with self._hiring:
            if worker in self.workers:
                self.workers.remove(worker)
        if self.state != TERMINATE and (self.state != CLOSE or self.jobs):
            self.fill()

    # Timeouts.

    def ring_bell(self) -> None:
        """Have a thread watch the clock: some job's tasks may take so long and no longer."""
        self._bell.set()
        with self._hiring:
            if self._clock is None:
                self._clock = threading.Thread(
                    target=self._watch, name="allcores-clock", daemon=True
                )
                self._clock.start()

    def _watch(self) -> None:
        while True:
            self._bell.clear()
            pause = self.overdue(self._running(), self._overran)
            with self._hiring:
                if not self.timed or self.state == TERMINATE:
                    self._clock = None
                    return
            self._bell.wait(pause)

    def _overran(self, worker: Worker, tag: int, start: int, timeout: float) -> None:
        if not worker.interrupt(tag, start, TaskTimeout):
            return
        self._replace(worker)
        number, part = tag >> 32, tag & 0xFFFFFFFF
        with self.delivering:
            job = self.jobs.get(number)
            if job is not None:
                fate = (
                    f"{worker.name}, which runs it, was asked to stop, and another thread takes "
                    "its place"
                )
                job._lost(part, overran(job, part, 0, timeout, fate))

    # Tails.

    def tail(self, number: int) -> None:
        """All tasks of a job are out, and some have several items.

        Args:
            number: the job.
        """
        super().tail(number)
        if not self._looking:
            self._looking = True
            self.tasks.put(True)

    def look(self) -> Any:
        """Wait for a task, for a worker that has none; share out what is left of others' tasks."""
        pause = _LOOK_S
        while self.tails:
            try:
                found = self.tasks.get(timeout=pause)
            except Empty:
                pause = _LOOK_S if self._share() else min(2 * pause, _LOOK_LEAST_S)
                continue
            self.tasks.put(True)  # another may look
            return found
        self._looking = False
        if self.tails:  # since just now
            self._looking = True
            self.tasks.put(True)
        return self.tasks.get()

    def _share(self) -> bool:
        """Give away half of what the worker with the most left has not begun, if any has more."""
        most = 1
        for worker in list(self.workers):
            lease = worker.lease
            tag, place = lease.tag, lease.place
            left = end(place) - current(place)
            if left > most and tag >> 32 in self.tails and lease.tag == tag:
                most, longest = left, (tag, lease, place)
        if most == 1:
            return False
        tag, lease, place = longest
        with self.delivering:
            job = self.jobs.get(tag >> 32)
            if job is not None:
                job._share(tag & 0xFFFFFFFF, lease, place)
        return True

    # The end.

    def shut(self, state: str) -> None:
        """Go over to CLOSE or TERMINATE; the threads leave when nothing is left to do.

        Args:
            state: the new state; TERMINATE stays.
        """
        super().shut(state)
        self._dismiss()
        self._bell.set()

    def finish(self, number: int, early: bool = False) -> None:
        """Forget a job that is complete.

        Args:
            number: the job.
            early: its tasks that have not begun are not to begin.
        """
        super().finish(number, early)
        if self._clock is not None and not self.timed:
            self._bell.set()
        if self.state == CLOSE:
            self._dismiss()

    def _dismiss(self) -> None:
        if self.state == TERMINATE or not self.jobs:
            for _ in self.workers:
                self.tasks.put(None)

    def join(self) -> None:
        """Wait for the threads to leave."""
        for worker in list(self.workers):
            if worker is not threading.current_thread():
                worker.join()


class Worker(threading.Thread):
    """One thread.

    Args:
        engine: whose tasks it does.
    """

    def __init__(self, engine: Threads) -> None:
        super().__init__(name=f"allcores-thread-{next(_names)}", daemon=True)
        self._engine = engine
        self.lease = Lease()

    def run(self) -> None:
        """Do tasks, until asked to leave."""
        try:
            self._serve(self._engine)
        except BaseException:
            # One that was stopped leaves, whatever the interpreter raised where.
            if not self.lease.lost:
                raise
        if self.lease.lost:
            # What is raised in it is to be caught here. As long as an exception is due, CPython
            # before 3.13 looks for it at every step of every thread; where it traces, it hangs.
            try:
                with self.lease.lock:  # who raises one has it
                    _raise_in(self, TaskCancelled)  # instead of one that is still to come
                _nothing()
            except BaseException:
                pass

    def _serve(self, engine: Threads) -> None:
        # Not in `run`: where a loop begins again, CPython 3.13 raises past the handlers around it.
        if engine.welcome(*engine.start_args):
            while self._next(engine):
                pass

    def _next(self, engine: Threads) -> bool:
        task = engine.tasks.get()
        while task is True:
            task = engine.look()
        if engine.state == TERMINATE:
            return False
        if task is None:
            return bool(engine.jobs)  # one more was made: its end asks again
        if task[0] not in engine.jobs:
            return True  # given up
        return self._do(engine, task)

    def _do(self, engine: Threads, task: Task) -> bool:
        """Do a task; return whether to go on."""
        number, part, what, func, payload = task
        lease = self.lease
        failed = value = None
        lease.start = time.monotonic_ns()
        lease.tag = number << 32 | part
        try:
            if what in (MAP, STARMAP) and payload[2] - payload[1] <= _MOST_ITEMS:
                value = _several(lease, what, func, *payload)
            elif what == ONE:
                value = func(payload)
            else:
                value = perform(what, func, payload)
        except BaseException as error:
            failed = error
        # From here on nobody stops it; or somebody has, and the task is no longer its.
        with lease.lock:
            if lease.lost:
                return False
            lease.tag = lease.place = 0
        try:
            if failed is None:
                engine.deliver(task, value, lease.start)
            else:
                engine.lose(task, failed)
        except BaseException:  # of a callback: nobody is there to take it
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self)))
        finally:
            del failed  # its traceback refers to this frame
        return True

    def interrupt(self, tag: int, start: int, error: type[BaseException]) -> bool:
        """Raise an exception in it, if it still does a task, and have it leave.

        Args:
            tag: the task.
            start: when it began that; the same may be done again.
            error: class of the exception.
        """
        with self.lease.lock:
            if self.lease.tag != tag or self.lease.start != start:
                return False
            self.lease.lost = True
            self.lease.tag = self.lease.place = 0
            _raise_in(self, error)
            return True


class Lease:
    """What a thread is doing; as that of a process (death.py).

    Attributes:
        tag: the task that it runs: the job's number and the part; 0 for none.
        place: in a task of several items, how far it is; as records.py has it.
        start: when it began the task, by `time.monotonic_ns`.
        lock: held while these change such that others rely on it.
        lost: the task was taken away, and the thread is to leave.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tag = 0
        self.place = 0
        self.start = 0
        self.lost = False
        self.tasks = 0

    def take_back(self, seen: int, keep: int) -> bool:
        """Take away the items from `keep` on; False when it is not where it was seen.

        Args:
            seen: its `place`.
            keep: items that it keeps.
        """
        with self.lock:
            if self.place != seen:
                return False
            self.place = seen & ~(_MOST_ITEMS << 24) | keep << 24
            return True


def _raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Have the interpreter raise an exception in a thread, instead of one that is still to come."""
    raised = ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), raised)


def _nothing() -> None:
    """Be called: the interpreter raises what is due as it calls something."""


def _several(
    lease: Lease, what: int, func: Callable[..., Any], items: Any, start: int, stop: int
) -> list[Any]:
    """Make a call for each of some items; others may take some away from the end."""
    lease.tasks += 1
    lease.place = (lease.tasks & 0xFFFF) << 48 | (stop - start) << 24
    values: list[Any] = []
    at, to, step = 0, 1, 1
    while True:
        began = time.monotonic_ns()
        some = items[start + at : start + to]
        values += [func(item) for item in some] if what == MAP else [func(*item) for item in some]
        quick = time.monotonic_ns() - began < _QUICK_NS
        step = min(2 * step, _MOST_AT_ONCE) if quick else 1
        with lease.lock:
            place = lease.place
            at = to
            if at >= end(place):
                lease.place = 0
                return values
            to = min(at + step, end(place))
            # "Current" is the last one that is its own for certain.
            lease.place = place & ~_MOST_ITEMS | to - 1
