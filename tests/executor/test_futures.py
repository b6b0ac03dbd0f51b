"""What `submit` returns is a future of the standard library's, in every respect."""

from __future__ import annotations

import asyncio
import concurrent.futures as std
import pickle
import threading
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]
from typing import Any

import allcores
import pytest
from allcores import errors


def square(x: int) -> int:
    return x * x


def fail(text: str) -> None:
    raise LookupError(text)


def count_up(counter: Any) -> int:
    with counter.get_lock():
        counter.value += 1
        return int(counter.value)


def test_the_essentials_under_each_start_method(ctx: Any) -> None:
    offset = 10
    with allcores.ProcessPoolExecutor(2, ctx) as executor:
        assert isinstance(executor, std.Executor)
        future = executor.submit(pow, 2, exp=10)
        assert isinstance(future, std.Future)
        assert future.result() == 1024
        assert executor.submit(lambda x: x + offset, 1).result() == 11
        assert list(executor.map(square, range(9), chunksize=2)) == [x * x for x in range(9)]
        with pytest.raises(errors.WorkerDied, match="exit code 3"):
            executor.submit(__import__("os")._exit, 3).result()
        assert executor.submit(square, 5).result() == 25


def test_an_exception_has_the_remote_traceback_as_its_cause(executor: Any) -> None:
    future = executor.submit(fail, "here")
    with pytest.raises(LookupError, match="here") as caught:
        future.result()
    assert "in fail" in str(caught.value.__cause__)
    assert future.exception() is caught.value
    assert executor.submit(square, 2).exception() is None


def test_what_cannot_travel_fails_its_future_alone(executor: Any) -> None:
    lock = threading.Lock()
    bad = [
        executor.submit(square, lock),
        executor.submit(lambda: lock),
        executor.submit(threading.Lock),
    ]
    assert executor.submit(square, 3).result() == 9
    kinds = (pickle.PicklingError, TypeError, MaybeEncodingError)
    assert all(isinstance(future.exception(), kinds) for future in bad)


def test_sys_exit_is_an_error_of_that_future(executor: Any) -> None:
    error = executor.submit(exit, 7).exception()
    assert isinstance(error, errors.TaskExited)
    assert executor.submit(square, 3).result() == 9


def test_a_timeout_leaves_the_call_alone(busy: Any) -> None:
    future = busy.begun[0]
    for ask in (future.result, future.exception):
        for seconds in (0, 0.01, -1):
            with pytest.raises(TimeoutError):
                ask(timeout=seconds)
    busy.gate.set()
    assert future.result(timeout=150) is True
    assert future.done()
    assert not future.running()
    assert not future.cancel()


def test_states(busy: Any) -> None:
    waiting = busy.submit(square, 2)
    assert all(future.running() and not future.done() for future in busy.begun)
    assert not waiting.running()
    assert not waiting.done()
    assert not waiting.cancelled()
    assert "pending" in repr(waiting)
    assert waiting.cancel()
    assert waiting.cancel()
    assert waiting.cancelled()
    assert waiting.done()
    assert not waiting.running()
    for ask in (waiting.result, waiting.exception):
        with pytest.raises(std.CancelledError):
            ask()
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(waiting)


