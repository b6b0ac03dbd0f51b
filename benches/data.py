"""Cases about large objects: what it costs to bring one to a worker, or back.

Times are the median after one to warm up, in milliseconds; each call is a map of one item, which
every library has. Objects are made before, so what their pages cost at first is not in it.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from benches.carriers import ones
from benches.peers import Peer

now = time.perf_counter
GB, MB = 1 << 30, 1 << 20
ROWS = 1_000_000


def _total(array: Any) -> float:
    return float(array.sum())


def _sum_of_second(pair: Any) -> float:
    return float(pair[1].sum())


def _median_ms(call: Callable[[], Any], times: int) -> float:
    took = []
    for _ in range(1 + times):
        start = now()
        call()
        took.append(now() - start)
    return statistics.median(took[1:]) * 1e3


def there(nbytes: int, times: int, way: str = "once") -> Callable[[Peer], float]:
    """An array to a worker, and its sum back.

    Args:
        nbytes: its size.
        times: how often.
        way: `once`: it is an ordinary array each time; `put` and `shared`: it was made ready
            before, see carriers.py.
    """

    def measure(peer: Peer) -> float:
        array = ones(nbytes // 8)
        carry = getattr(peer.carrier, way)
        before, each = (nullcontext, carry) if way == "once" else (carry, nullcontext)
        with before(array) as ready, peer.workers() as workers:

            def call() -> None:
                with each(ready) as item:
                    if list(workers.map(_total, [item])) != [nbytes // 8]:
                        raise RuntimeError("the sum is not what it should be")

            return _median_ms(call, times)

    return measure


def back(peer: Peer) -> float:
    """An array of 1 GB that a worker makes, as a result, less what the making takes."""
    with peer.workers() as workers:
        made = _median_ms(lambda: list(workers.map(_made, [GB // 8])), 3)

        def call() -> None:
            (result,) = workers.map(peer.carrier.made, [GB // 8])
            if peer.carrier.last(result) != 1:
                raise RuntimeError("the array is not what it should be")

        return _median_ms(call, 3) - made


def _made(count: int) -> float:
    return float(ones(count)[-1])


def to_many(peer: Peer) -> float:
    """An array of 64 MB to each of 100 tasks, and its sums back."""
    array = ones(8 * MB)
    with peer.workers() as workers:

        def call(tasks: int) -> list[float]:
            with peer.carrier.once(array) as item:
                return list(workers.map(_sum_of_second, [(i, item) for i in range(tasks)]))

        call(2)
        start = now()
        results = call(100)
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


def frame_of_arrow() -> Any:
    """A DataFrame of a million rows, its texts Arrow's."""
    return _frame("string[pyarrow]")


def frame_of_objects() -> Any:
    """A DataFrame of a million rows, its texts Python's."""
    return _frame("object")


def dict_of_objects() -> dict[int, str]:
    """A dict of a million texts."""
    return {i: str(i) for i in range(ROWS)}
