"""What grows: each curve is a function that measures one point, in a fresh process.

    python -m benches.curves map allcores 1000

prints the figure for a map of 1,000 items (growth.py asks for all points of a curve).
"""

from __future__ import annotations

import importlib
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from benches.data import MB
from benches.footprints import family_bytes, workers_bytes
from benches.peers import LIBRARIES, PEERS, Peer
from benches.tasks import nothing

now = time.perf_counter
KB, GB = 1 << 10, 1 << 30
# A point is measured again until so much time has passed, when it takes less: the median counts.
AGAIN_S, AGAIN_MOST = 0.3, 200
SINGLE = 20_000
ACCESSES = 2_000


class Curve(NamedTuple):
    """How a figure depends on a number.

    Attributes:
        what: for the reader.
        measure: returns the figure of a library at one x.
        x: where.
        x_name: what x counts.
        x_unit: of x, empty for a count.
        y_name: what is measured.
        y_unit: of it.
        libraries: that are measured.
    """

    what: str
    measure: Callable[[Peer, int], float]
    x: list[int]
    x_name: str
    x_unit: str
    y_name: str
    y_unit: str
    libraries: tuple[str, ...] = LIBRARIES


def powers(first: int, last: int, factor: int = 10) -> list[int]:
    """From the first, each so many times the one before, up to the last."""
    numbers = [first]
    while numbers[-1] * factor <= last:
        numbers.append(numbers[-1] * factor)
    return numbers


def _median_s(call: Callable[[], object]) -> float:
    """Seconds that a call takes; the first isn't counted unless it takes long."""
    times: list[float] = []
    begun = now()
    while True:
        start = now()
        call()
        times.append(now() - start)
        if now() - begun > AGAIN_S or len(times) > AGAIN_MOST:
            return statistics.median(times[1:] or times)


def _checked(work: Callable[[Any], Iterable[int]], numbers: Any) -> Callable[[], None]:
    total = sum(numbers)

    def call() -> None:
        if sum(work(numbers)) != total:
            raise RuntimeError("the results are not what they should be")

    return call


def of_map(peer: Peer, count: int) -> float:
    """Seconds of a map, chunks as the library sees fit."""
    with peer.workers() as workers:
        list(workers.map(nothing, range(1000)))
        return _median_s(_checked(lambda all_: workers.map(nothing, all_), range(count)))


def of_submits(peer: Peer, count: int) -> float:
    """Seconds of so many calls, then all results."""
    with peer.workers() as workers:
        workers.each(nothing, range(1000))
        return _median_s(_checked(lambda all_: workers.each(nothing, all_), range(count)))


def _total(array: Any) -> float:
    return float(array.sum())


def of_bytes(peer: Peer, size: int) -> float:
    """Milliseconds of bytes to a worker, and their length back."""
    return _sent_ms(peer, bytes(size), len, size)


