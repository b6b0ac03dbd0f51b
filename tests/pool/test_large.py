"""Large items are brought to the ring as workers take them, not all at once."""

from __future__ import annotations

import threading
import time
from typing import Any

import allcores
import pytest
from allcores import _core
from pool_tools import blocks

MIB = 1 << 20
EACH = 8 * MIB
COUNT = 30


def size(data: Any) -> int:
    time.sleep(0.005)  # slower than the items come
    return len(data)


class Watch:
    """The most that the arena came to hold while a block of code ran."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._before = 0
        self.most = 0

    def _look(self) -> None:
        while not self._done.wait(0.002):
            self.most = max(self.most, _core.stats()["live_bytes"] - self._before)

    def __enter__(self) -> Watch:
        blocks()  # what others left is given back
        self._before = _core.stats()["live_bytes"]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


ITEMS = {
    # Written as they are, and pickled.
    "bytes": lambda n: bytes(n),
    "list": lambda n: [bytes(n)],
}


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("form", ["map", "chunks", "retries", "imap", "generator", "executor"])
def test_what_lies_ahead_is_bounded_in_bytes(fork: Any, form: str, kind: str) -> None:
    item = ITEMS[kind](EACH)
    items = [item] * COUNT
    expected = [len(item)] * COUNT
    with fork.Pool(2) as pool, allcores.ProcessPoolExecutor(2, fork) as executor, Watch() as watch:
        if form == "map":
            found = pool.map(size, items)
        elif form == "chunks":
            found = pool.map(size, items, 2)
        elif form == "retries":
            found = pool.map(size, items, retries=1)
        elif form == "imap":
            found = list(pool.imap(size, items))
        elif form == "generator":
            found = pool.map(size, iter(items), 1)
        else:
            found = [future.result() for future in [executor.submit(size, x) for x in items]]
        assert found == expected
    pool.join()
    # 64 MiB wait at most, and one task's more; some are at the workers.
    assert watch.most < 64 * MIB + 6 * EACH


def test_maps_do_not_keep_each_other_from_beginning(forked: Any) -> None:
    large = [bytes(EACH)] * 12
    results = [forked.map_async(size, large, 1) for _ in range(3)]
    small = [forked.map_async(abs, range(-1000, 0), chunk) for chunk in (None, 1)]
    streams = [forked.imap(size, large) for _ in range(2)]
    for result in small:
        assert result.get() == list(range(1000, 0, -1))
    for stream in streams:
        assert list(stream) == [EACH] * 12
    for result in results:
        assert result.get() == [EACH] * 12
