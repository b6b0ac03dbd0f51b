"""The memory of a pool's workers together, kept below a limit by holding tasks back.

The keeper looks at the workers now and then while tasks run (`Watch.look`), and learns from what it
sees how much memory a worker has when it does tasks of a function. From that follows how many
workers may do such tasks at a time. The others find their gate closed, a word of their lease that
they look at before they take a task. One gate is always open, so that everything gets done, and a
closed one never stops a task that runs.

=====================================  ==========================================================
a function that is new                 is done by one worker until its first task has ended; should
                                       that last, by twice as many each second in which none grew
one that was seen                      by as many as have room, each with the most that it needed
                                       lately
room is short                          a worker with more memory than it began with leaves after
                                       its task, and another takes its place
the sum is above the limit all the     the worker with the most is ended, and its task fails with
same                                   `MemoryLimit`
=====================================  ==========================================================

What counts as a worker's memory is said in allcores/memory.py.
"""

from __future__ import annotations

import functools
import threading
import time
import types
from typing import TYPE_CHECKING, Any

from allcores.task.footprint import PART, Need, Seen, TooMuch
from allcores.task.records import HELD, LEAVE, LOADING, OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.task.crew import Crew
    from allcores.task.death import Lease

# Seconds between two looks: the longest, and the first ones after a call of a function.
_EVERY_S = 0.05
_SOON_S = 0.002
# Calls under way that are gone through to find those of which there are none any more. (This and
# what follows are guesses.)
_FEW = 1000
_BACKLOG = -1
# Functions whose needs are remembered.
_KNOWN = 64
# When what open workers need comes to this part of the limit, room is short; and a worker that
# holds this part of it more than it should is worth replacing, and one that takes it has grown.
_SHORT = 0.7
_WORTH = 0.05


