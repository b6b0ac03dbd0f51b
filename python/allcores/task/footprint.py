"""What a worker has, and what tasks of a function need: what `Watch` decides by."""

from __future__ import annotations

import time
from typing import Any

from allcores import memory
from allcores.errors import MemoryLimit
from allcores.task.death import Lease, describe
from allcores.task.records import HELD, READY

# Looking takes at most this part of a core's time.
PART = 0.02
# How much of its surplus a need loses with each task that needed less, and with one of which too
# little was seen to be sure of that. (Guesses.)
_FADE = 0.1
_FADE_UNSEEN = 0.01
# While no task of a function has ended, it is given to twice as many workers after so many seconds.
# (A guess.)
_RAMP_S = 1.0
# Seconds between two exact looks at a worker, at least. Between them its memory is seen to grow,
# but not where it writes to what it inherited, which becomes its own by that.
_EXACTLY_S = 0.1


class Need:
    """What a worker that does tasks of a function needs.

    Attributes:
        size: bytes, all that it has at that time.
        ended: tasks that were seen to end.
        since: when one that runs was last seen to grow; None before one was seen.
        first: number of the first job, of those under way, that has such tasks.
    """

    def __init__(self) -> None:
        self.size = 0.0
        self.ended = 0
        self.since: float | None = None
        self.first = 0
        self._grown = 0

    def run(self, peak: int, now: float, is_loading: bool, worth: float) -> None:
        """Learn from a task that runs.

        Args:
            peak: the most that its worker had.
            now: the time.
            is_loading: its function is still being unpacked, which may import a lot: what the
                task itself needs is not to be seen yet, however long that takes.
            worth: bytes that count as having grown.
        """
        if self.since is None or is_loading or peak > self._grown + worth:
            self.since = now
            self._grown = max(self._grown, peak)
        self.size = max(self.size, peak)

    def at_most(self, now: float) -> int:
        """Return how many workers may do its tasks while none has ended.

        One that grows may grow on, and on a busy machine takes longer: so the time that counts is
        that in which none does.
        """
        lasts = 0.0 if self.since is None else now - self.since
        return 1 << min(int(lasts / _RAMP_S), 16)

    def end(self, peak: int, looks: int) -> None:
        """Learn from a task that has ended.

        Args:
            peak: the most that its worker had.
            looks: how often it was looked at.
        """
        self.ended += 1
        fade = _FADE if looks > 1 else _FADE_UNSEEN
        self.size = max(peak, self.size - (self.size - peak) * fade)

    def died(self, peak: int) -> None:
        """Learn from a task whose worker has died: it would have needed as much, or more.

        Args:
            peak: the most that its worker had.
        """
        self.size = max(peak, self.size)
        self.since = None


class Seen:
    """A worker, as it was when it was last looked at.

    Attributes:
        own: its memory.
        fresh: what that was when it was ready.
        settled: what it kept after its first task; None before.
        need: of the task that it does; None when it does none.
        peak: the most that it had in that.
        looks: how often that was found out.
        looked: when, the last time.
        done: how many tasks it had done.
        tag: the task that it does; 0 when it does none.
        start: when it began that.
        ended: it was told to leave, or was ended.
    """

    def __init__(self, worker: Any, lease: Lease) -> None:
        self.worker = worker
        self.lease = lease
        self.own = 0
        self.fresh: int | None = None
        self.settled: int | None = None
        self.need: Need | None = None
        self.peak = 0
        self.looks = 0
        self.looked = 0.0
        self.done = self.tag = self.start = 0
        self.ended = False
        self._highest = 0
        # `own` was found out exactly, when the other number was this; and when that is due again.
        self._exact = self._anonymous = 0
        self._due = 0.0

    def measure(self, now: float, exactly: bool = False) -> int | None:
        """Find out how much memory it has.

        Args:
            now: the time.
            exactly: and not just by how much that has changed.

        Returns:
            The most that it had since the last time; None when it has ended.
        """
        pid = self.worker.pid
        found = memory.status(pid)
        if found is None:
            return None
        is_ready = self.fresh is None and self.lease.stage == READY
        is_settled = self.settled is None and self.lease.kept > 1
        if exactly or is_ready or is_settled or now >= self._due:
            began = time.thread_time()
            self._anonymous = found.anonymous
            self._exact = memory.private(pid, found.anonymous)
            cost = time.thread_time() - began
            self._due = now + max(_EXACTLY_S, 2 * cost / PART)
        self.own = self._own(found.anonymous)
        if is_ready:
            self.fresh = self.own
        if is_settled:
            self.settled = self._own(self.lease.kept)
        return max(self.own, self.peak_of(found.highest))

    def peak_of(self, highest: int) -> int:
        """Return the most that it had since the last time, as far as that was more than ever.

        Args:
            highest: the most anonymous memory that it ever had.
        """
        if highest <= self._highest:
            return 0
        is_first, self._highest = self._highest == 0, highest
        return 0 if is_first else self._own(highest)

    def _own(self, anonymous: int) -> int:
        return max(0, self._exact + anonymous - self._anonymous)

    def grown(self) -> int:
        """Return how much more it keeps than it should.

        Room is of more use than what an idle worker that may take no tasks has from earlier ones.
        One that goes on may keep what it had after its first task.
        """
        if not self.tag and self.lease.gate == HELD:
            return self.own - (self.own if self.fresh is None else self.fresh)
        return 0 if self.settled is None else self._own(self.lease.kept) - self.settled


class TooMuch:
    """Makes the error of a task that was ended for the memory of its worker.

    Args:
        limit: what all workers may have, in bytes.
        total: what they had.
        own: what this one had, the most of them.
        running: how many tasks ran at that time.
    """

    def __init__(self, limit: int, total: int, own: int, running: int) -> None:
        self._limit, self._total, self._own, self._running = limit, total, own, running

    def __call__(self, job: Any, part: int, item: int, worker: Any) -> Exception:
        """Return the error; see `Why`."""
        index, args_repr = describe(job, part, item)
        total, own, limit = (memory.show(n) for n in (self._total, self._own, self._limit))
        others = "no other task ran" if self._running == 1 else f"{self._running} tasks ran"
        return MemoryLimit(
            f"task {index} with {args_repr} was ended: the workers had {total} together, more than "
            f"max_memory={limit}, and worker process {worker.pid}, which ran it, had the most, "
            f"{own} ({others}). Make tasks smaller or max_memory larger; with retries= it is "
            "run again",
            task_index=index,
            args_repr=args_repr,
            pid=worker.pid,
            memory=self._own,
            total=self._total,
            limit=self._limit,
        )
