"""How the items of a map are spread: measured, shared out again, given up after an error."""

from __future__ import annotations

import functools
import itertools
import math
import os
import signal
import threading
import time
from decimal import Decimal
from typing import Any

import allcores
import pytest
from allcores import _core
from allcores.task.records import LEASE_BYTES, current, end
from pool_tools import blocks, eventually

VALUES = [
    0, 1, -1, 255, 2**31, -(2**63), 2**63 - 1, 2**63, -(2**63) - 1, 10**40,
    0.0, -0.0, 1.5, math.inf, 5e-324, True, False, None, "", "a", "é" * 50, "x" * 5000,
    "\ud800", b"", b"a", b"y" * 20_000, (), (1, "two", (3.0,)), [1, 2], {"a": [None]},
    Decimal("1.5"), 1j, frozenset({1}), ...,
]  # fmt: skip


def same(x: Any) -> Any:
    return x


def both(*args: Any) -> Any:
    return args


def texts(x: Any) -> tuple[str, str]:
    """Return what tells apart what `==` does not."""
    return type(x).__name__, repr(x)


@pytest.mark.parametrize("size", [None, 1, 7])
def test_every_kind_of_value_arrives_as_it_was(forked: Any, size: int | None) -> None:
    for values in (VALUES, [v for v in VALUES if type(v) is int], [1.5, -0.0] * 40, [None] * 30):
        expected = [texts(v) for v in values]
        assert [texts(v) for v in forked.map(same, values, size)] == expected
        assert [texts(v) for v in forked.imap(same, values, size or 1)] == expected
        assert sorted(texts(v) for v in forked.imap_unordered(same, values, size or 1)) == sorted(
            expected
        )
        pairs = [(v, v) for v in values]
        assert [texts(b) for _, b in forked.starmap(both, pairs, size)] == expected
    for value in VALUES:
        assert [texts(v) for v in forked.apply(both, (value, value))] == [texts(value)] * 2


@pytest.mark.parametrize("size", [None, 1, 3])
def test_ranges_of_every_kind(forked: Any, size: int | None) -> None:
    for r in (
        range(100), range(0), range(5, 50, 3), range(50, -7, -4), range(2**62, 2**62 + 40),
        range(-(2**63), -(2**63) + 20), range(2**63 - 10, 2**63 + 10), range(0, 2**70, 2**66),
    ):  # fmt: skip
        assert forked.map(same, r, size) == list(r)
        assert forked.map(same, list(r), size) == list(r)


def test_results_of_mixed_kinds_in_one_task(forked: Any) -> None:
    for values in ([1, 2, None], [None, 1], [1.0, 1], [1, True], [None, None], [1, 2**70, 3]):
        assert forked.map(same, values, len(values)) == values
        kinds = [type(v) for v in forked.map(same, values, len(values))]
        assert kinds == [type(v) for v in values]


def slow_at_first(path_and_item: tuple[str, int]) -> int:
    """Item 0 ends when every other item has been done."""
    path, item = path_and_item
    if item == 0:
        while len(os.listdir(path)) < 59:
            time.sleep(0.001)
    else:
        open(os.path.join(path, str(item)), "w").close()
    return item


def test_what_a_slow_worker_has_not_begun_goes_to_idle_ones(forked: Any, tmp_path: Any) -> None:
    # In the first task with the slow one: only another worker can do the rest of it.
    items = [(str(tmp_path), i) for i in range(60)]
    assert forked.map(slow_at_first, items, 60) == list(range(60))


def test_taking_back_is_refused_when_the_worker_got_on() -> None:
    lease = _core.Block(LEASE_BYTES)
    words = memoryview(lease).cast("B").cast("Q")
    words[2] = seen = 7 << 48 | 100 << 24 | 3
    assert (current(seen), end(seen)) == (3, 100)
    words[2] = seen + 1
    assert not _core.take_back(lease, seen, 50)
    assert words[2] == seen + 1
    assert _core.take_back(lease, seen + 1, 50)
    assert (current(words[2]), end(words[2]), words[2] >> 48) == (4, 50, 7)
    for wrong in (4, 50, 51, 0):
        with pytest.raises(ValueError, match="nothing to take back"):
            _core.take_back(lease, words[2], wrong)
    with pytest.raises(ValueError):
        _core.take_back(_core.Block(8), seen, 50)


def fail_at(item: int) -> int:
    if item == 3:
        raise LookupError(item)
    return item


def fail_or_mark(gate: Any, path: str, item: int) -> None:
    """Item 0 fails; the others are held up until the map has."""
    if item == 0:
        raise LookupError(item)
    gate.wait()
    open(os.path.join(path, str(item)), "w").close()


