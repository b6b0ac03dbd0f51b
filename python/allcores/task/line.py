"""The pool's end of the two rings: tasks go out, results come in and find their job.

Results are taken off the ring by whoever waits for one: a caller in ``get()`` serves itself and
everybody else meanwhile, which spares each result two switches between threads. Only when nobody
waits does the keeper's thread do it. One thread at a time drains; it passes the baton on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from allcores import _core, pickling
from allcores.errors import TaskCancelled
from allcores.task import failure
from allcores.task.bell import Bell
from allcores.task.function import Function, Packed
from allcores.task.records import (
    FAILURE,
    LEASE_BYTES,
    NO_START,
    RESULT,
    STOP,
    TASK,
    VALUE,
    Ticket,
)

# Cells of each ring; what doesn't fit spills into the arena.
_CELLS = 1024
# A drainer looks up at least this often: the keeper must hear of deaths.
SLICE_S = 0.05
# Results that a caller delivers after its own.
_BURST = 64

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"


class Line:
    """The rings of a pool, and what is under way on them.

    Attributes:
        state: RUN, CLOSE or TERMINATE.
        jobs: results that somebody may still wait for, by job number.
        broken: makes the error of every call, once the pool can't go on.
    """

    def __init__(self) -> None:
        self.tasks: Any = _core.Ring(_CELLS, True)
        self.results: Any = _core.Ring(_CELLS, True)
        self.state = RUN
        self.jobs: dict[int, Any] = {}
        self.broken: Callable[[], BaseException] | None = None
        self.bell = Bell()
        self.parked = False
        self.draining = threading.Lock()
        self.waiting: list[Any] = []
        self.left_at = 0.0  # when a caller last stopped draining, by time.monotonic()
        self.functions = Packed()
        self._tags = count(1)
        self._tickets: dict[int, Ticket] = {}
        # The drainer's own lease: which result is off the ring and not yet delivered.
        self._lease = _core.Block(LEASE_BYTES)
        self._words = memoryview(self._lease).cast("B").cast("Q")
        self._current: Ticket | None = None

    # Out.

    def post(self, ticket: Ticket, function: Function, data: bytes, refs: list[int]) -> None:
        """Put a task on the ring.

        Args:
            ticket: where its result goes.
            function: what to call.
            data: the arguments, packed.
            refs: offsets of the handles in them.
        """
        tag = next(self._tags)
        self._tickets[tag] = ticket
        head = TASK.pack(
            tag,
            function.number,
            function.offset,
            function.generation,
            function.nbytes,
            ticket.kind,
        )
        if function.refs:
            refs = [*refs, *function.refs]
        self.tasks.put(head + function.inline + data, refs, tag)

    def post_stop(self) -> None:
        """Ask one worker, whichever takes it, to leave."""
        self.tasks.put(TASK.pack(0, 0, 0, 0, 0, STOP))

    def ring_bell(self) -> None:
        """Wake the keeper if it sleeps."""
        if self.parked:
            self.bell.ring()  # closed when there is no keeper any more

    def shut(self, state: str) -> None:
        """Go over to CLOSE or TERMINATE, and let the keeper know.

        Args:
            state: the new state; TERMINATE stays.
        """
        if self.state != TERMINATE:
            self.state = state
        self.parked = True  # whatever it is doing: the next sleep ends at once
        self.ring_bell()

    def poke(self) -> None:
        """End the wait of the thread that drains, whose job may be complete by other means."""
        if self.results is not None and self.draining.locked():
            self.results.put(RESULT.pack(0, 0, VALUE))

    # In.

    def collect(self, timeout: float) -> bool:
        """Take one result off the ring and deliver it; the caller holds `draining`.

        Args:
            timeout: seconds to wait for one.
        """
        try:
            data = self.results.get(timeout, self._lease)
            if data is None:
                return False
            self.deliver(data)
            self._words[0] = 0
            return True
        except BaseException:
            # A signal handler raised between the ring and the job. The result may be lost:
            # its job must not wait for it.
            tag = self._words[0]
            self._words[0] = 0
            ticket = self._current or self._tickets.pop(tag, None)
            self._current = None
            if ticket is not None:
                ticket.job._abort(
                    TaskCancelled(
                        "the program was interrupted just as this result arrived, and the "
                        "result was lost; run the call again"
                    )
                )
            raise

    def deliver(self, data: Any) -> None:
        """Give a result to its job."""
        view = memoryview(data)
        tag, pid, status = RESULT.unpack_from(view)
        ticket = self._tickets.pop(tag, None)
        if ticket is None:
            if status == NO_START:
                self._no_start(view[RESULT.size :])
            return  # or: it was given up
        self._current = ticket
        success = status == VALUE
        value: Any
        if success:
            try:
                value = pickling.loads(view[RESULT.size :])
            except Exception as error:
                success = False
                value = failure.TaskFailed(
                    type(error).__name__, str(error), "the result can't be unpickled here"
                )
                value.__cause__ = error
        elif status == FAILURE:
            where = f"task {ticket.first} (in process {pid})"
            value = failure.unpack(view[RESULT.size :], where)
        else:
            value = failure.unsendable(view[RESULT.size :])
        ticket.job._set(ticket.part, (success, value))
        self._current = None

    def _no_start(self, data: memoryview) -> None:
        from allcores.errors import InitializerFailed

        packed = bytes(data)

        def make() -> BaseException:
            cause = failure.unpack(packed, "the initializer")
            error = InitializerFailed(
                f"the pool's initializer raised {type(cause).__name__}: {cause}; no worker can "
                "start, so the pool does nothing any more. Correct the initializer or its "
                "arguments (initargs) and make another pool"
            )
            error.__cause__ = cause
            return error

        self.give_up(make)

    def take_back(self, tag: int) -> Ticket | None:
        """Return the ticket of a task that won't come back, None when its result is here.

        Args:
            tag: the task.
        """
        while self._words[0] == tag and self.draining.locked():
            time.sleep(0.001)  # its result is off the ring and being delivered
        return self._tickets.pop(tag, None)

    def empty(self) -> None:
        """Deliver all results that are on the ring now."""
        tries = 0
        while True:
            data = self.results.get(0)
            if data is not None:
                self.deliver_apart(data)
            elif self.results.qsize() == 0 or (tries := tries + 1) > 50:
                return
            else:
                time.sleep(0.001)  # a worker is in the middle of putting the first one

    def deliver_apart(self, data: Any) -> None:
        """Deliver, beside the thread that drains."""
        with_current = self._current
        self.deliver(data)
        self._current = with_current

    def give_up(self, make: Callable[[], BaseException]) -> None:
        """Fail everything under way and everything to come.

        Args:
            make: makes the error.
        """
        self.broken = make
        self.cancel()

    def why_over(self) -> BaseException:
        """Return the error of a call that the pool, broken or terminated, won't do."""
        if self.broken is not None:
            return self.broken()
        return TaskCancelled(
            "the pool was terminated before this call had ended; leaving its `with` block "
            "terminates it: get() the results inside, or close() and join() it there"
        )

    def cancel(self) -> None:
        """Fail everything under way."""
        self._tickets.clear()
        for job in list(self.jobs.values()):
            job._abort(self.why_over())
        self.poke()

    # Waiting.

    def attend(self, job: Any, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `done()`, draining results where no other thread does.

        Args:
            job: releases the locks in its `_waiters` at each news.
            done: whether there is nothing more to wait for.
            timeout: seconds; None for ever.
        """
        if done():
            return True
        end = None if timeout is None else time.monotonic() + timeout
        baton = threading.Lock()
        baton.acquire()
        self.waiting.append(baton)
        job._waiters.append(baton)
        try:
            while not done():
                if self.state == TERMINATE or self.broken is not None:
                    # The call was made just as the pool ended, and came too late for `cancel`.
                    job._abort(self.why_over())
                    return True
                left = 1.0 if end is None else min(1.0, end - time.monotonic())
                if left <= 0:
                    return False
                if self.state != TERMINATE and self.draining.acquire(False):
                    try:
                        if not done() and self.state != TERMINATE:
                            self.collect(min(left, SLICE_S))
                        # What is there already goes along, so that it needs no wait of its own.
                        for _ in range(_BURST):
                            if self.state == TERMINATE or not self.collect(0):
                                break
                    finally:
                        self.draining.release()
                else:
                    baton.acquire(timeout=left)
            return True
        finally:
            job._waiters.remove(baton)
            self.waiting.remove(baton)
            self.left_at = time.monotonic()
            self.pass_on()

    def pass_on(self) -> None:
        """Let another thread drain: one that waits, or the keeper."""
        try:
            baton = self.waiting[-1]
        except IndexError:
            if self.jobs:
                self.ring_bell()
            return
        wake(baton)

    def finish(self, number: int) -> None:
        """Forget a job that is complete.

        Args:
            number: the job.
        """
        self.jobs.pop(number, None)
        if not self.jobs and self.state != RUN:
            self.ring_bell()

    def release(self) -> None:
        """Give the rings back; the pool is over."""
        # A caller may still be draining, for one slice more. (It may also be the very one who
        # came here, from a signal handler: don't wait for ever.)
        locked = self.draining.acquire(timeout=10 * SLICE_S)
        self.tasks = self.results = None
        self._words = memoryview(bytearray(LEASE_BYTES)).cast("Q")
        self._lease = None  # type: ignore[assignment]
        self.bell.close()
        if locked:
            self.draining.release()


def wake(baton: Any) -> None:
    """Let the thread go on that waits for `baton`."""
    try:
        baton.release()
    except RuntimeError:
        pass  # it has been woken already