class Watch:
    """Looks after the memory of a pool's workers.

    Args:
        limit: bytes for all of them.
        crew: the workers.
    """

    def __init__(self, limit: int, crew: Crew) -> None:
        self.limit = limit
        self._crew = crew
        self._line = crew.line
        self._seen: dict[int, Seen] = {}  # by id() of the process object
        self._needs: dict[Any, Need] = {}  # by what `_key` says of the function
        self._active: dict[Any, Need] = {}  # those of the calls under way
        self._next = 0.0
        self._step = _SOON_S
        self._idle = True
        self._spared = False
        # Reentrant: a signal handler may make a call, too.
        self._lock = threading.RLock()

    # Workers.

    def started(self, worker: Any, lease: Lease) -> None:
        """Take a new worker, whose gate is closed."""
        with self._lock:
            now = time.monotonic()
            self._seen[id(worker)] = seen = Seen(worker, lease)
            seen.measure(now)
            self._plan(now)

    def ended(self, worker: Any) -> None:
        """Forget a worker that has ended."""
        with self._lock:
            seen = self._seen.pop(id(worker), None)
            if seen is None:
                return
            if seen.lease.done != seen.done:
                self._end(seen, seen.peak_of(seen.lease.peak), seen.looks)
            elif seen.need is not None:
                seen.need.died(seen.peak)

    def stop(self) -> None:
        """Open all gates: the pool is closed, and the workers are to be told so."""
        with self._lock:
            for seen in self._seen.values():
                seen.lease.gate = OPEN
            self._seen.clear()

    # Calls.

    def coming(self, job: Any, func: Callable[..., Any]) -> None:
        """Prepare for tasks of a function, before there are any.

        Args:
            job: of which they are.
            func: the function.
        """
        job._needs = key = _key(func)
        with self._lock:  # or the keeper might just be dropping what is in there
            if key in self._active:
                return
            self._forget()
            need = self._needs.pop(key, None) or Need()
            self._needs[key] = self._active[key] = need
            # Futures get their numbers later.
            need.first = job._job or self._line._last_job + 1
            if len(self._needs) > _KNOWN:
                del self._needs[next(iter(self._needs))]
            now = time.monotonic()
            self._plan(now)
            self._idle = False
            self._step = _SOON_S
            self._next = min(self._next, now + _SOON_S)
        self._line.ring_bell()

    # Looking.

    def look(self) -> float | None:
        """Look at the workers if it is time to; return the seconds until it is again."""
        now = time.monotonic()
        if now >= self._next:
            began = time.thread_time()  # the time that others had in between is no cost of looking
            with self._lock:
                self._look(now)
            took = time.thread_time() - began
            self._step = min(2 * self._step, _EVERY_S)
            self._next = now + max(self._step, took / PART)
        if self._idle and not self._line.jobs:
            return None
        return max(0.0, self._next - time.monotonic())

    def _look(self, now: float) -> None:
        for seen in self._seen.values():
            self._learn(seen, now)
        workers = self._seen.values()
        self._idle = not self._line.jobs and not any(seen.tag or seen.ended for seen in workers)
        self._forget()
        if self._total() <= self.limit:
            self._spared = False
        elif not any(seen.ended for seen in workers):
            for seen in workers:
                seen.measure(now, exactly=True)
            if self._total() > self.limit:
                self._breach()
        self._plan(now)

    def _forget(self) -> None:
        """Drop the functions of which there are no calls any more."""
        jobs = self._line.jobs
        if len(jobs) < _FEW and _BACKLOG not in jobs:
            keys = {getattr(job, "_needs", None) for job in list(jobs.values())}
            for key in self._active.keys() - keys:
                del self._active[key]

    def _total(self) -> int:
        return sum(seen.own for seen in self._seen.values())

    def _learn(self, seen: Seen, now: float) -> None:
        lease = seen.lease
        # First: what is measured then has the peak of each task that had ended here in it, however
        # long this thread had to wait in between.
        done, tag, start = lease.doing()
        peak = seen.measure(now)
        if peak is None:
            return  # the keeper will find that out, and what it did until then counts
        seen.tag, seen.start = tag, start
        another = done != seen.done
        if another:
            # Who came late, as this process had no core, may have missed the most that it had.
            is_late = now - seen.looked > 4 * _EVERY_S
            self._end(seen, peak, 0 if is_late else seen.looks)
            seen.done = done
        seen.looked = now
        job = self._line.jobs.get(seen.tag >> 32) if seen.start else None
        key = getattr(job, "_needs", None)
        if seen.need is None and key is not None:
            seen.need = self._needs.setdefault(key, Need())
            self._active[key] = seen.need
        # Also when it is just through with a task that was not seen before.
        seen.peak = max(seen.peak, peak if not another else seen.own)
        if seen.need is not None:
            seen.looks += 1
            is_loading = bool(seen.start & LOADING)
            seen.need.run(seen.peak, now, is_loading, _WORTH * self.limit)

    def _end(self, seen: Seen, peak: int, looks: int) -> None:
        """Learn from the end of a worker's task."""
        need = seen.need
        if need is None and len(self._active) == 1:
            # A task that was too short to be seen; of an earlier call, perhaps.
            (need,) = self._active.values()
            if seen.lease.last >> 32 < need.first:
                need = None
        if need is not None:
            need.end(max(peak, seen.peak), looks)
        seen.need, seen.peak, seen.looks = None, 0, 0

    # Deciding.

    def _plan(self, now: float) -> None:
        """Open and close gates."""
        size = 0.0
        most = len(self._seen)
        for need in self._active.values():
            if need.ended:
                size = max(size, need.size)
            elif need.since is not None:
                # What it has come to so far may be half of it.
                size = max(size, 2 * need.size)
                most = min(most, need.at_most(now))
            elif len(self._active) == 1:
                most = 1
        room = float(self.limit - self._total())
        used = 0.0
        is_short = False
        # Those that run a task first, and of these the ones that began first. Then those that
        # took one as their gate was being closed, and wait with it; then those that may be taking
        # one in this moment, as their gates are open.
        order = sorted(
            (seen for seen in self._seen.values() if not seen.ended),
            key=lambda seen: (
                (0, seen.start) if seen.start else (1, 0) if seen.tag else (2, seen.lease.gate)
            ),
        )
        if not self._active:
            for seen in order[:1]:
                seen.lease.gate = OPEN
            order.clear()  # the others stay as they are, until it is known what comes
            used = self._total()
        # One goes on, be it one that leaves after that.
        needed = 0 if any(seen.ended and seen.tag for seen in self._seen.values()) else 1
        for turn, seen in enumerate(order):
            more = max(0.0, size - seen.own)
            if turn < needed or (turn < most and more <= room):
                seen.lease.gate = OPEN
            else:
                is_short = is_short or turn < most
                seen.lease.gate = HELD
                if not seen.start:
                    used += seen.own
                    continue
            room -= more
            used += seen.own + more
        if is_short or used > _SHORT * self.limit:
            self._replace_one()

    def _replace_one(self) -> None:
        """Have the worker leave that keeps the most for nothing, if it is worth it."""
        worth = _WORTH * self.limit
        found = max(self._seen.values(), key=Seen.grown, default=None)
        if found is None or found.grown() < worth or any(s.ended for s in self._seen.values()):
            return
        found.ended = True
        found.lease.gate = LEAVE

    def _breach(self) -> None:
        """Do something about a sum above the limit."""
        total = self._total()
        kept = [seen for seen in self._seen.values() if not seen.tag]
        if not self._spared and total - sum(seen.grown() for seen in kept) <= self.limit:
            # Only for what idle workers keep: these go, and if that doesn't help, look again.
            self._spared = True
            for seen in kept:
                if seen.grown() >= _WORTH * self.limit:
                    seen.ended = True
                    seen.lease.gate = LEAVE
            return
        running = [
            (at.own, id(worker), worker, tag, start)
            for worker, tag, start in self._crew.running()
            if (at := self._seen.get(id(worker))) is not None and at.lease.done == at.done
        ]
        if running:
            own, number, worker, tag, start = max(running)
            why = TooMuch(self.limit, total, own, len(running))
            self._seen[number].ended = self._crew.doom(worker, tag, start, why)


def _key(func: Callable[..., Any]) -> Any:
    """Return what tells functions apart whose tasks need different amounts of memory."""
    while isinstance(func, functools.partial):
        func = func.func
    if isinstance(func, (types.FunctionType, types.MethodType)):
        return getattr(func, "__code__", func)
    if isinstance(func, (type, types.BuiltinFunctionType)):
        return func
    return type(func)
