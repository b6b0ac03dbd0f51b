"""The workers of a pool, from the pool's side: start, bury, replace, end."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import util
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from allcores import _core, budget
from allcores.launch import blank
from allcores.task import death, reserve, work
from allcores.task.line import Line
from allcores.task.records import DOOMED, OPEN, READY, Link, current, end
from allcores.task.spread import MapResult

if TYPE_CHECKING:
    from allcores.task.watch import Watch

# So many workers in a row that end before they are ready, and the pool gives up.
_FALSE_STARTS = 8
# Seconds in which idle workers of a pool that is terminated say that they have left.
_PART_S = 1.0
# Seconds from a polite end to the impolite one.
_GRACE_S = 1.0


class Crew:
    """The workers of a pool.

    Args:
        line: the pool's rings.
        make: makes a process object from ``target`` and ``args``.
        size: how many there shall be.
        initializer: called in each as it starts, if there is one.
        initargs: its arguments.
        maxtasks: tasks after which one is replaced; None for never.
        max_memory: bytes that they may have together; None for no limit.
        relay: whether what they print, log and warn comes to this process.
    """

    def __init__(
        self,
        line: Line,
        make: Callable[..., Any],
        size: int,
        initializer: Callable[..., object] | None,
        initargs: Iterable[Any],
        maxtasks: int | None,
        max_memory: int | None = None,
        relay: bool = True,
    ) -> None:
        self.line = line
        self.workers: list[Any] = []
        self.size = size
        self._make = make
        self._start_args = (initializer, initargs, maxtasks)
        self._leases: dict[int, death.Lease] = {}  # by id() of the process object
        self._false_starts = 0
        self._share = budget.share(size)
        # Of those that may serve another pool, by id() of the process object.
        self._settings: dict[int, object] = {}
        self._oom = death.OomCounter()
        # Why workers were ended, by id() of the process object.
        self._doomed: dict[int, death.Why | None] = {}
        self._dooming = threading.RLock()
        line.workers = size
        line.rebalance = self.rebalance
        line.stop_running = self.stop
        if relay:
            from allcores.task.hear import Hearing

            # (Of this object it is to know nothing: a forgotten pool is collected.)
            leases = self._leases
            line.hearing = Hearing(lambda: list(leases.values()))
        self._begun: list[Any] = []  # workers that nobody watches yet
        self._watch: Watch | None = None
        if max_memory is not None:
            from allcores.task import watch

            self._watch = line.watch = watch.Watch(max_memory, self)

    def fill(self) -> None:
        """Start workers until there are enough, all at once."""
        made = [self._prepare() for _ in range(self.size - len(self.workers))]
        method = getattr(made[0][0], "_method", None) if made else None
        if method == "fork":
            self._prepare_forks()
        # Those that the fork server or new interpreters make are asked for before any is awaited.
        waiting = blank.count(method) + reserve.reserve.count()
        with blank.ahead(method, len(made) - waiting if len(made) > 1 else 0):
            try:
                for worker, lease in made:
                    self._start(worker, lease)
            finally:
                # All at once: a thread watches them, which would end and begin with each fork.
                begun, self._begun = self._begun, []
                for worker in begun:
                    worker._watch()

    def _prepare_forks(self) -> None:
        """Do once here what each forked worker would do as it starts."""
        if budget.is_numeric():
            budget.libraries()
        if self.line.hearing is not None:
            from allcores.task import tell  # noqa: F401

            if "logging" in sys.modules:
                from allcores.task import logs  # noqa: F401

    def _prepare(self) -> tuple[Any, death.Lease]:
        lease = death.Lease()
        hearing = self.line.hearing
        link = Link(
            self.line.tasks.handle(),
            self.line.results.handle(),
            lease.block.handle(),
            self.line.cancelled.handle(),
            _core.owner(),
            None if hearing is None else hearing.manner(),
        )
        worker = self._make(target=work.main, args=(link, *self._start_args))
        worker.name = worker.name.replace("Process", "PoolWorker")
        # The standard library ends daemons with the program, should all else fail.
        worker.daemon = True
        budget.share_out(worker._config, self._share)
        if hearing is not None and hearing.diverted:
            lease.divert()
        if self._watch is not None:
            lease.watch()
        return worker, lease

    def _start(self, worker: Any, lease: death.Lease) -> None:
        found = None
        if work.keeps(worker, self._start_args[0], self._start_args[2]):
            self._settings[id(worker)] = found = reserve.settings(worker)
        if found is None or not reserve.reserve.start(worker, found):
            worker._is_one_of_many = True
            worker.start()
            if hasattr(worker, "_watch"):  # it is of ours
                self._begun.append(worker)
        self._leases[id(worker)] = lease
        self.workers.append(worker)
        if self._watch is not None:
            self._watch.started(worker, lease)
        util.debug("added worker")

    def sentinels(self) -> list[int]:
        """Return what becomes ready, for `connection.wait`, when a worker ends."""
        return [worker.sentinel for worker in self.workers]

    def bury(self) -> bool:
        """Take the dead out, and fail the tasks they held; return whether there were any."""
        ended = set(wait(self.sentinels(), 0))
        dead = [worker for worker in self.workers if worker.sentinel in ended]
        if not dead:
            return False
        memory = {id(worker): death.reap(worker) for worker in dead}
        if all(self._has_left(worker) for worker in dead):
            self._judge(dead, memory, False)
            return True
        with self.line.alone():
            # Results of the dead that did arrive come before verdicts.
            _core.recover()
            self.line.empty()
            oom: bool | None = False
            if any(worker.exitcode == -signal.SIGKILL for worker in dead):
                oom = self._oom.struck()
            self._judge(dead, memory, oom)
        return True

    def _has_left(self, worker: Any) -> bool:
        """Tell whether a worker that has ended had nothing to do, and is only to be replaced."""
        lease = self._leases[id(worker)]
        return worker.exitcode == 0 and lease.tag == 0 and lease.stage == READY

    def _judge(self, dead: list[Any], memory: dict[int, int | None], oom: bool | None) -> None:
        for worker in dead:
            self.workers.remove(worker)
            if self._watch is not None:
                self._watch.ended(worker)
            lease = self._let_go(worker)
            assert lease is not None
            self._settings.pop(id(worker), None)
            util.debug(f"cleaning up worker {worker.pid}")
            self._judge_start(worker, lease.stage)
            with self._dooming:
                why = self._doomed.pop(id(worker), None)
            job = self.line.jobs.get(lease.tag >> 32)
            if job is not None:
                part, item = lease.tag & 0xFFFFFFFF, current(lease.place)
                if why is not None:
                    error = why(job, part, item, worker)
                else:
                    error = death.error_for(job, part, item, worker, memory[id(worker)], oom)
                job._lost(part, error)

    def _let_go(self, worker: Any) -> death.Lease | None:
        """Forget the lease of a worker that is no longer one; return it."""
        return self._leases.pop(id(worker), None)

    def rebalance(self) -> None:
        """Give idle workers half of what the worker with the most left has not begun."""
        if self.line.tasks.qsize():
            return
        idle = False
        most = 0
        for lease in list(self._leases.values()):
            tag, place = lease.tag, lease.place
            if tag == 0:
                idle = idle or (lease.stage == READY and lease.gate == OPEN)
            elif place and lease.tag == tag and end(place) - current(place) > most:
                most = end(place) - current(place)
                longest = tag, lease, place
        if idle and most > 1:
            tag, lease, place = longest
            job = self.line.jobs.get(tag >> 32)
            if isinstance(job, MapResult):
                job._share(tag & 0xFFFFFFFF, lease, place)

    def doom(self, worker: Any, tag: int, start: int, why: death.Why | None) -> bool:
        """End a worker for the task that it does, unless that is over; return whether it is ended.

        Args:
            worker: the process object.
            tag: the task.
            start: the word START of its lease, read after `tag` and before that was read again.
            why: makes the error of the task; None when nobody wants to know.
        """
        with self._dooming:
            lease = self._leases.get(id(worker))
            if lease is None or lease.tag != tag or not _core.doom(lease.block, start):
                return False
            self._doomed[id(worker)] = why
        worker.kill()
        return True

    def stop(self, number: int) -> None:
        """End the workers that do a task of a job.

        Args:
            number: the job; its tasks that have not begun don't any more.
        """
        # (Again where one was just through with unpacking its function, which moves its start.)
        while not all(
            self.doom(worker, tag, start, None)
            for worker, tag, start in self.running()
            if tag >> 32 == number
        ):
            pass

    def overdue(self) -> float | None:
        """End the workers whose tasks took longer, or whose memory is more, than they may.

        Returns:
            Seconds in which none can become overdue; None when there is no need to look again.
        """
        look = None if self._watch is None else self._watch.look()
        due = self.line.overdue(self.running(), self._overran)
        if look is None or due is None:
            return look if due is None else due
        return min(due, look)

    def _overran(self, worker: Any, tag: int, start: int, timeout: float) -> None:
        # One whose function is still LOADING has a start that is far in the future.
        def why(job: Any, part: int, item: int, worker: Any) -> Exception:
            fate = f"worker process {worker.pid}, which ran it, was ended and is replaced"
            return death.overran(job, part, item, timeout, fate)

        self.doom(worker, tag, start, why)

    def last_call(self) -> None:
        """Let all workers come to the ring, where they are to find that there is no more to do."""
        if self._watch is not None:
            self._watch.stop()

    def running(self) -> Iterator[tuple[Any, int, int]]:
        """Return the workers that do a task, the task, and when they began it."""
        for worker in list(self.workers):
            lease = self._leases.get(id(worker))
            if lease is not None:
                tag, start = lease.tag, lease.start
                if tag and start not in (0, DOOMED) and lease.tag == tag:
                    yield worker, tag, start

    def _judge_start(self, worker: Any, stage: int) -> None:
        if stage == READY:
            self._false_starts = 0
            return
        if stage == 0 and worker.exitcode in (-signal.SIGKILL, -signal.SIGTERM):
            return  # nothing of the user's had run: somebody meant this one
        self._false_starts += 1
        if self._false_starts < _FALSE_STARTS or self.line.broken is not None:
            return
        code = worker.exitcode

        def make() -> BaseException:
            from allcores.errors import InitializerFailed

            return InitializerFailed(
                f"{_FALSE_STARTS} workers in a row ended before they were ready, the last one "
                f"with exit code {code}; the pool does nothing any more. What they printed to "
                "stderr says why; an initializer that ends its process does this, too"
            )

        self.line.give_up(make)

    def part(self, timeout: float, code: int) -> bool:
        """Keep, for another pool, the processes of the workers that have left the rings.

        Args:
            timeout: seconds to wait for the next.
            code: the exit code that they shall seem to have.

        Returns:
            Whether there may be more.
        """
        if not self._settings:
            return False
        if not self.line.left:
            if not self.line.draining.acquire(timeout=timeout):
                return True
            try:
                self.line.collect(timeout)
            finally:
                self.line.draining.release()
        for worker in [worker for worker in self.workers if worker.pid in self.line.left]:
            self.line.left.discard(worker.pid)
            self._let_go(worker)
            reserve.reserve.park(worker, self._settings.pop(id(worker)), code)
            if code == 0:
                self.workers.remove(worker)
        return bool(self._settings)

    def _part_idle(self) -> None:
        """As the pool is terminated: keep the workers that have nothing to do."""
        if not self._settings or self.line.jobs or self.line.broken or util.is_exiting():
            return
        idle = [
            worker
            for worker in self.workers
            if id(worker) in self._settings
            and (lease := self._leases[id(worker)]).stage == READY
            and (lease.tag == 0 or lease.start == 0)  # it has sent what came of its last task
        ]
        if self.line.tasks.qsize():
            return
        self.last_call()
        for _ in idle:
            self.line.post_stop()
        until = time.monotonic() + _PART_S
        while any(id(worker) in self._settings for worker in idle):
            left = until - time.monotonic()
            if left <= 0 or not self.part(left, -signal.SIGTERM):
                return

    def end(self) -> None:
        """End all workers, whatever they are doing."""
        self._part_idle()
        for worker in self.workers:
            if worker.exitcode is None:
                worker.terminate()
        until = time.monotonic() + _GRACE_S
        for worker in self.workers:
            worker.join(max(0.0, until - time.monotonic()))
        for worker in self.workers:
            if worker.exitcode is None:
                util.debug(f"killing worker {worker.pid}")
                worker.kill()
                worker.join()
        for worker in self.workers:
            self._let_go(worker)
        self._settings.clear()
        _core.recover()
