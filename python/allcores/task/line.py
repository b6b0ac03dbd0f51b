"""The pool's end of the two rings: tasks go out, results come in and find their job.

Results are taken off the ring by whoever waits for one: a caller in ``get()`` serves itself and
everybody else meanwhile, which spares each result two switches between threads. Only when nobody
waits does the keeper's thread do it. One thread at a time drains; it passes the baton on.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from allcores import _core, pickling
from allcores.cpus import cpu_count
from allcores.engines.contract import RUN, TERMINATE, Engine, initializer_failed, wake
from allcores.errors import AllcoresError, TaskCancelled
from allcores.task import bring, failure
from allcores.task.bell import Bell
from allcores.task.function import Packed
from allcores.task.records import CANCELLED_WORDS, POKE, STOP, kind

if TYPE_CHECKING:
    from allcores.task.hear import Hearing
    from allcores.task.watch import Watch

# Cells of each ring; what doesn't fit spills into the arena.
_CELLS = 1024
# A drainer looks up at least this often: the keeper must hear of deaths.
SLICE_S = 0.05
# And this often while idle workers may take over what is left of others' tasks (a guess).
TAIL_S = 0.002
# From how many bytes on a task's are counted, and how many may lie on the ring: enough that no
# worker waits for its next task.
_LARGE_BYTES = 1 << 16
_LOAD_BYTES = 1 << 26
# Results that are delivered before the drainer looks whether its own has come.
_BURST = 256
# Who makes call after call takes results off after so many of them.
_IN_BETWEEN = 64
# How long after a caller has taken results it is likely to come for more: one that waited for them,
# and one that takes them between its calls. (Guesses.)
_NEXT_CALL_S = 0.005
_NEXT_POSTS_S = 0.002


@cache
def _cores(pid: int) -> int:
    # Finding out takes longer than a call; in a worker it is its share.
    return cpu_count()


class Line(Engine):
    """The engine of processes: the rings of a pool, and what is under way on them.

    Attributes:
        workers: how many there are to be.
        rebalance: called now and then while there are tails.
        stop_running: ends the workers that do a task of a job, by its number.
        watch: looks after the memory of the workers, where that has a limit.
        viewed: bytes of tasks that arrive as views, without a copy.
        hearing: takes what workers print, log and warn; None where they keep it.
    """

    drops_callbacks = True  # that are due when it is terminated

    def __init__(self) -> None:
        super().__init__()
        self.tasks: Any = _core.Ring(_CELLS, True)
        self.results: Any = _core.Ring(_CELLS, True)
        self.cancelled = _core.Block(8 * CANCELLED_WORDS)
        self._cancelled = memoryview(self.cancelled).cast("B").cast("Q")
        self.rebalance: Callable[[], None] = lambda: None
        self.stop_running: Callable[[int], None] = lambda number: None
        self.watch: Watch | None = None
        self.hearing: Hearing | None = None
        self.viewed = 0
        self.bell = Bell()
        self.parked = False
        # Reentrant: what a signal handler or a finalizer does in the middle of it may need results.
        self.draining = threading.RLock()
        self.drained = False  # a thread has it, and may sleep until there are results
        self.company = 0.0  # until when callers are likely to drain again, by time.monotonic()
        self.keeps = False  # there is a keeper
        self.keeper = 0  # its thread
        self.look_after: Callable[[], None] = lambda: None  # what it does for the workers
        self.put_by: deque[Callable[[], object]] = deque()  # for the keeper to call
        self.functions = Packed()
        self.workers = 1
        self._cores = _cores(os.getpid())
        self._posted = 0  # tasks that were ever put on the ring
        # Large ones that may be there: which of the posted it ends with, and its bytes.
        self._large: deque[tuple[int, int]] = deque()
        self._load = 0  # their bytes
        self._weighing = threading.RLock()
        self._keeper_wants = False
        self.left: set[int] = set()  # pids of workers that left the rings, and live
        _lines.add(self)

    def _give_again(self, number: int) -> None:
        if self._cancelled[number % CANCELLED_WORDS] == number:
            self._cancelled[number % CANCELLED_WORDS] = 0

    # Out.

    function = bring.function
    call = bring.call
    each = bring.each
    several = bring.several

    def note(self, count: int, nbytes: int) -> None:
        """Note what was posted.

        Args:
            count: tasks.
            nbytes: of all of them.
        """
        # (Threads that post at the same time may miscount it a little: `has_room` corrects that.)
        self._posted += count
        if nbytes > _LARGE_BYTES * count:
            with self._weighing:
                self._large.append((self._posted, nbytes))
                self._load += nbytes

    def has_room(self) -> bool:
        """Return whether what is posted and not begun leaves memory for more."""
        if not self._large:
            return True
        with self._weighing:
            tasks, large = self.tasks, self._large
            left = 0 if tasks is None else tasks.qsize()
            # The ring is a queue: what was posted before the last `left` has been taken.
            while large and (left == 0 or large[0][0] <= self._posted - left):
                self._load -= large.popleft()[1]
            return self._load < _LOAD_BYTES or left < self.workers

    def post_stop(self) -> None:
        """Ask one worker, whichever takes it, to leave."""
        self.tasks.put(b"", (), 0, None, kind(STOP))

    def stop(self, number: int) -> None:
        """End the workers that do a task of a job that is over, and the wait of who drains for it.

        Args:
            number: the job.
        """
        self.stop_running(number)
        self.poke()

    def ring_bell(self) -> None:
        """Wake the keeper if it sleeps."""
        if self.parked:
            self.parked = False  # once is enough
            self.bell.ring()  # closed when there is no keeper any more

    def leave(self, job: Any) -> None:
        """See to it that results are delivered that nobody waits for: the keeper does it.

        Who makes call after call does it in between: two threads that both have much to do cost
        each other a third of their time.

        Args:
            job: not needed.
        """
        if self.parked:
            self.ring_bell()
        elif not self._posted % _IN_BETWEEN and self._has_plain_results():
            try:
                if self._serve(0):
                    self.company = max(self.company, time.monotonic() + _NEXT_POSTS_S)
            finally:
                self.pass_on()

    def _has_plain_results(self) -> bool:
        """Tell whether there are results, and nothing that calls the user's handlers."""
        results, hearing = self.results, self.hearing
        return results is not None and results.qsize() > 0 and not (hearing and hearing.listens)

    def shut(self, state: str) -> None:
        """Go over to CLOSE or TERMINATE, and let the keeper know.

        Args:
            state: the new state; TERMINATE stays.
        """
        super().shut(state)
        self.parked = True  # whatever it is doing: the next sleep ends at once
        self.ring_bell()

    def poke(self) -> None:
        """End the wait of the thread that drains, whose job may be complete by other means."""
        results = self.results
        if results is not None and self.drained:
            results.put(b"", (), 0, None, kind(POKE))

    def put_off(self, what: Callable[[], object]) -> bool:
        """Leave what calls the user's code to the keeper, for when it doesn't drain.

        That code may wait for a lock of a caller who waits for its own results, and drains. And it
        may rely on being called by one thread.

        Args:
            what: calls it.
        """
        if not self.keeps:
            return False
        self.put_by.append(what)
        self.parked = True  # whatever it is doing: the next sleep ends at once
        self.ring_bell()
        if not self.keeps:  # it ended meanwhile
            self.call_put_by()
        return True

    def call_put_by(self) -> None:
        """Call what has been left to the keeper so far."""
        for _ in range(len(self.put_by)):
            if self.state == TERMINATE and self.drops_callbacks:
                return
            try:
                what = self.put_by.popleft()
            except IndexError:
                return
            try:
                what()
            except BaseException:  # a callback may raise anything; the others count as well
                threading.excepthook(
                    threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
                )
            self.poke()  # who waits for that drains, most likely

    # In.

    def collect(self, timeout: float) -> int:
        """Take results off the ring and deliver them; the caller holds `draining`.

        Args:
            timeout: seconds to wait for the first.

        Returns:
            How many there were.
        """
        # Not all cores are at work, so looking for the result keeps nobody from it.
        patient = len(self.jobs) < self._cores and self.tasks.qsize() < self._cores
        count: int = _core.collect(self.results, self.jobs, self, timeout, _BURST, patient)
        return count

    def slice(self) -> float:
        """Return the seconds for which a drainer may sleep."""
        return TAIL_S if self.tails else SLICE_S

    def _failure(self, job: int, part: int, data: Any) -> BaseException:
        """Return what a task raised; from `collect`, like what follows."""
        view = memoryview(data)
        (pid,) = struct.unpack_from("=I", view)
        found = self.jobs.get(job)
        where = "a task" if found is None else f"task {found._first(part)}"
        return failure.unpack(view[4:], f"{where} (in process {pid})")

    def _unsendable(self, job: int, part: int, data: Any) -> BaseException:
        error: BaseException = failure.unsendable(data)
        return error

    def _unreadable(self, error: BaseException) -> BaseException:
        return failure.unreadable(error)

    def _exited(self, error: SystemExit) -> bool:
        return not failure.is_a_signals(error)

    def _interrupted(self, job: int) -> None:
        """Fail a job of which a result was lost: a signal handler raised as it arrived."""
        found = self.jobs.get(job)
        if found is not None:
            found._abort(
                TaskCancelled(
                    "the program was interrupted just as a result of this call arrived, and the "
                    "result was lost; run the call again"
                )
            )
            self.finish(job)  # also where it was complete, and cut short at this

    def _heard(self, data: Any) -> None:
        """Take what a worker printed, logged or warned."""
        if self.hearing is not None:
            self.hearing.hear(data, self.jobs)

    def _stray(self, job: int, part: int, data: Any) -> BaseException:
        """Note what a worker, of the pid `part`, says of itself; or give up: no worker starts."""
        if part:
            if packed := bytes(data):
                from allcores.task.reserve import reserve

                reserve.learn(*pickling.loads(packed))
            else:
                self.left.add(part)
            return self.why_over()
        self.give_up(initializer_failed(failure.unpack(bytes(data), "the initializer")))
        return self.why_over()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Drain, for the keeper, with no other thread in the middle of delivering anything."""
        self._keeper_wants = True
        try:
            while not self.draining.acquire(False):
                if self.state == TERMINATE:
                    raise self.why_over()  # who has it may wait for the keeper's end
                self.poke()
                if self.draining.acquire(timeout=TAIL_S):
                    break
        finally:
            self._keeper_wants = False
        try:
            yield
        finally:
            self.draining.release()
            self.pass_on()

    def empty(self) -> None:
        """Deliver all results that are on the ring now; the caller holds `draining`."""
        tries = 0
        while True:
            if self.collect(0):
                continue
            if self.results.qsize() == 0 or (tries := tries + 1) > 50:
                return
            time.sleep(0.001)  # a worker is in the middle of putting the first one

    def cancel(self) -> None:
        """Fail everything under way."""
        super().cancel()
        self.poke()

    # Waiting.

    def _wait(self, job: Any, done: Callable[[], bool], baton: Any, timeout: float) -> None:
        """Drain results, where no other thread does."""
        if threading.get_ident() == self.keeper:
            # A callback made a call and waits for it: somebody must hear of deaths meanwhile.
            timeout = min(timeout, SLICE_S)
            self.look_after()
        if len(self.jobs) == 1 and (rest := min(timeout, job._rest())):
            baton.acquire(timeout=rest)
            timeout -= rest
        if self._keeper_wants:
            baton.acquire(timeout=min(timeout, TAIL_S))
        elif self.state != TERMINATE and self._serve(timeout, done):
            # (Who only looks, with a timeout of 0, takes none: the keeper has to.)
            self.company = time.monotonic() + _NEXT_CALL_S
        else:
            baton.acquire(timeout=timeout)

    def _serve(self, timeout: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Drain in a caller's thread; return False when another one does.

        Args:
            timeout: seconds to wait for the first result.
            done: whether there is nothing more to wait for.
        """
        draining = self.draining
        try:
            # Inside, and first: a signal handler may raise as soon as it is acquired.
            if not draining.acquire(False):
                return False
            self.drained = True
            if not done() and self.state != TERMINATE and self.results is not None:
                self.drain(min(timeout, self.slice()))
            self.drained = False
            return True
        finally:
            try:
                draining.release()
            except RuntimeError:
                pass  # another thread has it

    def _waited(self) -> None:
        self.pass_on()

    def drain(self, timeout: float) -> int:
        """As `collect`; what is left of others' tasks goes to idle workers meanwhile.

        Args:
            timeout: seconds to wait for the first.
        """
        count = self.collect(timeout)
        if self.tails and count < _BURST:
            self.rebalance()
        return count

    def pass_on(self) -> None:
        """Let another thread drain: one that waits, or the keeper."""
        try:
            baton = self.waiting[-1]
        except IndexError:
            baton = None
        if baton is not None:
            wake(baton)
        elif self.jobs:
            self.ring_bell()

    def finish(self, number: int, early: bool = False) -> None:
        """Forget a job that is complete.

        Args:
            number: the job.
            early: its tasks that have not begun are not to begin.
        """
        if early:
            # First: workers pass over what is cancelled without a word, and a job that an interrupt
            # kept from being forgotten would be waited for.
            self.jobs.pop(number, None)
            # Before its time limit may be forgotten: a task that has not begun then never does.
            self._cancelled[number % CANCELLED_WORDS] = number
        super().finish(number, early)
        if not self.jobs and self.state != RUN:
            self.ring_bell()

    def release(self) -> None:
        """Give the rings back; the pool is over."""
        # A caller may still be draining, for one slice more. (It may also be the very one who
        # came here, from a signal handler: don't wait for ever.)
        locked = self.draining.acquire(timeout=10 * SLICE_S)
        if locked and self.hearing is not None and self.results is not None:
            while self.collect(0):
                pass  # the last that workers printed
        self.tasks = self.results = None
        self._cancelled = memoryview(bytearray(8 * CANCELLED_WORDS)).cast("Q")
        self.cancelled = None  # type: ignore[assignment]
        self.functions = Packed()
        self.rebalance = self.look_after = lambda: None
        self.stop_running = lambda number: None
        self.watch = None
        self.bell.close()
        if locked:
            self.draining.release()

    def _disown(self) -> None:
        """Forget everything, in the copy that a fork has made of it.

        The rings are the same ones in both processes: a result that was taken off here would be
        missing there, and calls of both would have the same numbers.
        """
        self.draining = threading.RLock()
        self._numbering, self._weighing = threading.RLock(), threading.RLock()
        self.keeps, self.put_by = False, deque()
        self._cancelled = memoryview(bytearray(8 * CANCELLED_WORDS)).cast("Q")
        self.state = TERMINATE
        self.broken = _elsewhere


def _elsewhere() -> BaseException:
    return _Elsewhere(
        "this pool or executor belongs to the process that this one was forked from; make another "
        "one here"
    )


class _Elsewhere(AllcoresError, RuntimeError):
    """A pool, an executor or a call of theirs was used in a fork of its process."""


_lines: WeakSet[Line] = WeakSet()


def _after_fork() -> None:
    for line in list(_lines):
        line._disown()


os.register_at_fork(after_in_child=_after_fork)
