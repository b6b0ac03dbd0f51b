"""Cases that are programs as people write them: what a map of each takes with two workers.

A job is a function and its items, written without a thought of how they get to a worker. The figure
is wall time from the call to the last result, once the workers have answered before. Each job is
made for a loop over it to take 2 to 6 s on a core of 2023, and gives the same results wherever it
runs.
"""

from __future__ import annotations

import functools
import importlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benches.data import MB
from benches.peers import Peer

now = time.perf_counter
QUEENS = 14
ROWS, COLUMNS, MOST = 400, 600, 500
SIDE = 1000
WAITS, WAIT_S = 2_000, 0.002
TEXT_MB, WORDS = 200, 20_000
SAMPLES, DRAWN, ARRAY_MB = 60, 3_000_000, 200
# Every so manieth result is compared with what a loop gives.
CHECKED = 8


class Job(NamedTuple):
    """What is mapped.

    Attributes:
        function: of an item.
        items: for it.
        finish: what the caller does with all results; part of the time.
        warm: a function for the first map, when it can't be that one.
    """

    function: Callable[[Any], Any]
    items: Sequence[Any]
    finish: Callable[[Any], Any] = len
    warm: Callable[[Any], Any] | None = None


def seconds(job: Any) -> Callable[[Peer], float]:
    """The case that measures it; `job` makes one, as a context manager."""

    def measure(peer: Peer) -> float:
        with job() as (function, items, finish, warm):
            with peer.workers() as workers:
                list(workers.map(warm or function, items[:4]))
                start = now()
                results = list(workers.map(function, items))
                finish(results)
                took = now() - start
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results of {len(items)}")
            if results[::CHECKED] != [function(item) for item in items[::CHECKED]]:
                raise RuntimeError("the results are not what they should be")
        return took

    return measure


def _solutions(left: int, columns: int, rising: int, falling: int) -> int:
    """In how many ways queens can stand in the rows that are left, attacked by those before."""
    if not left:
        return 1
    count = 0
    free = ~(columns | rising | falling) & ((1 << QUEENS) - 1)
    while free:
        queen = free & -free
        free ^= queen
        count += _solutions(
            left - 1, columns | queen, (rising | queen) << 1, (falling | queen) >> 1
        )
    return count


def _queens_from(two: tuple[int, int]) -> int:
    first, second = (1 << column for column in two)
    rising, falling = first << 1, first >> 1
    if second & (first | rising | falling):
        return 0
    rising, falling = (rising | second) << 1, (falling | second) >> 1
    return _solutions(QUEENS - 2, first | second, rising, falling)


@contextmanager
def queens() -> Iterator[Job]:
    """Queens that don't attack each other: a task for each place of the first two.

    The first is on the left: what is right mirrors that.
    """
    places = [(one, two) for one in range(QUEENS // 2) for two in range(QUEENS)]
    yield Job(_queens_from, places, sum)


def _escapes(row: int) -> list[int]:
    """After how many steps each point of a row of the Mandelbrot set has left."""
    counts = []
    for column in range(COLUMNS):
        point = complex(3.0 * column / COLUMNS - 2.25, 2.5 * row / ROWS - 1.25)
        z, steps = 0j, 0
        while steps < MOST and abs(z) <= 2:
            z = z * z + point
            steps += 1
        counts.append(steps)
    return counts


@contextmanager
def mandelbrot() -> Iterator[Job]:
    """Rows of very unequal cost: those in the middle stay in the set."""
    yield Job(_escapes, range(ROWS))


def _product(seed: int) -> float:
    # Whole numbers, so that every order of adding gives the same.
    numbers = importlib.import_module("numpy").random.default_rng(seed).integers
    first, *more = (numbers(0, 10, (SIDE, SIDE)).astype(float) for _ in range(4))
    return sum(float((first @ second).sum()) for second in more)


@contextmanager
def products() -> Iterator[Job]:
    """Products of matrices, by a BLAS with as many threads as it starts by itself."""
    yield Job(_product, range(50))


def _middle(seed: int) -> float:
    numpy = importlib.import_module("numpy")
    return float(numpy.sort(numpy.random.default_rng(seed).random(1_000_000))[500_000])


@contextmanager
def sorts() -> Iterator[Job]:
    """Arrays drawn and sorted by NumPy, in one thread, and without the GIL."""
    yield Job(_middle, range(50))


def _answer(number: int) -> int:
    time.sleep(WAIT_S)
    return number


@contextmanager
def waits() -> Iterator[Job]:
    """Answers from far away, each awaited by the task that asks."""
    yield Job(_answer, range(WAITS))


def _count_words(part: tuple[str, int, int]) -> Counter[str]:
    path, offset, length = part
    with open(path, "rb") as file:
        file.seek(offset)
        return Counter(file.read(length).decode().split())


def _merged(counts: Sequence[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


@contextmanager
def words() -> Iterator[Job]:
    """Words of a file, a task for each 4 MB, and the counts put together."""
    draw = random.Random(5)
    vocabulary = ["".join(draw.choices("abcdefghijklmnop", k=3 + i % 9)) for i in range(WORDS)]
    # The n-th word is there 1 / n times as often as the first.
    text = draw.choices(vocabulary, [1 / n for n in range(1, WORDS + 1)], k=MB)
    block = " ".join(text).encode()[: 4 * MB - 1] + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text")
        with path.open("wb") as file:
            for _ in range(TEXT_MB // 4):
                file.write(block)
        parts = range(0, TEXT_MB * MB, 4 * MB)
        yield Job(_count_words, [(str(path), offset, 4 * MB) for offset in parts], _merged)


def _resampled(array: Any, seed: int) -> float:
    draw = importlib.import_module("numpy").random.default_rng(seed).integers
    return float(array[draw(0, len(array), DRAWN)].mean())


@contextmanager
def bootstrap() -> Iterator[Job]:
    """Means of what is drawn from an array, which goes to the workers with the function."""
    numpy = importlib.import_module("numpy")
    array = numpy.random.default_rng(6).random(ARRAY_MB * MB // 8)
    yield Job(
        functools.partial(_resampled, array),
        range(SAMPLES),
        warm=functools.partial(_resampled, array[:1000].copy()),
    )
