"""Maps over what is read item by item: read by the caller, bounded, and no longer than needed."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import allcores
import numpy as np
import pytest
from allcores.errors import NotPicklable, TaskCancelled, WorkerDied
from allcores.task import cut
from pool_tools import eventually

SIZES = (None, 1, 7, 1000)
# Tasks ahead of the results: three for each of two workers, and the one that is read.
TASKS = 3 * 2 + 1


def double(x: Any) -> Any:
    return 2 * x


def add(x: int, y: int) -> int:
    return x + y


def fail_at_50(x: int) -> int:
    if x == 50:
        raise KeyError("fifty")
    return x


def count_up(done: Any, x: int) -> int:
    with done.get_lock():
        done.value += 1
    return x


def wait_for(path: str, x: int) -> int:
    eventually(Path(path).exists)
    return x


def die(x: int) -> None:
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)


class Data:
    """Something that one can count."""

    def __init__(self, number: int) -> None:
        self.number = number


def number_of(data: Data) -> int:
    return data.number


def fail_first(folder: Path, x: int) -> int:
    try:
        (folder / str(x)).touch(exist_ok=False)
    except FileExistsError:
        return x
    raise RuntimeError("not yet")


class Lazy(Sequence[int]):
    """Makes its items when asked for them, as data sets do."""

    def __init__(self, length: int, says: int | None = None) -> None:
        self.length = length
        self.says = length if says is None else says
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.says

    def __getitem__(self, index: Any) -> Any:
        if index >= self.length:
            raise IndexError(index)
        self.asked.append(index)
        return index


class Reader:
    """A generator that notes how far it was read, by whom, and whether it was closed."""

    def __init__(self, items: Any) -> None:
        self.read = 0
        self.closed = False
        self.threads: set[int] = set()
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self._items:
                self.threads.add(threading.get_ident())
                self.read += 1
                yield item
        finally:
            self.closed = True


@pytest.mark.parametrize("size", SIZES)
def test_results_are_those_of_a_list(any_pool: Any, size: int | None) -> None:
    pool = any_pool
    for length in (0, 1, 2, 7, 16, 17, 300):
        expected = [2 * x for x in range(length)]
        assert pool.map(double, (x for x in range(length)), size) == expected
        assert pool.map(double, iter(range(length)), size) == expected
        for says in (None, 0, 3, 1000):
            lazy = Lazy(length, says)
            assert pool.map(double, lazy, size) == expected
            assert lazy.asked == list(range(length))
        assert pool.starmap(add, zip(range(length), range(length), strict=True), size) == expected
        assert pool.starmap(add, ([x, x] for x in range(length)), size) == expected
    texts = ["é" * n for n in range(40)]
    assert pool.map(double, iter(texts), size) == [2 * text for text in texts]
    assert allcores.map(double, (x for x in range(300)), workers=2, chunksize=size) == [
        *range(0, 600, 2)
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_caller_reads(any_pool: Any, size: int | None) -> None:
    """What is read may belong to one thread: a connection, a file's position."""
    reader = Reader(range(3000))
    any_pool.map(double, reader, size)
    assert (reader.read, reader.closed) == (3000, True)
    assert reader.threads == {threading.get_ident()}


@pytest.mark.parametrize("size", SIZES)
def test_map_async_reads_all_before_it_returns(forked: Any, size: int | None) -> None:
    """Nobody may be there to read later, and what is read from may be gone."""
    reader = Reader(range(300))
    result = forked.map_async(double, reader, size)
    assert reader.closed
    assert reader.threads == {threading.get_ident()}
    assert result.get() == [*range(0, 600, 2)]


@pytest.mark.parametrize("size", [None, 1, 4])
def test_the_input_is_read_a_bounded_distance_ahead(fork: Any, size: int | None) -> None:
    """Never more than the tasks under way are ahead of what workers have done."""
    done = allcores.Value("i", 0)
    farthest = 0
    bound = {1: 128, 4: 4 * TASKS}.get(size or 0, 2048 * TASKS)

    def items() -> Iterator[int]:
        nonlocal farthest
        for i in range(50_000):
            farthest = max(farthest, i - done.value)
            yield i

    func = functools.partial(count_up, done)
    with fork.Pool(2) as pool:
        assert pool.map(func, items(), size) == list(range(50_000))
    assert farthest <= bound


