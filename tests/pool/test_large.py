"""Large items are brought to the ring as workers take them, not all at once."""

from __future__ import annotations

import os
import threading
import time
import types
from typing import Any

import allcores
import pytest
from allcores import _core
from pool_tools import blocks

MIB = 1 << 20
EACH = 4 * MIB
COUNT = 50


def size(data: Any) -> int:
    time.sleep(0.02)  # longer than bringing one takes: the rest waits
    return len(data)


class Watch:
    """The most that the arena came to hold while a block of code ran, or somewhat more.

    (A look goes through the arena block by block. One that is kept from its core meanwhile counts
    tasks that are given back and those that come in their place: hence the least of some, one
    right after the other, where it seems to be more than ever.)
    """

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._before = 0
        self.most = 0

    def _look(self) -> None:
        while not self._done.wait(0.002):
            least = _core.stats()["live_bytes"]
            for _ in range(5):
                if least - self._before <= self.most:
                    break
                least = min(least, _core.stats()["live_bytes"])
            self.most = max(self.most, least - self._before)

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
    "bytes": os.urandom,
    "list": lambda n: [os.urandom(n)],
}


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("form", ["map", "chunks", "retries", "imap", "generator", "executor"])
def test_what_lies_ahead_is_bounded_in_bytes(fork: Any, form: str, kind: str) -> None:
    items = [ITEMS[kind](EACH) for _ in range(COUNT)]  # (one that comes again is stored once)
    expected = [len(item) for item in items]
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
    print(f"{watch.most / EACH:.1f} tasks of {COUNT} at most")
    # 64 MiB wait at most, and one task's more; some are at the workers. (Of 200, without a bound.)
    assert watch.most < 64 * MIB + 12 * EACH


@pytest.mark.parametrize("size_of_chunk", [1, 2])
@pytest.mark.parametrize("reads", ["list", "generator"])
@pytest.mark.parametrize("form", ["imap", "imap_unordered"])
def test_a_closed_pool_does_all_of_an_imap_that_nobody_takes(
    fork: Any, form: str, reads: str, size_of_chunk: int
) -> None:
    items = [os.urandom(EACH) for _ in range(COUNT)]
    pool = fork.Pool(2)
    given = items if reads == "list" else (item for item in items)
    stream = getattr(pool, form)(len, given, size_of_chunk)
    pool.close()
    pool.join()
    assert list(stream) == [EACH] * COUNT


@pytest.mark.parametrize("form", ["imap", "generator"])
def test_what_is_held_back_is_not_lost(fork: Any, form: str) -> None:
    # Small, large, small: a batch of what was read finds no room in the middle.
    sizes = [1] * 100 + [EACH] * 40 + [2] * 100
    items = [os.urandom(n) for n in sizes]
    with fork.Pool(2) as pool:
        if form == "imap":
            assert list(pool.imap(len, items)) == sizes
            assert sorted(pool.imap_unordered(len, items)) == sorted(sizes)
            assert list(pool.imap(len, items, 7)) == sizes
        else:
            assert pool.map(len, iter(items), 1) == sizes
            assert pool.map(len, iter(items), 7) == sizes
            assert pool.map(len, iter(items)) == sizes


def test_an_error_of_the_input_comes_behind_what_is_held_back(
    forked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input that has raised is at its end after that."""

    def items() -> Any:
        yield from [(1,), (2,), (3,)]
        raise OSError("unreadable")

    monkeypatch.setattr(allcores.pool, "NEVER_BLOCK", (types.GeneratorType,))
    monkeypatch.setattr(forked._line, "has_room", lambda: False)
    results = forked.imap(len, items())
    assert [next(results) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(OSError, match="unreadable"):
        next(results)
    assert list(results) == []


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
