"""Cases about pools: what a task costs on its way there and back, and a pool on its way up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from benches.peers import Peer

now = time.perf_counter
MANY = 1_000_000
IDLE, IDLE_S = 100, 0.01
SECOND = 5


def nothing(number: int) -> int:
    return number


def _rate(workers: Any, count: int, work: Callable[[Any, Any], Iterable[int]]) -> float:
    """Thousand tasks a second, after some to warm up."""
    numbers = list(range(count))
    with workers:
        # All of a million: after the fork the first to touch an item copies its page.
        sum(work(workers, numbers if count == MANY else numbers[: count // 10]))
        start = now()
        result = sum(work(workers, numbers))
        seconds = now() - start
    if result != count * (count - 1) // 2:
        raise RuntimeError("the results are not what they should be")
    return count / seconds / 1e3


def map_default(peer: Peer) -> float:
    count = MANY if peer.batches else peer.single
    return _rate(peer.workers(), count, lambda workers, items: workers.map(nothing, items))


def map_single(peer: Peer) -> float:
    return _rate(peer.workers(), peer.single, lambda workers, items: workers.map(nothing, items, 1))


def unordered(peer: Peer) -> float:
    return _rate(
        peer.workers(), peer.single, lambda workers, items: workers.unordered(nothing, items)
    )


def apply_async(peer: Peer) -> float:
    return _rate(peer.workers(), peer.single, lambda workers, items: workers.each(nothing, items))


def submit(peer: Peer) -> float:
    return _rate(peer.futures(), peer.single, lambda workers, items: workers.each(nothing, items))


def _median_call(workers: Any, calls: int, pause_s: float = 0.0) -> float:
    """Microseconds of a call there and back, the median after some to warm up."""
    times = []
    with workers:
        for _ in range(calls + calls // 10):
            if pause_s:
                time.sleep(pause_s)
            start = now()
            workers.call(nothing, 1)
            times.append(now() - start)
    return statistics.median(times[calls // 10 :]) * 1e6


def apply_hot(peer: Peer) -> float:
    return _median_call(peer.workers(), peer.single // 10)


def apply_idle(peer: Peer) -> float:
    return _median_call(peer.workers(), IDLE, IDLE_S)


def round_trip(peer: Peer) -> float:
    return _median_call(peer.futures(), peer.single // 10)


def first_pool(start: str) -> Callable[[Peer], float]:
    """Milliseconds until a program's first two workers, which have to import NumPy, answer."""

    def measure(peer: Peer) -> float:
        from benches import arrays

        begun = now()
        with peer.workers(start) as workers:
            result = workers.map(arrays.total, [10])
            seconds = now() - begun
        if list(result) != [45]:
            raise RuntimeError("the result is not what it should be")
        return seconds * 1e3

    return measure


def second_pool(start: str) -> Callable[[Peer], float]:
    """Milliseconds until two workers answer, when a program had such before; the median."""

    def measure(peer: Peer) -> float:
        times = []
        for _ in range(1 + SECOND):
            begun = now()
            with peer.workers(start) as workers:
                workers.map(nothing, [1])
                times.append(now() - begun)
        return statistics.median(times[1:]) * 1e3

    return measure
