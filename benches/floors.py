"""What no library can pass: the figures of the machine and of Python itself, without any library.

    python -m benches.floors futex      measure one

A hand-over is measured in C (floors.c, compiled when it is needed), since Python's own calls would
be most of it. Memory is that of arrays as the cases have them: 1 GB of numbers.
"""

from __future__ import annotations

import importlib
import mmap
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

now = time.perf_counter
COUNT = 1 << 27
CALLS = 1_000_000
PICKLES = 200_000
FORKS = 50


class Floor(NamedTuple):
    """One figure.

    Attributes:
        measure: returns it; runs in a fresh process.
        unit: as that of the cases that stand on it.
        what: for the reader.
    """

    measure: Callable[[], float]
    unit: str
    what: str


def _median_ms(work: Callable[[], object], times: int = 3) -> float:
    took = []
    for _ in range(times):
        start = now()
        work()
        took.append(now() - start)
    return statistics.median(took) * 1e3


def _ones() -> Any:
    return importlib.import_module("numpy").ones(COUNT)


def _on(memory: mmap.mmap) -> Any:
    return importlib.import_module("numpy").frombuffer(memory)


def _shared() -> int:
    """New shared memory, without pages yet."""
    descriptor = os.memfd_create("floors")
    os.truncate(descriptor, COUNT * 8)
    return descriptor


def _copied(array: Any) -> int:
    """New shared memory that the array was copied into."""
    descriptor = _shared()
    _on(mmap.mmap(descriptor, COUNT * 8))[:] = array
    return descriptor


def _sum(array: Any) -> None:
    if array.sum() != COUNT:
        raise RuntimeError("the sum is not what it should be")


def copy() -> float:
    """A copy into shared memory that is mapped and has been written to."""
    array, target = _ones(), _on(mmap.mmap(_shared(), COUNT * 8))
    target[:] = 0

    def work() -> None:
        target[:] = array

    return _median_ms(work)


def copy_fresh() -> float:
    """A copy into shared memory that is new: each page is made on the way."""
    array = _ones()
    return _median_ms(lambda: os.close(_copied(array)))


def read() -> float:
    """The sum of memory that is mapped and has been read."""
    memory = mmap.mmap(_copied(_ones()), COUNT * 8)
    _sum(_on(memory))
    return _median_ms(lambda: _sum(_on(memory)))


def read_first() -> float:
    """The sum of memory that is there, through a new mapping: each page is mapped on the way."""
    descriptor = _copied(_ones())
    return _median_ms(lambda: _sum(_on(mmap.mmap(descriptor, COUNT * 8))))


def copy_read() -> float:
    """A copy into memory that is mapped, and its sum from there."""
    array, target = _ones(), _on(mmap.mmap(_shared(), COUNT * 8))
    target[:] = 0

    def work() -> None:
        target[:] = array
        _sum(target)

    return _median_ms(work)


def fork() -> float:
    """A fork of this process, which ends at once, and the wait for it."""

    def work() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    return _median_ms(work, FORKS)


def _nothing(number: int) -> int:
    return number


def calls() -> float:
    """Thousands of calls in a second, in a loop that keeps the results."""
    numbers = list(range(CALLS))
    return CALLS / _median_ms(lambda: [_nothing(number) for number in numbers])


def pickles() -> float:
    """Microseconds to pickle a small integer and to unpickle it."""
    dumps, loads = pickle.dumps, pickle.loads

    def work() -> None:
        for number in range(PICKLES):
            loads(dumps(number))

    return _median_ms(work) * 1e3 / PICKLES


def _in_c(way: str) -> Callable[[], float]:
    def measure() -> float:
        source = Path(__file__).with_suffix(".c")
        with tempfile.TemporaryDirectory() as folder:
            program = f"{folder}/floors"
            subprocess.run(["cc", "-O2", "-std=gnu11", "-o", program, source], check=True)
            return float(subprocess.check_output([program, way]))

    return measure


FLOORS: dict[str, Floor] = {
    "hot": Floor(_in_c("hot"), "µs", "a number through shared memory, there and back, both awake"),
    "futex": Floor(_in_c("futex"), "µs", "the same, both asleep until they are woken by a futex"),
    "pipe": Floor(_in_c("pipe"), "µs", "a byte through a pipe, there and back"),
    "fork": Floor(fork, "ms", "fork and exit of a process of Python"),
    "calls": Floor(calls, "k/s", "calls of a function that does nothing, one process"),
    "pickle": Floor(pickles, "µs", "dumps and loads of a small integer"),
    "copy": Floor(copy, "ms", "a copy of 1 GB into memory that is mapped"),
    "copy_fresh": Floor(copy_fresh, "ms", "a copy of 1 GB into new shared memory"),
    "read": Floor(read, "ms", "the sum of 1 GB of memory that is mapped"),
    "read_first": Floor(read_first, "ms", "the sum of 1 GB of shared memory, newly mapped"),
    "copy_read": Floor(copy_read, "ms", "a copy of 1 GB into memory that is mapped, and its sum"),
}


def main() -> None:
    """Print the figure of one."""
    # A line of its own, as measure.py has it.
    print(f"\nfigure {FLOORS[sys.argv[1]].measure()}", flush=True)


if __name__ == "__main__":
    main()
