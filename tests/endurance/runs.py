"""The runs: each does something to one pool for long, and counts what came of it."""

from __future__ import annotations

import gc
import os
import random
import threading
import warnings
from dataclasses import dataclass
from time import monotonic

import allcores as mp
from allcores import _core, errors


class Violation(AssertionError):
    """Something came out other than it has to."""


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        what: which run, with its sizes.
        tasks: that were done.
        deaths: workers that were killed, or that left.
        seconds: how long it took.
    """

    what: str
    tasks: int
    deaths: int
    seconds: float

    def __str__(self) -> str:
        rate = self.tasks / self.seconds
        return (
            f"{self.what}: {self.tasks:,} tasks, {self.deaths:,} workers ended, "
            f"{self.seconds:.0f} s, {rate:,.0f} tasks/s, 0 violations"
        )


def work(number: int) -> int:
    """Return a number that depends on all of a little work."""
    total = number
    for add in range(2_000 + number % 7 * 1_000):
        total = (total * 31 + add) % 1_000_003
    return total


def kills(method: str, tasks: int, count: int, seed: int) -> Outcome:
    """Kill workers at random moments during one map, which has retries.

    Args:
        method: how workers start.
        tasks: items of the map.
        count: kills, at least; the map is done again until there were so many.
        seed: of the moments and victims.

    Raises:
        Violation: a result is wrong, or memory is left.
    """
    chance = random.Random(seed)
    expected = [work(number) for number in range(tasks)]
    before = _blocks()
    start = monotonic()
    killed = rounds = 0
    with mp.get_context(method).Pool(3) as pool:
        done = threading.Event()

        workers_now = pool._pool

        def assassin() -> None:
            nonlocal killed
            # A wait with a limit: the pace, nothing depends on it.
            while not done.wait(chance.expovariate(1 / _PAUSE_S)):
                workers = list(workers_now)
                if workers:
                    victim = chance.choice(workers)
                    if victim.exitcode is None:
                        victim.kill()
                        killed += 1

        thread = threading.Thread(target=assassin)
        thread.start()
        try:
            while killed < count:
                rounds += 1
                form = chance.choice(["map", "chunks", "imap", "imap_unordered"])
                found = _forms[form](pool, tasks)
                if found != expected:
                    wrong = [
                        n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b
                    ]
                    raise Violation(
                        f"{form}: {len(found)} results for {tasks} tasks; wrong are {wrong[:20]}"
                    )
        finally:
            done.set()
            thread.join()
    pool.join()
    del pool
    _look(before)
    return Outcome(
        f"{method}, kills at random, {rounds} maps", rounds * tasks, killed, monotonic() - start
    )


# Mean time between two kills: workers live long enough to do some tasks.
_PAUSE_S = 0.02
# More than chance will ever take.
_RETRIES = 1_000

_forms = {
    "map": lambda pool, tasks: pool.map(work, range(tasks), retries=_RETRIES),
    "chunks": lambda pool, tasks: pool.map(work, range(tasks), 10, retries=_RETRIES),
    "imap": lambda pool, tasks: list(pool.imap(work, range(tasks), retries=_RETRIES)),
    "imap_unordered": lambda pool, tasks: _in_order(
        pool.imap_unordered(numbered, range(tasks), retries=_RETRIES)
    ),
}


def numbered(number: int) -> tuple[int, int]:
    """Return the number and its `work`."""
    return number, work(number)


def _in_order(pairs: object) -> list[int]:
    return [value for _, value in sorted(pairs)]  # type: ignore[call-overload]


def deaths(method: str, tasks: int, seed: int) -> Outcome:
    """Have many tasks end their own workers, without retries: each death costs its own task.

    Args:
        method: how workers start.
        tasks: items of the map.
        seed: of which tasks they are.

    Raises:
        Violation: another task failed, or one of these didn't.
    """
    chance = random.Random(seed)
    doomed = set(chance.sample(range(tasks), tasks // 20))
    before = _blocks()
    start = monotonic()

    def maybe_die(number: int) -> int:
        if number in doomed:
            os.kill(os.getpid(), 9)
        return -number

    with mp.get_context(method).Pool(3) as pool:
        found = pool.map(maybe_die, range(tasks), on_error="return")
    pool.join()
    del pool
    for number, result in enumerate(found):
        right = isinstance(result, errors.WorkerDied) if number in doomed else result == -number
        if not right:
            raise Violation(f"task {number} came to {result!r}")
    del found, result
    _look(before)
    return Outcome(f"{method}, tasks that kill", tasks, len(doomed), monotonic() - start)


def recycling(method: str, tasks: int) -> Outcome:
    """Replace each worker after every third task.

    Args:
        method: how workers start.
        tasks: items of the map.

    Raises:
        Violation: a result is wrong, a warning was raised, or memory is left.
    """
    before = _blocks()
    start = monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if method == "fork":
            # From 3.12 on Python itself warns of each fork of a process with threads.
            warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        with mp.get_context(method).Pool(2, maxtasksperchild=3) as pool:
            pids = set(pool.map(pid_of, range(tasks), 1))
            results = pool.map(abs, range(-50, 0), 1)
            pool.close()
            pool.join()
    if results != list(range(50, 0, -1)):
        raise Violation(f"wrong results: {results}")
    if caught:
        raise Violation(f"warnings: {[str(one.message) for one in caught]}")
    del pool
    _look(before)
    return Outcome(f"{method}, replaced every third task", tasks, len(pids), monotonic() - start)


def pid_of(_: object) -> int:
    """Return the worker's process id."""
    return os.getpid()


def _blocks() -> int:
    with mp.get_context("fork").Pool(1) as pool:
        pass  # the first one of a process makes what stays
    pool.join()
    del pool
    gc.collect()
    _core.arena_fd()
    _core.recover()
    return int(_core.stats()["live_blocks"])


def _look(before: int) -> None:
    """Raise Violation unless the memory of a pool comes back."""
    until = monotonic() + 60
    while (left := _blocks()) > before:
        if monotonic() > until:
            raise Violation(f"{left - before} blocks of shared memory are left")
        threading.Event().wait(0.01)