def test_slow_items_are_read_one_by_one(fork: Any) -> None:
    """Unmeasured, or measured as slow, no more than three tasks a worker are ahead."""
    done = allcores.Value("i", 0)
    farthest = 0

    def items() -> Iterator[int]:
        nonlocal farthest
        for i in range(60):
            farthest = max(farthest, i - done.value)
            yield i

    def slow(x: int) -> int:
        time.sleep(0.005)
        return count_up(done, x)

    with fork.Pool(2) as pool:
        assert pool.map(slow, items()) == list(range(60))
    assert farthest <= TASKS


@pytest.mark.parametrize("size", [1, 4])
def test_what_is_done_is_forgotten(fork: Any, size: int) -> None:
    """Large items don't pile up: those in memory are those under way."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def items() -> Iterator[Data]:
        nonlocal most
        for i in range(1000):
            data = Data(i)
            alive.add(data)
            most = max(most, len(alive))
            yield data

    with fork.Pool(2) as pool:
        assert pool.map(number_of, items(), size) == list(range(1000))
    # 128 are under way, and so many again while what came of those before is being taken.
    assert most <= 300
    gc.collect()
    assert len(alive) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_an_error_stops_the_reading(any_pool: Any, size: int | None) -> None:
    """An input without an end ends with the first error, and is closed by then."""
    reader = Reader(itertools.count())
    with pytest.raises(KeyError, match="fifty") as caught:
        any_pool.map(fail_at_50, reader, size)
    assert reader.read > 50
    assert len(caught.value.partial_results) <= reader.read  # type: ignore[attr-defined]
    eventually(lambda: gc.collect() >= 0 and reader.closed)
    assert any_pool.map(double, iter([1, 2]), size) == [2, 4]


def test_an_error_stops_a_slow_reading(any_pool: Any) -> None:
    """So it is when the tasks are done in between, as the input is slow."""

    def slowly() -> Iterator[int]:
        for number in itertools.count():
            time.sleep(0.003 * (number == 60))
            yield number

    reader = Reader(slowly())
    with pytest.raises(KeyError, match="fifty") as caught:
        any_pool.map(fail_at_50, reader, 1000)
    eventually(lambda: gc.collect() >= 0 and reader.closed)
    assert len(caught.value.partial_results) <= reader.read  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", SIZES)
def test_an_error_of_the_input(any_pool: Any, size: int | None) -> None:
    """It is raised as it is, whenever it comes, and the pool goes on."""

    def items(good: int) -> Iterator[int]:
        yield from range(good)
        raise LookupError("no more")

    for good in (0, 1, 20, 200):
        with pytest.raises(LookupError, match="no more") as caught:
            any_pool.map(double, items(good), size)
        partial = caught.value.partial_results  # type: ignore[attr-defined]
        assert all(partial[i] == 2 * i for i in partial)
        assert any_pool._line.jobs == {}
    with pytest.raises(TypeError, match="must be an iterable"):
        any_pool.map(double, 5)
    assert any_pool.map(double, iter([1, 2]), size) == [2, 4]


def test_options(forked: Any, tmp_path: Path) -> None:
    """Other tries, what errors do, and messages are as for lists."""
    for name, kind in (("a", iter), ("b", Lazy)):
        (tmp_path / name).mkdir()
        func = functools.partial(fail_first, tmp_path / name)
        items: Any = iter(range(30)) if kind is iter else Lazy(30)
        assert forked.map(func, items, retries=1) == list(range(30))
    found = forked.map(fail_at_50, iter(range(60)), on_error="return")
    assert isinstance(found.pop(50), KeyError)
    assert found == [x for x in range(60) if x != 50]
    found = forked.map(fail_at_50, iter(range(60)), on_error="skip")
    assert found == [x for x in range(60) if x != 50]
    lock = threading.Lock()
    for size in SIZES:
        with pytest.raises(WorkerDied, match=r"task 5 with \(5\)"):
            forked.map(die, iter(range(200)), size)
        with pytest.raises(NotPicklable, match="item 3 of the input of 'double'"):
            forked.map(double, iter([0, 1, 2, lock]), size)
        with pytest.raises(NotPicklable, match="the function"):
            forked.map(lambda x: lock, iter(range(5)), size)


def test_an_input_that_uses_the_pool(forked: Any) -> None:
    """Results of the map that come in meanwhile don't have it read from within itself."""

    def items() -> Iterator[int]:
        for i in range(200):
            yield forked.apply(double, (i,))

    for size in SIZES:
        assert forked.map(double, items(), size) == [4 * i for i in range(200)]


