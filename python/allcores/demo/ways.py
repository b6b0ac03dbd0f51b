"""The three ways of doing the same work, each timed from its first step to its last."""

import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import allcores as mp
from allcores.demo.files import SourceFile
from allcores.demo.measure import FileRecord, Measured, measure

__all__ = ["WAYS", "Outcome", "gil_enabled", "run_way"]

WAYS = ("serial", "threads", "allcores")

# The work of a chunk should be long against the ~0.1 ms of handing it over: a file takes ~5 ms.
# There are also some 30 chunks for each worker, so that they finish together.
_LARGEST_CHUNK = 4
_CHUNKS_PER_WORKER = 30

Tick = Callable[[int], object]


class Outcome(NamedTuple):
    """One pass over all files.

    Attributes:
        seconds: Wall-clock time, with the start and the end of threads and processes.
        startup: The part of it until the workers had been asked for and tasks could be sent.
        cpu_seconds: Processor time of the tasks; divided by ``seconds``: how many cores were busy.
        records: What was found, in the order of the files.
        curve: (seconds since the start, bytes measured so far), for the plot.
    """

    seconds: float
    startup: float
    cpu_seconds: float
    records: list[FileRecord]
    curve: list[tuple[float, int]]


def run_way(way: str, files: list[SourceFile], workers: int, tick: Tick) -> Outcome:
    """Measure all files in one way; ``tick`` is called with the size of each finished file."""
    sizes = dict(files)
    paths = list(sizes)
    chunk = max(1, min(_LARGEST_CHUNK, len(paths) // (workers * _CHUNKS_PER_WORKER)))
    found: dict[str, FileRecord] = {}
    curve: list[tuple[float, int]] = [(0.0, 0)]
    cpu_seconds = 0.0

    def collect(results: Iterable[Measured]) -> None:
        nonlocal cpu_seconds
        for record, cpu in results:
            found[record.path] = record
            cpu_seconds += cpu
            size = sizes[record.path]
            curve.append((time.perf_counter() - start, curve[-1][1] + size))
            tick(size)

    with _no_syntax_warnings():
        start = time.perf_counter()
        if way == "serial":
            startup = 0.0
            collect(map(measure, paths))
        elif way == "threads":
            with ThreadPool(workers) as threads:
                startup = time.perf_counter() - start
                collect(threads.imap_unordered(measure, paths, chunk))
        else:
            with mp.Pool(workers, initializer=_prepare_worker) as pool:
                startup = time.perf_counter() - start
                collect(pool.imap_unordered(measure, paths, chunk))
        seconds = time.perf_counter() - start
    return Outcome(seconds, startup, cpu_seconds, [found[path] for path in paths], curve)


def _prepare_worker() -> None:
    """Set up a worker: no warnings about the sources, and Ctrl-C is the parent's to handle."""
    warnings.simplefilter("ignore", SyntaxWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _no_syntax_warnings() -> Iterator[None]:
    """Keep quiet what the parser has to say about old code, which is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def gil_enabled() -> bool:
    """Tell whether this Python runs one thread at a time; false on a free-threaded one."""
    check = getattr(sys, "_is_gil_enabled", None)  # from Python 3.13
    return True if check is None else bool(check())