@pytest.mark.parametrize("count", [1, 300, 3000])
def test_a_cancelled_call_is_not_made(busy: Any, count: int) -> None:
    """However many there are: on the ring, and behind it."""
    counter = allcores.Value("i", 0)
    futures = [busy.submit(count_up, counter) for _ in range(count)]
    assert not any(future.cancel() for future in busy.begun)
    assert all(future.cancel() for future in futures[::2])
    busy.gate.set()
    kept = [future.result() for future in futures[1::2]]
    assert sorted(kept) == list(range(1, count // 2 + 1))
    assert all(future.cancelled() for future in futures[::2])
    assert counter.value == count // 2


def test_calls_behind_many_cancelled_ones_are_made_while_a_worker_is_busy(executor: Any) -> None:
    gate = allcores.Event()
    first, second = executor.submit(gate.wait), allcores.Event()
    other = executor.submit(second.wait)
    futures = [executor.submit(square, x) for x in range(2000)]
    assert all(future.cancel() for future in futures[:1990])
    second.set()
    assert [future.result() for future in futures[1990:]] == [x * x for x in range(1990, 2000)]
    assert other.result()
    assert first.running()
    gate.set()


def test_wait_and_as_completed(executor: Any) -> None:
    futures = [executor.submit(square, x) for x in range(2000)]
    done, left = std.wait(futures)
    assert (len(done), len(left)) == (2000, 0)
    again = [executor.submit(square, x) for x in range(2000)]
    assert {future.result() for future in std.as_completed(again + futures[:5])} == {
        x * x for x in range(2000)
    }


def test_wait_for_the_first(busy: Any) -> None:
    done, left = std.wait(busy.begun, timeout=0.01)
    assert (done, left) == (set(), set(busy.begun))
    extra = busy.submit(square, 1)
    extra.cancel()
    done, left = std.wait([*busy.begun, extra], return_when=std.FIRST_COMPLETED)
    assert done == {extra}
    with pytest.raises(TimeoutError):
        list(std.as_completed(busy.begun, timeout=0.01))
    bad = std.Future[int]()
    threading.Timer(0.01, bad.set_exception, (LookupError(),)).start()
    done, left = std.wait([*busy.begun, bad], return_when=std.FIRST_EXCEPTION)
    assert done == {bad}


def test_callbacks(executor: Any, caplog: pytest.LogCaptureFixture) -> None:
    gate, seen = allcores.Event(), threading.Semaphore(0)
    got: list[Any] = []

    def note(future: Any) -> None:
        got.append(future)
        seen.release()

    future = executor.submit(gate.wait)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(note)
    gate.set()
    assert seen.acquire(timeout=150)  # nobody waits for the result: the keeper brings it
    assert got == [future]
    assert "ZeroDivisionError" in caplog.text
    future.add_done_callback(note)  # it is done: at once
    assert got == [future, future]


def test_a_callback_may_submit(executor: Any) -> None:
    ended = threading.Event()
    futures: list[Any] = []

    def again(future: Any) -> None:
        if len(futures) < 1000:
            futures.append(executor.submit(square, len(futures)))
            futures[-1].add_done_callback(again)
        else:
            ended.set()

    again(None)
    assert ended.wait(150)
    assert [future.result() for future in futures] == [x * x for x in range(1000)]


def test_a_result_does_not_wait_for_callbacks(executor: Any) -> None:
    """Who holds the lock that a future's own callback wants gets its result all the same."""
    lock = threading.Lock()
    called = threading.Event()

    def note(_: Any) -> None:
        with lock:
            called.set()

    gate = allcores.Event()
    with lock:
        future = executor.submit(gate.wait)
        future.add_done_callback(note)
        gate.set()
        assert future.result() is True
        assert not called.is_set()
    assert called.wait(150)


def test_a_cancelled_future_calls_back_and_wakes_who_waits(busy: Any) -> None:
    future = busy.submit(square, 1)
    got: list[Any] = []
    future.add_done_callback(got.append)
    caught: list[Any] = []

    def wait() -> None:
        with pytest.raises(std.CancelledError):
            future.result()
        caught.append(True)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert future.cancel()
    for thread in threads:
        thread.join()
    assert (got, caught) == ([future], [True] * 3)


def test_asyncio(executor: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, square, x) for x in range(1000)]
        assert await asyncio.gather(*calls) == [x * x for x in range(1000)]
        with pytest.raises(LookupError):
            await loop.run_in_executor(executor, fail, "there")
        assert await asyncio.wrap_future(executor.submit(square, 4)) == 16

    asyncio.run(main())


def test_asyncio_cancels(busy: Any) -> None:
    async def main() -> None:
        call = asyncio.wrap_future(future)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    future = busy.submit(square, 1)
    asyncio.run(main())
    assert future.cancelled()


def test_threads_that_submit_and_wait_at_the_same_time_each_get_their_own(executor: Any) -> None:
    failed: list[Any] = []

    def ask(start: int) -> None:
        for x in range(start, start + 200):
            if executor.submit(square, x).result() != x * x:
                failed.append(x)
        futures = [executor.submit(square, x) for x in range(start, start + 500)]
        failed.extend(
            f
            for f, x in zip(futures, range(start, start + 500), strict=True)
            if f.result() != x * x
        )

    threads = [threading.Thread(target=ask, args=(1000 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_an_initializer_that_fails_breaks_the_executor(ctx: Any) -> None:
    with allcores.ProcessPoolExecutor(2, ctx, initializer=fail, initargs=("no",)) as executor:
        futures = [executor.submit(square, 1)]
        with pytest.raises(BrokenProcessPool, match="LookupError: no") as caught:
            futures[0].result()
        assert isinstance(caught.value, errors.InitializerFailed)
        with pytest.raises(BrokenProcessPool):
            executor.submit(square, 1)


def test_many_calls_of_a_broken_executor_all_fail(fork: Any) -> None:
    executor = allcores.ProcessPoolExecutor(2, fork, initializer=fail, initargs=("no",))
    futures: list[Any] = []
    with pytest.raises(BrokenProcessPool), executor:
        while True:
            futures.append(executor.submit(square, 1))
    assert {type(future.exception()) for future in futures} <= {errors.InitializerFailed}


def test_bad_arguments() -> None:
    make = allcores.ProcessPoolExecutor
    for count in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            make(count)
        with pytest.raises(ValueError, match="max_tasks_per_child must be >= 1"):
            make(max_tasks_per_child=count)
    with pytest.raises(TypeError, match="max_workers"):
        make("2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_tasks_per_child"):
        make(max_tasks_per_child=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="initializer"):
        make(initializer=1)  # type: ignore[arg-type]
