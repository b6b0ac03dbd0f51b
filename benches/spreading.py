"""Cases about spreading: how near to the ideal a map of tasks comes, equal, uneven or tiny ones.

The work is a loop that is gone through so often, not so long: what a task takes is measured where
it runs, so that other work on the machine is in the ideal as well.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from benches.peers import Peer

now = time.perf_counter
EVEN, EVEN_S, SERIAL = 2_000, 0.005, 100
UNEVEN_S = 3.6
CHUNK_WORK_S = 0.5


def spin(rounds: int) -> float:
    """Go through a loop so often; returns the seconds it took."""
    start = now()
    total = 0
    for number in range(rounds):
        total += number
    return now() - start


def a_microsecond(number: int) -> int:
    total = number
    for add in range(18):
        total += add
    return total


def rounds_a_second() -> float:
    """How often the loop is gone through in a second, when nothing disturbs it."""
    return 50_000 / min(spin(50_000) for _ in range(20))


def even(peer: Peer) -> float:
    """What share of two cores' time goes into 2,000 tasks of 5 ms."""
    rounds = max(1, int(EVEN_S * rounds_a_second()))
    with peer.workers() as workers:
        workers.map(spin, [1000] * 8)
        serial = sum(spin(rounds) for _ in range(SERIAL))
        start = now()
        workers.map(spin, [rounds] * EVEN)
        wall = now() - start
        serial += sum(spin(rounds) for _ in range(SERIAL))
    return serial / (2 * SERIAL) * EVEN / (2 * wall)


def tiny(peer: Peer) -> float:
    """How many times faster than a loop a million tasks of about a microsecond are."""
    numbers = list(range(1_000_000 if peer.batches else peer.single))
    serial = wall = 0.0
    with peer.workers() as workers:
        workers.map(a_microsecond, range(1000))
        for _ in range(2 if peer.batches else 1):
            start = now()
            expected = [a_microsecond(number) for number in numbers]
            between = now()
            result = workers.map(a_microsecond, numbers)
            wall += now() - between
            serial += between - start
    if result != expected:
        raise RuntimeError("the results are not what they should be")
    return serial / wall


def _against_ideal(peer: Peer, seconds: list[float]) -> float:
    """The time that a map takes, by that of the best schedule for two workers."""
    speed = rounds_a_second()
    items = [max(1, int(second * speed)) for second in seconds]
    with peer.workers() as workers:
        workers.map(spin, [1000] * 8)
        start = now()
        took: list[float] = workers.map(spin, items)
        wall = now() - start
    return wall / max(max(took), sum(took) / 2)


def pareto(peer: Peer) -> float:
    """1,000 durations with a heavy tail, the same ones each time, none over 0.05 s."""
    draw = random.Random(4)
    shares = [min(draw.paretovariate(1.2), 50) for _ in range(1000)]
    return _against_ideal(peer, [share / sum(shares) * UNEVEN_S for share in shares])


def long_last(peer: Peer) -> float:
    """500 of 1 ms, then 31 of 0.1 s."""
    return _against_ideal(peer, [0.001] * 500 + [0.1] * 31)


def chunks(seconds: float) -> Callable[[Peer], float]:
    """The time of a map that isn't told a chunk size, by that of the best one."""

    def measure(peer: Peer) -> float:
        rounds = max(1, int(seconds * rounds_a_second()))
        items = [rounds] * max(4, int(CHUNK_WORK_S / seconds))
        best: dict[int | None, float] = dict.fromkeys((None, *_sizes(len(items))), 1e9)
        with peer.workers() as workers:
            workers.map(spin, [1] * 100)
            for _ in range(2 if seconds < 0.5 else 1):
                for size in best:
                    start = now()
                    workers.map(spin, items, size)
                    best[size] = min(best[size], now() - start)
        return best.pop(None) / min(best.values())

    return measure


def _sizes(count: int) -> list[int]:
    """Sizes from one that makes 5,000 tasks of the items to one that makes two."""
    size, sizes = max(1, count // 5_000), []
    while size < count // 2:
        sizes.append(size)
        size *= 5
    return [*sizes, count // 2]
