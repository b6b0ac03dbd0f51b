"""What a call may ask of its tasks: a time limit, more tries, what an error does; and its end."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import pickle
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import allcores
import pytest
from allcores import errors
from allcores.task.partial import PartialResults
from pool_tools import blocks, eventually

FOREVER_S = 3600.0
# For calls with tasks that keep to it: these take microseconds, but a worker may get no core for
# some seconds.
LIMIT_S = 8.0


def sleep_if_3(x: int) -> int:
    if x == 3:
        time.sleep(FOREVER_S)
    return x * 10


def spin_if_3(x: int) -> int:
    while x == 3:
        pass
    return x * 10


def fail_if_odd(x: int) -> int:
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x * 10


def touch(folder: Path, x: int) -> int:
    """Note a try; return how many there have been for `x`."""
    number = 1
    while True:
        try:
            (folder / f"{x}-{number}").touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return number


def die_twice(folder: Path, x: int) -> int:
    if x == 3 and touch(folder, x) <= 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * 10


def raise_twice(folder: Path, x: int) -> int:
    if x == 3 and touch(folder, x) <= 2:
        raise RuntimeError("not yet")
    return x * 10


def hang_twice(folder: Path, x: int) -> int:
    if x == 3 and touch(folder, x) <= 2:
        time.sleep(FOREVER_S)
    return x * 10


# A time limit.


def test_the_task_that_overruns_fails_and_the_rest_return(pool: Any) -> None:
    results = [
        pool.map_async(work, range(8), timeout=LIMIT_S, on_error="return")
        for work in (sleep_if_3, spin_if_3)
    ]
    for result in results:
        found = result.get()
        late = found.pop(3)
        assert found == [x * 10 for x in range(8) if x != 3]
        assert isinstance(late, errors.TaskTimeout)
        assert isinstance(late, allcores.TimeoutError)
        assert (late.task_index, late.args_repr, late.timeout) == (3, "(3)", LIMIT_S)
        again = pickle.loads(pickle.dumps(late))
        assert (again.task_index, str(again)) == (3, str(late))
    assert pool.map(sleep_if_3, [1, 2]) == [10, 20]


def test_every_form_takes_a_timeout(forked: Any) -> None:
    with pytest.raises(errors.TaskTimeout, match=r"task 0 with \(3600.0\) took longer"):
        forked.apply(time.sleep, (FOREVER_S,), timeout=0.1)
    with pytest.raises(errors.TaskTimeout):
        forked.apply_async(time.sleep, (FOREVER_S,), timeout=0.1).get()
    with pytest.raises(errors.TaskTimeout, match="task 3 "):
        forked.map_async(sleep_if_3, range(8), timeout=LIMIT_S).get()
    with pytest.raises(errors.TaskTimeout):
        forked.starmap(time.sleep, [(FOREVER_S,)], timeout=0.1)
    results = forked.imap(sleep_if_3, range(5), timeout=LIMIT_S)
    assert [next(results) for _ in range(3)] == [0, 10, 20]
    with pytest.raises(errors.TaskTimeout):
        next(results)
    assert list(results) == [40]
    found = forked.imap_unordered(sleep_if_3, range(5), timeout=LIMIT_S, on_error="skip")
    assert sorted(found) == [0, 10, 20, 40]


def test_the_time_counts_from_a_tasks_beginning_not_from_the_call(forked: Any) -> None:
    gate = allcores.Event()
    busy = [forked.apply_async(gate.wait) for _ in range(2)]
    waiting = forked.map_async(abs, range(8), timeout=LIMIT_S)
    time.sleep(1.2 * LIMIT_S)  # they can't begin yet
    gate.set()
    assert waiting.get() == list(range(8))
    assert [result.get() for result in busy] == [True] * 2


def test_a_callback_hears_of_a_timeout(forked: Any) -> None:
    heard = threading.Event()
    forked.apply_async(time.sleep, (FOREVER_S,), error_callback=lambda _: heard.set(), timeout=0.1)
    heard.wait()


def test_what_still_hangs_when_a_map_has_failed_is_ended_too(forked: Any) -> None:
    pids = {worker.pid for worker in forked._pool}
    with pytest.raises(errors.TaskTimeout):
        forked.map(time.sleep, [FOREVER_S] * 2, timeout=0.2)
    assert forked.map(abs, [-1, -2, -3]) == [1, 2, 3]
    eventually(lambda: not pids & {worker.pid for worker in forked._pool})


def test_a_task_that_ends_in_time_is_never_hit(forked: Any) -> None:
    # Each ends at about its limit: it returns or fails, and no worker dies for another task.
    limit = 0.02
    for _ in range(5):
        found = forked.map(time.sleep, [limit * f for f in (0.1, 0.98, 1.0, 1.02)] * 4,
                           timeout=limit, on_error="return")  # fmt: skip
        assert {type(one) for one in found} <= {type(None), errors.TaskTimeout}


# More tries.


@pytest.mark.parametrize("work", [die_twice, raise_twice, hang_twice])
def test_a_task_that_failed_is_done_again(fork: Any, work: Any, tmp_path: Path) -> None:
    """In every form of call, all at the same time: each hangs for as long as it may."""
    options: Any = {"retries": 2}
    if work is hang_twice:
        options["timeout"] = LIMIT_S
    folders = [tmp_path / form for form in ("apply", "starmap", "map", "imap", "imap_unordered")]
    for folder in folders:
        folder.mkdir()
    calls = [functools.partial(work, folder) for folder in folders]
    with fork.Pool(5) as pool:
        one = pool.apply_async(work, (folders[0], 3), **options)
        starred = pool.starmap_async(work, [(folders[1], x) for x in range(6)], **options)
        mapped = pool.map_async(calls[2], range(6), **options)
        ordered = pool.imap(calls[3], range(6), **options)
        unordered = pool.imap_unordered(calls[4], range(6), **options)
        assert one.get() == 30
        expected = [x * 10 for x in range(6)]
        assert starred.get() == mapped.get() == list(ordered) == sorted(unordered) == expected
    pool.join()
    assert [len(list(folder.iterdir())) for folder in folders] == [3] * 5


def test_when_no_tries_are_left_the_last_error_counts(forked: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not yet"):
        forked.apply(raise_twice, (tmp_path, 3), retries=1)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_argument_that_cannot_travel_is_not_tried_again(forked: Any) -> None:
    found = forked.map(str, [1, threading.Lock(), 2], retries=3, on_error="return")
    assert (found[0], found[2]) == ("1", "2")
    assert isinstance(found[1], errors.NotPicklable)


@pytest.mark.watchdog(180)
def test_a_thousand_tasks_with_deaths_all_come_out_right(ctx: Any, tmp_path: Path) -> None:
    def work(x: int) -> int:
        if x % 50 == 7 and touch(tmp_path, x) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    with ctx.Pool(3) as pool:
        assert pool.map(work, range(1000), retries=3) == [x * x for x in range(1000)]
    pool.join()


# What an error does.


def test_on_error(pool: Any) -> None:
    found = pool.map(fail_if_odd, range(6), on_error="return")
    assert found[::2] == [0, 20, 40]
    assert [str(error) for error in found[1::2]] == ["odd: 1", "odd: 3", "odd: 5"]
    assert "fail_if_odd" in str(found[1].__cause__)
    assert pool.map(fail_if_odd, range(6), on_error="skip") == [0, 20, 40]
    assert pool.starmap(fail_if_odd, [(x,) for x in range(6)], on_error="skip") == [0, 20, 40]
    found = list(pool.imap(fail_if_odd, range(6), on_error="return"))
    assert found[::2] == [0, 20, 40]
    assert [type(x) for x in found[1::2]] == [ValueError] * 3
    assert list(pool.imap(fail_if_odd, range(6), on_error="skip")) == [0, 20, 40]
    assert sorted(pool.imap_unordered(fail_if_odd, range(6), on_error="skip")) == [0, 20, 40]
    assert pool.map(fail_if_odd, [1, 3], on_error="skip") == []


def test_endless_input_of_failures_is_skipped_over(forked: Any) -> None:
    results = forked.imap(lambda x: fail_if_odd(x % 2000 != 0), itertools.count(), on_error="skip")
    assert [next(results) for _ in range(5)] == [0] * 5
    results.cancel()


@pytest.mark.parametrize("size", [None, 1, 3])
def test_results_are_left_when_a_map_fails(fork: Any, size: int | None) -> None:
    def work(x: int) -> int:
        if x == 40:
            raise ValueError("forty")
        return x * 10

    # One worker: what it did before the task that failed has arrived.
    with fork.Pool(1) as pool, pytest.raises(ValueError, match="forty") as caught:
        pool.map(work, range(50), size)
    pool.join()
    partial = caught.value.partial_results
    assert partial[5] == 50
    assert dict(partial) == {x: x * 10 for x in partial}
    assert len(partial) == len(list(partial)) >= (39 if size else 6)
    assert 40 not in partial
    assert -1 not in partial
    assert isinstance(partial, PartialResults)
    assert len(pickle.loads(pickle.dumps(partial))) == 0


def test_the_first_error_ends_a_map_before_the_others_are_done(forked: Any) -> None:
    gate = allcores.Event()

    def work(x: int) -> None:
        if x == 0:
            raise KeyError("at once")
        gate.wait()

    with pytest.raises(KeyError, match="at once"):
        forked.map(work, range(3), 1)
    gate.set()


# An end before the end.


def test_cancel_ends_what_runs_and_what_waits(pool: Any) -> None:
    result = pool.map_async(time.sleep, [0, *[FOREVER_S] * 100], 1)
    assert result.cancel()
    with pytest.raises(errors.TaskCancelled):
        result.get()
    assert not result.cancel()
    assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
    hanging = pool.apply_async(time.sleep, (FOREVER_S,))
    other = pool.apply_async(abs, (-5,))
    assert other.get() == 5
    assert hanging.cancel()
    with pytest.raises(errors.TaskCancelled):
        hanging.get()
    assert not other.cancel()


def test_cancel_wakes_who_waits(forked: Any) -> None:
    result = forked.apply_async(time.sleep, (FOREVER_S,))
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            result.get()
        except errors.TaskCancelled as error:
            caught.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: bool(forked._line.waiting))
    result.cancel()
    waiting.join()
    assert caught


def test_imap_can_be_cancelled(forked: Any) -> None:
    results = forked.imap(sleep_if_3, itertools.count())
    assert [next(results) for _ in range(3)] == [0, 10, 20]
    assert results.cancel()
    with pytest.raises(errors.TaskCancelled):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert forked.map(abs, [-1, -2]) == [1, 2]


def test_nothing_is_left_behind(fork: Any) -> None:
    before = blocks()
    with fork.Pool(2) as pool:
        payload = b"x" * 100_000
        for _ in range(3):
            result = pool.map_async(lambda x: time.sleep(FOREVER_S), [payload] * 20, 1)
            result.cancel()
            assert pool.map(len, [payload] * 5, timeout=150) == [100_000] * 5
        del result
    pool.join()
    del pool
    eventually(lambda: blocks() <= before)


# Executors.


def test_an_executors_calls_have_options(ctx: Any, tmp_path: Path) -> None:
    with allcores.ProcessPoolExecutor(2, ctx) as executor:
        limited = executor.with_options(timeout=LIMIT_S, retries=2)
        with pytest.raises(errors.TaskTimeout):
            executor.with_options(timeout=0.2).submit(time.sleep, FOREVER_S).result()
        assert limited.submit(hang_twice, tmp_path, 3).result() == 30
        assert list(limited.map(abs, range(-5, 0), chunksize=3)) == [5, 4, 3, 2, 1]
        (tmp_path / "d").mkdir()
        assert limited.submit(die_twice, tmp_path / "d", 3).result() == 30
        done = limited.submit(abs, -1)
        assert done.result() == 1
        assert not done.cancel(force=True)


def throw(_: object = None, *, sides: int = 1 << 30) -> int:
    return random.randrange(sides)


def test_an_executors_calls_have_random_numbers_of_a_seed(ctx: Any) -> None:
    with ctx.Pool(2) as pool:
        expected = pool.map(throw, range(6), seed=7)
        first = pool.apply(throw, seed=7)
    pool.join()
    for workers in (1, 2):
        with allcores.ProcessPoolExecutor(workers, ctx) as executor:
            seeded = executor.with_options(seed=7, retries=1)
            futures = [seeded.submit(throw, sides=1 << 30) for _ in range(6)]
            assert [future.result() for future in futures] == expected
            assert list(seeded.map(throw, range(6), chunksize=4)) == expected
            assert list(executor.with_options(seed=7).map(throw, range(6), buffersize=2)) == (
                expected
            )
            assert list(seeded.map(lambda a, b: throw(), range(6), range(6))) == expected
            assert executor.submit(throw).result() != first == expected[0]
            with pytest.raises(TypeError, match="seed must be a whole number"):
                executor.with_options(seed="7")
            broken = seeded.submit(pow, 1, threading.Lock())
            with pytest.raises(errors.NotPicklable, match="argument 2 of"):
                broken.result()


def test_a_running_future_is_cancelled_by_force(ctx: Any) -> None:
    with allcores.ProcessPoolExecutor(1, ctx) as executor:
        future = executor.submit(time.sleep, FOREVER_S)
        eventually(future.running)
        assert not future.cancel()
        assert future.cancel(force=True)
        assert future.cancelled()
        assert executor.submit(abs, -1).result() == 1


def test_asyncios_cancellation_stops_the_work(ctx: Any) -> None:
    async def main(executor: Any) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(executor, time.sleep, FOREVER_S), 0.2)
        assert await loop.run_in_executor(executor, abs, -1) == 1

    with allcores.ProcessPoolExecutor(1, ctx) as executor:
        asyncio.run(main(executor), debug=True)


# Bad input.


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"timeout": 0}, ValueError, "more than 0 seconds"),
        ({"timeout": -1}, ValueError, "more than 0 seconds"),
        ({"timeout": float("nan")}, ValueError, "more than 0 seconds"),
        ({"timeout": "soon"}, TypeError, "number of seconds"),
        ({"retries": -1}, ValueError, "0 or more"),
        ({"retries": 1.5}, TypeError, "whole number"),
        ({"on_error": "ignore"}, ValueError, '"raise", "return" or "skip"'),
        ({"timeuot": 1}, TypeError, "timeuot.*on_error, progress, retries, seed, timeout"),
    ],
)
def test_wrong_options_are_refused(forked: Any, options: Any, kind: type, text: str) -> None:
    for call in (forked.map, forked.map_async, forked.imap, forked.imap_unordered):
        with pytest.raises(kind, match=text):
            call(abs, [1], **options)
    with pytest.raises(TypeError, match=r"on_error.*retries, seed, timeout"):
        forked.apply(abs, (1,), on_error="skip")


class SlowToImport:
    """Takes longer to unpack than a task may take."""

    def __call__(self, x: int) -> int:
        return -x

    def __reduce__(self) -> tuple[Any, ...]:
        return _slow_import, ()


def _slow_import() -> SlowToImport:
    time.sleep(1.5 * LIMIT_S)
    return SlowToImport()


def test_what_a_function_imports_does_not_count(forked: Any) -> None:
    assert forked.map(SlowToImport(), range(20), timeout=LIMIT_S) == [-x for x in range(20)]
    hanging = forked.map_async(SlowToImport(), range(20), timeout=LIMIT_S)
    assert hanging.cancel()