def of_array(peer: Peer, size: int) -> float:
    """Milliseconds of an array to a worker, and its sum back."""
    array = importlib.import_module("numpy").ones(size // 8)
    return _sent_ms(peer, array, _total, size // 8)


def _sent_ms(peer: Peer, payload: Any, function: Any, answer: int) -> float:
    with peer.workers() as workers:
        list(workers.map(nothing, range(1000)))

        def call() -> None:
            if list(workers.map(function, [payload])) != [answer]:
                raise RuntimeError("the result is not what it should be")

        return _median_s(call) * 1e3


def _pool(peer: Peer, processes: int) -> Any:
    return importlib.import_module(peer.modules[0]).get_context("fork").Pool(processes)


def of_start(peer: Peer, processes: int) -> float:
    """Milliseconds from `Pool(processes)` to the first result; the first pool of a program."""
    start = now()
    with _pool(peer, processes) as pool:
        pool.apply(nothing, (1,))
        return (now() - start) * 1e3


def of_processes(peer: Peer, processes: int) -> float:
    """Microseconds a task, of a map with chunk size 1."""
    with _pool(peer, processes) as pool:
        call = _checked(lambda all_: pool.map(nothing, all_, 1), range(SINGLE))
        call()
        return _median_s(call) / SINGLE * 1e6


def _filled(mapping: Any, count: int) -> None:
    """In one call as far as one may go: what a manager gets is pickled as a whole."""
    for start in range(0, count, MB):
        mapping.update({key: key for key in range(start, min(start + MB, count))})


def _access_us(peer: Peer, count: int, access: Callable[[Any, int], object]) -> float:
    with peer.shared_dict() as mapping:
        _filled(mapping, count)
        keys = random.Random(7).choices(range(count), k=ACCESSES)

        def call() -> None:
            for key in keys:
                access(mapping, key)

        return _median_s(call) / ACCESSES * 1e6


def of_get(peer: Peer, count: int) -> float:
    """Microseconds for one key of a shared dict with so many."""
    return _access_us(peer, count, lambda mapping, key: mapping[key])


def _set(mapping: Any, key: int) -> None:
    mapping[key] = key + 1


def of_set(peer: Peer, count: int) -> float:
    """Microseconds to set a key that is there."""
    return _access_us(peer, count, _set)


def of_fill(peer: Peer, count: int) -> float:
    """Seconds to set so many keys, one after the other."""
    with peer.shared_dict() as mapping:
        start = now()
        for key in range(count):
            mapping[key] = key
        return now() - start


def of_keys(peer: Peer, count: int) -> float:
    """Megabytes that a shared dict with so many keys takes, with all processes that hold it."""
    with peer.shared_dict() as mapping:
        before = family_bytes()
        _filled(mapping, count)
        return (family_bytes() - before) / MB


def of_workers(peer: Peer, processes: int) -> float:
    """Megabytes that are the idle workers' alone."""
    with _pool(peer, processes) as pool:
        pool.map(nothing, range(1000 * processes), 1)
        return workers_bytes() / MB


def of_outstanding(peer: Peer, count: int) -> float:
    """Megabytes that so many calls take, while they wait for the workers."""
    with _pool(peer, 2) as pool:
        pool.map(nothing, range(1000), 1)
        before = family_bytes()
        for _ in range(2):
            pool.apply_async(time.sleep, (3600,))
        results = [pool.apply_async(nothing, (number,)) for number in range(count)]
        grown = (family_bytes() - before) / MB
        pool.terminate()
        return grown if len(results) == count else 0.0


def of_calls(peer: Peer, count: int) -> float:
    """Megabytes that all processes have grown by after so many calls: what is never given back."""
    with _pool(peer, 2) as pool:
        for _ in range(10):
            pool.map(nothing, range(100), 1)
        before = family_bytes()
        for _ in range(count // 100):
            pool.map(nothing, range(100), 1)
        return (family_bytes() - before) / MB


MORE = (*LIBRARIES, "mpire", "joblib")
PROCESSES = powers(1, 64, 2)
CURVES: dict[str, Curve] = {
    "map": Curve(
        "map of a function that does nothing", of_map, powers(10, 10_000_000), "tasks", "", "time",
        "s", MORE,
    ),
    "submit": Curve(
        "as many calls, then all results", of_submits, powers(10, 100_000), "tasks", "", "time",
        "s", (*LIBRARIES, "mpire"),
    ),
    "bytes": Curve(
        "bytes to a worker, their length back", of_bytes, powers(KB, 4 * GB, 4), "size", "B",
        "time", "ms",
    ),
    "array": Curve(
        "an array to a worker, its sum back", of_array, powers(KB, 4 * GB, 4), "size", "B",
        "time", "ms", (*LIBRARIES, "joblib"),
    ),
    "start": Curve(
        "a pool to its first result", of_start, PROCESSES, "processes", "", "time", "ms"
    ),
    "processes": Curve(
        "20,000 tasks one by one", of_processes, PROCESSES, "processes", "", "time a task", "µs"
    ),
    "dict_get": Curve(
        "shared dict: get", of_get, powers(10, 10_000_000), "keys", "", "time", "µs"
    ),
    "dict_set": Curve(
        "shared dict: set", of_set, powers(10, 10_000_000), "keys", "", "time", "µs"
    ),
    "dict_fill": Curve(
        "shared dict: fill, key by key", of_fill, powers(10, 10_000_000), "keys", "", "time", "s"
    ),
    "dict_memory": Curve(
        "shared dict: memory", of_keys, powers(1000, 10_000_000), "keys", "", "memory", "MB"
    ),
    "worker_memory": Curve(
        "idle workers' own memory", of_workers, PROCESSES, "processes", "", "memory", "MB"
    ),
    "task_memory": Curve(
        "calls that wait", of_outstanding, powers(100, 1_000_000), "calls", "", "memory", "MB"
    ),
    "leak": Curve(
        "what calls leave behind", of_calls, powers(1000, 1_000_000), "calls", "", "memory", "MB"
    ),
}  # fmt: skip


def main() -> None:
    name, library, x = sys.argv[1:]
    # Forking while the standard library's pool has its threads is part of what is compared.
    warnings.simplefilter("ignore", DeprecationWarning)
    for module in PEERS[library].modules:
        importlib.import_module(module)
    print(f"\nfigure {CURVES[name].measure(PEERS[library], int(x))}", flush=True)


if __name__ == "__main__":
    main()
