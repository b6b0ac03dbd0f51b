"""Cases about locks, events and processes.

`mp` is the library under measurement, allcores or multiprocessing: the same code for both.
Processes are forked, and started before the time counts unless a case is about starting them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

now = time.perf_counter
LOCK_ROUNDS = 500_000
PING_PONGS = 4_000


def lock_uncontended(mp: Any) -> float:
    lock = mp.get_context("fork").Lock()
    acquire, release = lock.acquire, lock.release
    start = now()
    for _ in range(LOCK_ROUNDS):
        acquire()
        release()
    return (now() - start) / LOCK_ROUNDS * 1e9


def lock_with(mp: Any) -> float:
    lock = mp.get_context("fork").Lock()
    start = now()
    for _ in range(LOCK_ROUNDS):
        with lock:
            pass
    return (now() - start) / LOCK_ROUNDS * 1e9


def median_round(ping: Callable[[], object], rounds: int) -> float:
    """The median time of a round in microseconds, after some to warm up."""
    times = []
    for _ in range(rounds // 10):
        ping()
    for _ in range(rounds):
        start = now()
        ping()
        times.append(now() - start)
    return statistics.median(times) * 1e6


def _with_child(
    mp: Any, target: Callable[..., None], args: tuple[Any, ...], ping: Callable[[], object]
) -> float:
    """Play `PING_PONGS` rounds against a forked child, which plays one more to end."""
    rounds = PING_PONGS + PING_PONGS // 10
    child = mp.get_context("fork").Process(target=target, args=(*args, rounds))
    child.start()
    figure = median_round(ping, PING_PONGS)
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the child ended with exit code {child.exitcode}")
    return figure


def _event_child(here: Any, there: Any, rounds: int) -> None:
    for _ in range(rounds):
        here.wait()
        here.clear()
        there.set()


def event_ping_pong(mp: Any) -> float:
    context = mp.get_context("fork")
    here, there = context.Event(), context.Event()

    def ping() -> None:
        there.set()
        here.wait()
        here.clear()

    return _with_child(mp, _event_child, (there, here), ping)


def _semaphore_child(here: Any, there: Any, rounds: int) -> None:
    for _ in range(rounds):
        here.acquire()
        there.release()


def semaphore_ping_pong(mp: Any) -> float:
    context = mp.get_context("fork")
    here, there = context.Semaphore(0), context.Semaphore(0)

    def ping() -> None:
        there.release()
        here.acquire()

    return _with_child(mp, _semaphore_child, (there, here), ping)


def _take_turn(condition: Any, turn: Any, mine: int) -> None:
    with condition:
        while turn.value != mine:
            condition.wait()
        turn.value = 1 - mine
        condition.notify()


def _condition_child(condition: Any, turn: Any, rounds: int) -> None:
    for _ in range(rounds):
        _take_turn(condition, turn, 1)


def condition_ping_pong(mp: Any) -> float:
    context = mp.get_context("fork")
    condition, turn = context.Condition(), context.RawValue("i", 0)

    def ping() -> None:
        _take_turn(condition, turn, 0)

    return _with_child(mp, _condition_child, (condition, turn), ping)


def _nothing(number: int) -> int:
    return number


def _lock_rounds(lock: Any, go: Any, rounds: int) -> None:
    go.wait()
    for _ in range(rounds):
        lock.acquire()
        lock.release()


def lock_contended(mp: Any) -> float:
    context = mp.get_context("fork")
    lock, go = context.Lock(), context.Event()
    children = [
        context.Process(target=_lock_rounds, args=(lock, go, LOCK_ROUNDS)) for _ in range(2)
    ]
    for child in children:
        child.start()
    start = now()
    go.set()
    for child in children:
        child.join()
    return 2 * LOCK_ROUNDS / (now() - start) / 1e3


def _barrier_child(barrier: Any, rounds: int) -> None:
    for _ in range(rounds):
        barrier.wait()


def barrier_ping_pong(mp: Any) -> float:
    barrier = mp.get_context("fork").Barrier(2)
    return _with_child(mp, _barrier_child, (barrier,), barrier.wait)


def process_start(mp: Any) -> float:
    context = mp.get_context("fork")
    times = []
    for number in range(50):
        start = now()
        child = context.Process(target=_nothing, args=(number,))
        child.start()
        child.join()
        times.append(now() - start)
    return statistics.median(times) * 1e3
