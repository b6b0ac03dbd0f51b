"""Cases about pools: what a task costs on its way to a worker and back."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

now = time.perf_counter
MANY = 1_000_000
SINGLE = 20_000
HOT = 3_000


def _nothing(number: int) -> int:
    return number


def _a_microsecond(number: int) -> int:
    total = number
    for add in range(18):
        total += add
    return total


def _rate(mp: Any, count: int, work: Callable[[Any], object]) -> float:
    """Thousand tasks a second, of the second of two runs in the same pool."""
    with mp.get_context("fork").Pool(2) as pool:
        work(pool)
        start = now()
        result = work(pool)
        seconds = now() - start
    if result != count * (count - 1) // 2:
        raise RuntimeError("the results are not what they should be")
    return count / seconds / 1e3


def map_default(mp: Any) -> float:
    numbers = list(range(MANY))
    return _rate(mp, MANY, lambda pool: sum(pool.map(_nothing, numbers)))


def map_single(mp: Any) -> float:
    numbers = list(range(SINGLE))
    return _rate(mp, SINGLE, lambda pool: sum(pool.map(_nothing, numbers, 1)))


def imap_single(mp: Any) -> float:
    numbers = list(range(SINGLE))
    return _rate(mp, SINGLE, lambda pool: sum(pool.imap_unordered(_nothing, numbers)))


def apply_async(mp: Any) -> float:
    def work(pool: Any) -> int:
        results = [pool.apply_async(_nothing, (number,)) for number in range(SINGLE)]
        return sum(result.get() for result in results)

    return _rate(mp, SINGLE, work)


def apply_hot(mp: Any) -> float:
    times = []
    with mp.get_context("fork").Pool(2) as pool:
        for _ in range(HOT):
            start = now()
            pool.apply(_nothing, (1,))
            times.append(now() - start)
    return statistics.median(times[HOT // 10 :]) * 1e6


def tiny_tasks(mp: Any) -> float:
    """How many times faster than a loop a million tasks of about a microsecond are."""
    numbers = list(range(MANY))
    with mp.get_context("fork").Pool(2) as pool:
        pool.map(_a_microsecond, range(1000))
        start = now()
        expected = [_a_microsecond(number) for number in numbers]
        between = now()
        result = pool.map(_a_microsecond, numbers)
        end = now()
    if result != expected:
        raise RuntimeError("the results are not what they should be")
    return (between - start) / (end - between)