@pytest.mark.parametrize("size", [None, 1, 4])
def test_the_first_error_ends_a_map(forked: Any, tmp_path: Any, size: int | None) -> None:
    with pytest.raises(LookupError):
        forked.map(fail_at, range(1000), size)
    # The pool goes on, with nothing of that call in its way.
    assert forked.map(same, range(1000), size) == list(range(1000))
    gate = allcores.Event()
    with pytest.raises(LookupError):
        forked.map(functools.partial(fail_or_mark, gate, str(tmp_path)), range(10_000), size)
    gate.set()
    assert forked.map(same, range(2), 1) == [0, 1]
    # At most what the two workers had begun: a task each, of 16 items while nothing is measured.
    assert len(os.listdir(tmp_path)) <= 2 * (size or 16)


def test_an_item_that_cannot_travel_fails_the_map_and_names_it(forked: Any) -> None:
    items: list[Any] = [1, 2, open(os.devnull), 4]  # noqa: SIM115
    with items[2]:
        for size in (None, 1, 2, 4):
            with pytest.raises(allcores.errors.NotPicklable, match="item 2 of the input"):
                forked.map(same, items, size)
            with pytest.raises(allcores.errors.NotPicklable, match="item 2 of the input"):
                list(forked.imap(same, items, size or 1))
    assert forked.map(same, [5]) == [5]


def die_at(item: int) -> int:
    if item == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_death_in_a_task_of_several_names_the_item(forked: Any) -> None:
    for size in (None, 1, 5, 20):
        with pytest.raises(allcores.errors.WorkerDied) as caught:
            forked.map(die_at, range(20), size)
        assert caught.value.task_index == 7
        assert caught.value.args_repr == "(7)"
    results = forked.imap(die_at, range(20))
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(allcores.errors.WorkerDied):
        next(results)
    assert list(results) == list(range(8, 20))


def test_job_numbers_come_round(fork: Any) -> None:
    with fork.Pool(1) as pool:
        pool._line._numbers = itertools.count(2**32 - 3)
        pool._line._cancelled[2] = 2  # by the job of that number of the round before
        for i in range(6):
            assert pool.map(same, [i], 1) == [i]
            assert pool.apply(same, (i,)) == i
    pool.join()


def test_many_calls_leave_nothing_behind(fork: Any) -> None:
    before = blocks()
    with fork.Pool(2) as pool:
        offset = [1, 2, 3]
        for _ in range(20):
            assert pool.map(lambda x: x + offset[0], range(50)) == list(range(1, 51))
            results = [pool.apply_async(same, ("x" * 300,)) for _ in range(30)]
            assert {r.get() for r in results} == {"x" * 300}
        eventually(lambda: not pool._line.jobs)
        assert not pool._line.tails
        del results
    pool.join()
    pool._pool.clear()
    eventually(lambda: blocks() <= before)


def test_results_go_to_several_callers_and_threads_at_once(forked: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as threads:
        maps = [threads.submit(forked.map, same, range(3000), size) for size in (None, 1, 1, 50)]
        applies = [threads.submit(forked.apply, same, (i,)) for i in range(100)]
        assert all(m.result() == list(range(3000)) for m in maps)
        assert [a.result() for a in applies] == list(range(100))


def test_an_input_that_fails_does_so_in_the_place_of_its_task(forked: Any) -> None:
    def numbers() -> Any:
        yield from range(7)
        raise LookupError

    for size, before in ((1, 7), (2, 6), (4, 4), (10, 0)):
        results = forked.imap(same, numbers(), size)
        assert [next(results) for _ in range(before)] == list(range(before))
        with pytest.raises(LookupError):
            next(results)
        assert list(results) == []


def test_a_timeout_counts_while_who_waits_rests(fork: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, left = allcores.Event(), []
    with fork.Pool(1) as pool:
        result = pool.apply_async(gate.wait)
        with monkeypatch.context() as patch:
            patch.setattr(result, "_rest", lambda: 0.01)
            patch.setattr(pool._line, "_serve", lambda timeout, done: left.append(timeout) is None)
            baton = threading.Lock()
            with baton:
                pool._line._wait(result, result.ready, baton, 0.005)
        assert left == [0]  # the rest has taken all of it
        gate.set()
        assert result.get()


def test_results_are_taken_together_while_there_is_much_to_do(
    fork: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits looks every 10 ms as long as 20 ms of work are out, not for each result."""
    with fork.Pool(2) as pool:
        line, looks = pool._line, 0
        serve = line._serve

        def counted(*args: Any) -> bool:
            nonlocal looks
            looks += any(job._rest() for job in list(line.jobs.values()))
            return serve(*args)

        monkeypatch.setattr(line, "_serve", counted)
        start = time.monotonic()
        assert pool.map(time.sleep, [0.004] * 1000) == [None] * 1000
        most = (time.monotonic() - start) / 0.01
    # 24 tasks are out at a time, of one item each once it is measured how long that takes.
    assert 20 <= looks < most + 100, (looks, most)
