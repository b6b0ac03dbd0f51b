"""Cases about large objects: what it costs to bring one to a worker, or back.

Times are the median after one to warm up, in milliseconds; each call is a map of one item, which
every library has. Objects are made before, so what their pages cost at first is not in it.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benches.peers import Peer

now = time.perf_counter
GB, MB = 1 << 30, 1 << 20
ROWS = 1_000_000


def _total(array: Any) -> float:
    return float(array.sum())


def _sum_of_second(pair: Any) -> float:
    return float(pair[1].sum())


def _filled(count: int) -> Any:
    return importlib.import_module("numpy").ones(count)


def _last(array: Any) -> float:
    return float(array[-1])


def _median_ms(call: Callable[[], Any], times: int) -> float:
    took = []
    for _ in range(1 + times):
        start = now()
        call()
        took.append(now() - start)
    return statistics.median(took[1:]) * 1e3


def _ones(nbytes: int) -> Any:
    return _filled(nbytes // 8)


def there(nbytes: int, times: int, prepare: Any = None) -> Callable[[Peer], float]:
    """An array to a worker, and its sum back.

    Args:
        nbytes: its size.
        times: how often.
        prepare: makes what is sent of the array; None sends itself.
    """

    def measure(peer: Peer) -> float:
        array = _ones(nbytes)
        sent = array if prepare is None else prepare(array)
        with peer.workers() as workers:

            def call() -> None:
                if list(workers.map(_total, [sent])) != [nbytes // 8]:
                    raise RuntimeError("the sum is not what it should be")

            return _median_ms(call, times)

    return measure


def back(peer: Peer) -> float:
    """An array of 1 GB that a worker makes, as a result, less what the making takes."""
    with peer.workers() as workers:
        made = _median_ms(lambda: list(workers.map(_made, [GB // 8])), 3)

        def call() -> None:
            (array,) = workers.map(_filled, [GB // 8])
            if _last(array) != 1:
                raise RuntimeError("the array is not what it should be")

        return _median_ms(call, 3) - made


def _made(count: int) -> float:
    return _last(_filled(count))


def to_many(peer: Peer) -> float:
    """An array of 64 MB to each of 100 tasks, and its sums back."""
    array = _ones(64 * MB)
    items = [(i, array) for i in range(100)]
    with peer.workers() as workers:
        list(workers.map(_sum_of_second, items[:2]))
        start = now()
        results = list(workers.map(_sum_of_second, items))
        seconds = now() - start
    if results != [8 * MB] * 100:
        raise RuntimeError("the sums are not what they should be")
    return seconds * 1e3


def _frame(dtype: str) -> Any:
    numpy, pandas = map(importlib.import_module, ("numpy", "pandas"))
    numbers = numpy.arange(ROWS)
    texts = [f"text {i % 1000}" for i in range(ROWS)]
    columns = {"a": numbers, "b": numbers / 3, "t": pandas.Series(texts, dtype=dtype)}
    return pandas.DataFrame(columns)


def length(make: Callable[[], Any]) -> Callable[[Peer], float]:
    """An object to a worker, and its length back."""

    def measure(peer: Peer) -> float:
        obj = make()
        with peer.workers() as workers:
            list(workers.map(len, [obj]))

            def call() -> None:
                if list(workers.map(len, [obj])) != [ROWS]:
                    raise RuntimeError("the length is not what it should be")

            return _median_ms(call, 3)

    return measure


def put(array: Any) -> Any:
    """What `put` makes of it; other libraries get the array."""
    allcores = sys.modules.get("allcores")
    return array if allcores is None else allcores.put(array)


def shared(array: Any) -> Any:
    """A shared array; other libraries get an ordinary one."""
    allcores = sys.modules.get("allcores")
    return array if allcores is None else allcores.shared_array(array)


def frame_of_arrow() -> Any:
    """A DataFrame of a million rows, its texts Arrow's."""
    return _frame("string[pyarrow]")


def frame_of_objects() -> Any:
    """A DataFrame of a million rows, its texts Python's."""
    return _frame("object")


def dict_of_objects() -> dict[int, str]:
    """A dict of a million texts."""
    return {i: str(i) for i in range(ROWS)}