def test_an_input_that_waits(forked: Any, tmp_path: Path) -> None:
    """What was read before is worked on while the next item is waited for."""
    for size in (None, 1):
        for name in ("a", "b", "c"):
            (tmp_path / name).unlink(missing_ok=True)

        def items() -> Iterator[str]:
            for name in ("a", "b", "c"):
                yield str(tmp_path / name)
                time.sleep(0.01)  # longer than it takes to hand over what was read
                eventually((tmp_path / name).exists)

        assert forked.map(touch, items(), size) == ["a", "b", "c"]


def touch(path: str) -> str:
    Path(path).touch()
    return Path(path).name


def test_terminate_ends_the_reading(fork: Any) -> None:
    """Another thread may end the pool in the middle of an endless map."""
    pool = fork.Pool(2)
    reader = Reader(itertools.count())
    errors: list[BaseException] = []

    def call() -> None:
        try:
            pool.map(double, reader, 1)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    eventually(lambda: reader.read > 1000)
    pool.terminate()
    thread.join()
    pool.join()
    assert isinstance(errors[0], TaskCancelled)


def test_cancelling_who_awaits_ends_the_reading() -> None:
    reader = Reader(itertools.count())

    async def main() -> None:
        task = asyncio.create_task(allcores.amap(double, reader, workers=2, chunksize=1))
        while reader.read < 500:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_an_interrupt_ends_the_reading() -> None:
    """Ctrl-C, in the input or between two items: one KeyboardInterrupt, and the pool goes on."""
    code = (
        "import allcores, itertools, signal, threading, time\n"
        "done = allcores.Value('q')\n"
        "def count(x):\n"
        "    with done.get_lock():\n"
        "        done.value += 1\n"
        "def interrupt(done):\n"
        # More than there may be under way: the results of some have come.
        "    while done.value < 20_000:\n"
        "        time.sleep(0.001)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "with allcores.Pool(2) as pool:\n"
        "    for size in None, 1, 7:\n"
        # (Tasks of the call before may still run, and count.)
        "        with done.get_lock():\n"
        "            done.value = 0\n"
        "        threading.Thread(target=interrupt, args=[done]).start()\n"
        "        try:\n"
        "            pool.map(count, itertools.cycle([1]), size)\n"
        "        except KeyboardInterrupt as error:\n"
        "            print(len(error.partial_results) > 0, pool.map(abs, iter([-1, -2]), size))\n"
        "    pool.close()\n"
        "    pool.join()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("True [1, 2]\n" * 3, "")


def test_what_is_sliced_and_what_is_read(tmp_path: Path) -> None:
    """Items that are there are neither copied one by one nor read bit by bit."""
    memmap = np.memmap(tmp_path / "map", dtype="i8", mode="w+", shape=(10, 2))
    for sliced in ([1], (1,), range(3), np.arange(3), np.zeros((2, 3)), memmap):
        assert cut.sliceable(sliced) is sliced
        assert cut.is_at_hand(sliced)
    for listed in ({1}, {1: 2}, {1: 2}.items(), {1: 2}.keys(), "ab", b"ab", deque([1])):
        assert cut.sliceable(listed) == list(listed)
        assert cut.is_at_hand(listed)

    class Strange(list):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            return iter("xy")

    for read in (iter([1]), Lazy(3), Strange([1]), map(abs, [1])):
        assert not cut.is_at_hand(read)
    assert cut.sliceable(Strange([1])) == ["x", "y"]


def test_arrays(any_pool: Any, tmp_path: Path) -> None:
    """Items are what iterating over them gives: numpy's numbers, rows."""
    memmap = np.memmap(tmp_path / "map", dtype="i8", mode="w+", shape=(300,))
    memmap[:] = np.arange(300)
    for array in (np.arange(300), memmap, np.arange(300)[::-1], np.arange(300, dtype=">i2")):
        for size in SIZES:
            found = any_pool.map(double, array, size)
            assert found == [2 * x for x in array]
            assert {type(x) for x in found} == {type(2 * x) for x in array}
    rows = np.arange(300).reshape(100, 3)
    for size in SIZES:
        assert np.array_equal(any_pool.map(double, rows, size), 2 * rows)
        assert any_pool.starmap(sum3, rows, size) == rows.sum(axis=1).tolist()


def sum3(a: int, b: int, c: int) -> int:
    return int(a + b + c)
