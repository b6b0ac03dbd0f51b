"""The contract between jobs, which want tasks done, and engines, which do them.

A job is what the caller of a pool or an executor holds: it makes tasks, puts results in order, and
knows when it is complete. An engine gets tasks done: in processes, in threads, in the thread that
asks. Neither knows more of the other than what stands here.

What an engine asks of a job:

| the job's | is for |
|---|---|
| ``_job`` | its number, which `add` gives it; 0 before |
| ``_batons`` | locks that it releases (`wake`) at each news; from `attend` |
| ``_got(part, value)`` | what a task of one call returned |
| ``_got_many(parts, values)`` | the same for some tasks at once |
| ``_got_list(part, values, ns)`` | what a task of several items returned, and how long it took |
| ``_lost(part, error)`` | a task failed; it may want it done again |
| ``_failed(part, error)`` | a task can't be done at all |
| ``_options`` | of its tasks; the engine sees to ``timeout`` only |
| ``_abort(error)`` | the whole of it is to fail, without calling back |
| ``_first(part)``, ``_arguments(part, item)`` | what a task was about, for messages |

News of a part that is settled already, or of a job that is complete, is dropped by the job. An
engine hands over news of one job from one thread at a time.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from allcores.errors import TaskCancelled

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"
# Job numbers are 32 bits.
_LAST_JOB = (1 << 32) - 1


class Engine(ABC):
    """What all engines share: jobs by number, waiting, the end.

    Attributes:
        state: RUN, CLOSE or TERMINATE.
        jobs: those that somebody may still wait for, by number.
        tails: numbers of the jobs of which all tasks are out, and some have several items.
        broken: makes the error of every call, once the engine can't go on.
        timed: seconds that each task of a job may take, by the job's number.
        shortest: the least of them, or less.
        abandoned: those of them that are over, though tasks of theirs may still run.
        waiting: batons of the threads that wait for jobs.
        lazy: tasks are done only while somebody waits for them.
    """

    lazy = False

    def __init__(self) -> None:
        self.state = RUN
        self.jobs: dict[int, Any] = {}
        self.tails: set[int] = set()
        self.broken: Callable[[], BaseException] | None = None
        self.timed: dict[int, float] = {}
        self.shortest = math.inf
        self.abandoned: set[int] = set()
        self.waiting: list[Any] = []
        # Reentrant: a signal handler may make a call, too.
        self._numbering = threading.RLock()
        self._numbers = itertools.count(1)
        self._last_job = 0
        self._highest = _LAST_JOB  # below it no number has been in use; 0 in later rounds

    # Jobs.

    def add(self, job: Any) -> int:
        """Give a new job its number, and return that.

        From here on it is waited for, so who adds it sees to it that it ends, whatever happens.

        Args:
            job: takes its results.
        """
        number = next(self._numbers)
        if number > self._highest:
            number = self._number_anew(number)
        self._last_job = job._job = number
        self.jobs[number] = job
        timeout = job._options.timeout
        if timeout is not None:
            self.shortest = min(timeout, self.shortest) if self.timed else timeout
            self.timed[number] = timeout
            self.ring_bell()  # somebody has a clock to watch
        return number

    def _number_anew(self, number: int) -> int:
        with self._numbering:
            while number > _LAST_JOB or number in self.jobs:
                if number > _LAST_JOB and next(self._numbers) > _LAST_JOB:
                    self._highest = 0
                    self._numbers = itertools.count(1)
                number = next(self._numbers)
            self._give_again(number)
            return number

    def _give_again(self, number: int) -> None:  # noqa: B027
        """A number that another job had in the round before is given to one.

        Args:
            number: the number.
        """

    def finish(self, number: int, early: bool = False) -> None:
        """Forget a job that is complete.

        Args:
            number: the job.
            early: its tasks that have not begun are not to begin.
        """
        self.jobs.pop(number, None)
        if self.tails:
            self.tails.discard(number)
        if self.timed and number in self.timed:
            if early:
                self.abandoned.add(number)
            else:
                del self.timed[number]

    # Tasks.

    @abstractmethod
    def function(self, job: Any, func: Callable[..., Any], often: bool) -> Any:
        """Return the function of a call as tasks carry it.

        Args:
            job: keeps what the function needs until it is complete.
            func: the function.
            often: whether several tasks will carry it.

        Raises:
            NotPicklable: it can't travel.
        """

    @abstractmethod
    def call(self, function: Any, job: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        """Have one call made. One whose arguments can't travel fails.

        Args:
            function: what to call; from `function`.
            job: takes the result, as its part 0.
            args: positional arguments.
            kwargs: keyword arguments.
        """

    @abstractmethod
    def each(
        self,
        function: Any,
        job: Any,
        what: int,
        items: Sequence[Any],
        start: int,
        stop: int,
        shift: int = 0,
    ) -> int:
        """Have a call made with each of some items; part `i + shift` of the job is item `i`.

        Args:
            function: what to call; from `function`.
            job: takes the results.
            what: ONE or STAR_ONE.
            items: what they are some of.
            start: index of the first.
            stop: index behind the last.
            shift: part minus index.

        Returns:
            The index behind the last; less than `stop` when the items are so large that the rest
            should wait for room.
        """

    def has_room(self) -> bool:
        """Return whether what is posted and not begun leaves memory for more."""
        return True

    @abstractmethod
    def several(
        self,
        function: Any,
        job: Any,
        part: int,
        what: int,
        items: Sequence[Any],
        start: int,
        stop: int,
    ) -> None:
        """Have calls made with some items, one after the other, as one task.

        Args:
            function: what to call; from `function`.
            job: takes the list of results, as `part`.
            part: which part of the job it is.
            what: MAP or STARMAP.
            items: what they are some of; can be sliced.
            start: index of the first.
            stop: index behind the last.
        """

    def stop(self, number: int) -> None:  # noqa: B027
        """End what runs of a job that is over: by force where the engine can.

        Args:
            number: the job.
        """

    def interrupt(self) -> None:  # noqa: B027
        """Have what runs stop, as far as terminating the engine wouldn't."""

    def overdue(
        self,
        running: Iterable[tuple[Any, int, int]],
        give_up: Callable[[Any, int, int, float], object],
    ) -> float | None:
        """Have the tasks given up that took longer than they may.

        Args:
            running: the workers that do a task, its tag (the job's number and the part), and when
                it began, by `time.monotonic_ns`.
            give_up: called with these three and the timeout in seconds.

        Returns:
            Seconds in which none can become overdue; None when there is no need to look again.
        """
        timed = self.timed
        if not timed:
            return None
        now = time.monotonic_ns()
        # Those that begin from now on can't be sooner.
        soonest = self.shortest * 1e9
        abandoned = set(self.abandoned)
        for worker, tag, start in running:
            abandoned.discard(tag >> 32)
            timeout = timed.get(tag >> 32)
            if timeout is None:
                continue
            left = start + timeout * 1e9 - now
            if left > 0:
                soonest = min(soonest, left)
            else:
                give_up(worker, tag, start, timeout)
        for number in abandoned:  # and none will be at it, as their tasks are not begun any more
            timed.pop(number, None)
            self.abandoned.discard(number)
        return soonest / 1e9

    def ring_bell(self) -> None:  # noqa: B027
        """Somebody has to look up who else would sleep on: there is a clock to watch."""

    def tail(self, number: int) -> None:
        """All tasks of a job are out, and some have several items.

        Args:
            number: the job.
        """
        self.tails.add(number)
        if number not in self.jobs:  # it was cancelled just now
            self.tails.discard(number)

    def leave(self, job: Any) -> None:  # noqa: B027
        """See to it that a job gets done and its results delivered, though nobody waits for it.

        Args:
            job: the job.
        """

    def put_off(self, what: Callable[[], object]) -> bool:
        """Have code of the user's called later, in a thread that is in the middle of nothing else.

        Args:
            what: calls it.

        Returns:
            False where this thread may do it.
        """
        return False

    # Waiting.

    def attend(self, job: Any, done: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `done()`; return whether it is.

        Args:
            job: what is waited for.
            done: whether there is nothing more to wait for.
            timeout: seconds; None for ever.
        """
        if done():
            return True
        end = None if timeout is None else time.monotonic() + timeout
        baton = threading.Lock()
        baton.acquire()
        try:
            # First here and first below: a signal handler may raise in between, and a baton that
            # is left keeps others from waiting for what this thread doesn't take.
            self.waiting.append(baton)
            with self._numbering:
                job._batons = [*job._batons, baton]
            while not done():
                if self.state == TERMINATE or self.broken is not None:
                    # The call was made just as the pool ended, and came too late for `cancel`.
                    job._abort(self.why_over())
                    return True
                left = 1.0 if end is None else min(1.0, end - time.monotonic())
                if left <= 0:
                    return False
                self._wait(job, done, baton, left)
            return True
        finally:
            self.waiting.remove(baton)
            with self._numbering:
                # (No loop: CPython 3.13.0 leaves a lock locked when it is interrupted in one.)
                left_over = [*job._batons]
                if baton in left_over:
                    left_over.remove(baton)
                job._batons = left_over
            self._waited()

    def _wait(self, job: Any, done: Callable[[], bool], baton: Any, timeout: float) -> None:
        """Wait for news of a job, or help it along; may return without any.

        Args:
            job: what is waited for.
            done: whether there is nothing more to wait for.
            baton: released at each news.
            timeout: seconds.
        """
        baton.acquire(timeout=timeout)

    def _waited(self) -> None:  # noqa: B027
        """A thread no longer waits."""

    # The end.

    def shut(self, state: str) -> None:
        """Go over to CLOSE or TERMINATE.

        Args:
            state: the new state; TERMINATE stays.
        """
        if self.state != TERMINATE:
            self.state = state

    def give_up(self, make: Callable[[], BaseException]) -> None:
        """Fail everything under way and everything to come.

        Args:
            make: makes the error.
        """
        self.broken = make
        self.cancel()

    def why_over(self) -> BaseException:
        """Return the error of a call that the engine, broken or terminated, won't do."""
        if self.broken is not None:
            return self.broken()
        return TaskCancelled(
            "the pool was terminated before this call had ended; leaving its `with` block "
            "terminates it: get() the results inside, or close() and join() it there"
        )

    def cancel(self) -> None:
        """Fail everything under way."""
        for job in list(self.jobs.values()):
            job._abort(self.why_over())


def initializer_failed(cause: BaseException) -> Callable[[], BaseException]:
    """Return what makes the error of every call.

    Args:
        cause: what the initializer raised.
    """
    from allcores.errors import InitializerFailed

    def make() -> BaseException:
        error = InitializerFailed(
            f"the pool's initializer raised {type(cause).__name__}: {cause}; no worker can "
            "start, so the pool does nothing any more. Correct the initializer or its "
            "arguments (initargs) and make another pool"
        )
        error.__cause__ = cause
        return error

    return make


def wake(baton: Any) -> None:
    """Let the thread go on that waits for `baton`."""
    try:
        baton.release()
    except RuntimeError:
        pass  # it has been woken already
