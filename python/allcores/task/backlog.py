"""The line of an executor: of the tasks submitted, a bounded number is on the ring.

The others wait in `pending`, so that the ring never spills, and so that a future that was cancelled
is passed over for certain: the words that name cancelled jobs tell as many jobs apart as can be on
the ring at once, and these have consecutive numbers.

Whoever drains results posts from `pending` as there is room; so does `submit`.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from contextlib import suppress

from allcores.engines.contract import TERMINATE
from allcores.task import bring
from allcores.task.future import PENDING, Future
from allcores.task.line import TAIL_S, Line
from allcores.task.records import CALL, CANCELLED_WORDS

# Tasks on the ring at most, and how few are to be left when more are posted.
_MOST = CANCELLED_WORDS // 2
_REFILL = _MOST // 2
# Among the jobs, what is pending; results have numbers from 1 up.
_BACKLOG = -1


class FutureLine(Line):
    """The rings of an executor, and the futures under way.

    Attributes:
        posting: held by who puts tasks on the ring.
        settling: held for the moment in which a future without a condition is settled, or in which
            a task that failed begins to wait for being done again.
        pending: futures whose tasks are not on the ring yet, the oldest first.
        started: there is a keeper, which gives the rings back in the end.
    """

    drops_callbacks = False  # a future calls back whatever it comes to

    def __init__(self) -> None:
        super().__init__()
        self.posting = threading.RLock()
        self.settling = threading.RLock()
        self.pending: deque[Future] = deque()
        self.started = False
        self._gap = 0  # the last of them whose future was cancelled there

    # Out.

    def submit(self, future: Future) -> None:
        """Post a future's task, now or when there is room; the caller holds `posting`.

        Args:
            future: has its function in `_kept`.
        """
        if not self.pending and self.tasks.qsize() < _MOST and self.has_room():
            self._post(future)
            return
        self.pending.append(future)
        self.jobs[_BACKLOG] = self
        if self.broken is not None:
            self._abort(self.why_over())
        elif self.tasks.qsize() < _REFILL:
            self._fill()

    def _post(self, future: Future) -> None:
        try:
            self._put(future)
        except Exception as error:
            self._failed(future, error)

    def _put(self, future: Future) -> None:
        if future._job:
            return  # a signal handler has filled the ring meanwhile
        function, call = future._kept, future._call
        try:
            job = self.add(future)
            if future._what != CALL:
                bring.put_items(
                    self, function, job << 32, future._what, call, 0, len(call), future._index
                )
            else:
                bring.put_call(self, function, job << 32, *call)
        except BaseException as error:
            if not isinstance(error, Exception):
                future._abort(error)  # Ctrl-C: nobody knows whether it is on its way
            raise
        future._turn = self._posted
        if self.broken is not None or self.state == TERMINATE:
            # `cancel` may have looked for futures before this one was there.
            future._abort(self.why_over())

    def repeat(self, future: Future) -> None:
        """Have a future's task done again, next; whoever drains posts it.

        Args:
            future: its task has failed.
        """
        number = future._job
        # Whoever fills the ring does so now or later: this may be another thread. And all the time
        # there is a job: without one the keeper of an executor that is shut down would end.
        with self.settling:
            self.jobs[_BACKLOG] = self
            future._job, future._turn = 0, math.inf
            self.pending.appendleft(future)
        self.finish(number)
        if self.broken is not None or self.state == TERMINATE:
            self._abort(self.why_over())

    def _failed(self, future: Future, error: Exception) -> None:
        future._failed(0, self.why_over() if self.state == TERMINATE else error)

    def _fill(self) -> None:
        """Post what is pending as far as there is room; the caller holds `posting`."""
        failed: list[tuple[Future, Exception]] = []
        pending = self.pending
        room = _MOST - self.tasks.qsize()
        while pending:
            future = pending[0]
            # (One that has a number was posted, when an interrupt kept it from being taken out.)
            if future._state == PENDING and not future._job:
                if room <= 0 or not self.has_room():
                    break
                room -= 1
                try:
                    self._put(future)
                except Exception as error:
                    failed.append((future, error))
            # By name: `repeat`, in another thread, may have put one before it by now. (And a
            # signal handler that submitted something may have taken it out.)
            with suppress(ValueError):
                pending.remove(future)
        with self.settling:
            if not pending:
                self.finish(_BACKLOG)
        for future, reason in failed:
            self._failed(future, reason)

    def _feed(self) -> None:
        # Who holds it is submitting, or will be back here with the next result.
        if self.tasks is None or self.tasks.qsize() >= _REFILL or not self.posting.acquire(False):
            return
        try:
            if self.pending and self.state != TERMINATE:
                self._fill()
        finally:
            self.posting.release()

    # In.

    def drain(self, timeout: float) -> int:
        """As `Line.drain`; posts what is pending.

        Args:
            timeout: seconds to wait for the first.
        """
        if not self.pending:
            return self.collect(timeout)
        self._feed()
        count = self.collect(timeout)
        self._feed()
        return count

    def slice(self) -> float:
        """Return the seconds for which a drainer may sleep."""
        if self.pending and self._gap > self._posted - self.tasks.qsize():
            # Workers pass over cancelled tasks without a word.
            return TAIL_S
        return super().slice()

    # Of one future.

    def begun(self, future: Future) -> bool:
        """Return whether a future's task has been taken off the ring.

        Args:
            future: one that is not done.
        """
        tasks = self.tasks
        return tasks is not None and future._turn <= self._posted - tasks.qsize()

    def withdraw(self, future: Future) -> None:
        """See to it that a cancelled future's task isn't begun; the caller holds `posting`.

        Args:
            future: has been cancelled before it had begun.
        """
        if future._job:
            if future._turn <= self._posted:  # else a signal handler cancels it as it is posted
                self._gap = max(self._gap, int(future._turn))
            self.finish(future._job, early=True)

    def cancel_pending(self, workers: int) -> None:
        """Cancel each future whose task has not begun, and is not just about to.

        A worker that has nothing to do, or is still starting, takes the next task any moment: the
        oldest tasks on the ring, one for each such worker, count as begun.

        Args:
            workers: how many there are.
        """
        futures = [job for job in [*self.jobs.values(), *self.pending] if isinstance(job, Future)]
        waiting = [future for future in futures if not future.done() and not self.begun(future)]
        idle = workers - sum(not future.done() and self.begun(future) for future in futures)
        taken = [future for future in waiting if future._job][: max(0, idle)]
        # The latest first: workers pass over cancelled ones more quickly than these are cancelled,
        # and would come to those that follow.
        for future in reversed(waiting):
            if future not in taken:
                future.cancel()
        self._feed()
        with self.posting:
            if self.pending and self.tasks is not None:
                self._fill()

    def _abort(self, error: BaseException) -> None:
        """Fail all that is pending: this line is the job of these."""
        with self.posting, self.settling:  # (`repeat` holds the second one only)
            pending, self.pending = self.pending, deque()
            self.finish(_BACKLOG)
        for future in pending:
            future._abort(error)

    def _disown(self) -> None:
        super()._disown()
        self.posting, self.settling = threading.RLock(), threading.RLock()
