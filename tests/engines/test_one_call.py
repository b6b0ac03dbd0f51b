"""`map`, `imap` and `amap`: a pool for one call."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import operator
import os
import random
import threading
from typing import Any

import allcores as mp
import pytest
from allcores import errors

ENGINES = ["auto", "processes", "threads", "inline"]
WITH_WORKERS = ["processes", "threads"]

engines = pytest.mark.parametrize("engine", ENGINES)
with_workers = pytest.mark.parametrize("engine", WITH_WORKERS)


def square(x: int) -> int:
    return x * x


def process_and_thread(_: int) -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def here() -> tuple[int, int]:
    return process_and_thread(0)


def gate_for(engine: str) -> Any:
    return threading.Event() if engine == "threads" else mp.Event()


# What comes of it.


@engines
def test_results_are_those_of_the_builtin(engine: Any) -> None:
    assert mp.map(square, range(100), engine=engine) == [x * x for x in range(100)]
    assert mp.map(square, (x for x in range(100)), engine=engine) == [x * x for x in range(100)]
    assert mp.map(square, [], engine=engine) == []
    assert mp.map(pow, [1, 2, 3], [2, 2, 2], engine=engine) == [1, 4, 9]
    assert mp.map(pow, [2, 3], [5, 2], [7, 7], engine=engine) == [4, 2]
    assert mp.map(pow, [1, 2, 3], itertools.repeat(2), engine=engine) == [1, 4, 9]
    assert mp.map(pow, iter([1, 2, 3]), iter([2, 2]), engine=engine) == [1, 4]
    assert mp.map(square, range(10), engine=engine, chunksize=3) == [x * x for x in range(10)]


@engines
def test_imap_gives_them_one_by_one(engine: Any) -> None:
    assert list(mp.imap(square, range(100), engine=engine)) == [x * x for x in range(100)]
    assert list(mp.imap(pow, [1, 2, 3], itertools.repeat(2), engine=engine)) == [1, 4, 9]
    found = mp.imap(square, range(100), engine=engine, ordered=False, chunksize=7)
    assert sorted(found) == [x * x for x in range(100)]
    assert list(mp.imap(square, [], engine=engine)) == []
    with mp.imap(square, itertools.count(), engine=engine) as results:
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert list(results) == []


@engines
def test_amap_awaits_them(engine: Any) -> None:
    async def main() -> None:
        assert await mp.amap(square, range(100), engine=engine) == [x * x for x in range(100)]
        assert await mp.amap(pow, [1, 2], itertools.repeat(2), engine=engine) == [1, 4]
        with pytest.raises(ZeroDivisionError):
            await mp.amap(lambda x: 1 / x, [1, 0], engine=engine)
        several = (mp.amap(square, range(n), engine=engine) for n in range(4))
        assert await asyncio.gather(*several) == [[], [0], [0, 1], [0, 1, 4]]

    asyncio.run(main(), debug=True)


@engines
def test_their_options(engine: Any) -> None:
    def inverse(x: int) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError) as caught:
        mp.map(inverse, [1, 0], engine=engine, workers=1, chunksize=1)
    assert dict(caught.value.partial_results) == {0: 1.0}  # type: ignore[attr-defined]
    assert mp.map(inverse, [1, 0, 2], engine=engine, on_error="skip") == [1.0, 0.5]
    assert list(mp.imap(inverse, [1, 0, 2], engine=engine, on_error="skip")) == [1.0, 0.5]
    returned = mp.map(inverse, [1, 0], engine=engine, on_error="return")
    assert isinstance(returned[1], ZeroDivisionError)
    assert mp.map(square, [3], engine=engine, timeout=150, retries=2) == [9]


def draw(*_: Any) -> float:
    return random.random()


@engines
def test_a_seed_gives_the_same_numbers_everywhere(engine: Any) -> None:
    reference = mp.map(draw, range(30), engine="inline", seed=7)
    assert len(set(reference)) == 30
    assert reference != mp.map(draw, range(30), engine="inline", seed=8)
    how: Any = {"engine": engine, "seed": 7}
    assert mp.map(draw, range(30), **how) == reference
    assert mp.map(draw, range(30), itertools.repeat(0), chunksize=7, **how) == reference
    assert list(mp.imap(draw, range(30), chunksize=4, **how)) == reference
    assert list(mp.imap(draw, range(30), range(30), **how)) == reference
    assert asyncio.run(mp.amap(draw, iter(range(30)), **how)) == reference


@engines
def test_a_bar_says_how_many_there_will_be(engine: Any) -> None:
    def shown(form: Any, *iterables: Any) -> str:
        file = io.StringIO()
        found = form(pow, *iterables, engine=engine, progress={"file": file, "desc": "bar"})
        assert len(list(found)) == 3
        text = file.getvalue().strip().split("\r")[-1]
        assert text.startswith("bar: ")
        return text

    for form in (mp.map, mp.imap, lambda *args, **kw: asyncio.run(mp.amap(*args, **kw))):
        assert "3/3" in shown(form, [1, 2, 3], itertools.repeat(2))
        assert "3/3" in shown(form, [1, 2, 3], (1, 2, 3))
        # One that may end before the rest.
        assert "/9" not in shown(form, range(9), iter([1, 2, 3]))


@with_workers
def test_a_call_that_overruns(engine: Any) -> None:
    gate = gate_for(engine)

    def work(wait: bool) -> bool:
        return gate.wait() if wait else True

    # (The others keep to it also when they get no core for some seconds.)
    found = mp.map(work, [False, True, False], engine=engine, timeout=8, on_error="skip")
    assert found == [True, True]
    gate.set()


# Who does it.


def test_where_calls_are_made() -> None:
    assert set(mp.map(process_and_thread, range(4), workers=0)) == {here()}
    assert set(mp.map(process_and_thread, range(4), workers=0, engine="processes")) == {here()}
    assert set(mp.map(process_and_thread, range(4), engine="inline")) == {here()}
    assert mp.map(process_and_thread, range(1)) == [here()]
    assert set(mp.map(process_and_thread, range(4), workers=1)) == {here()}
    threads = mp.map(process_and_thread, range(4), workers=2, engine="threads")
    assert {pid for pid, _ in threads} == {os.getpid()}
    assert here() not in threads
    for apart in (
        mp.map(process_and_thread, range(4), workers=2),
        mp.map(process_and_thread, iter(range(1)), workers=2),
        mp.map(process_and_thread, range(4), workers=1, timeout=150),
        mp.map(process_and_thread, range(1), workers=2, engine="processes"),
        # The loop has other things to do.
        asyncio.run(mp.amap(process_and_thread, range(1))),
    ):
        assert os.getpid() not in {pid for pid, _ in apart}


def test_there_are_never_more_workers_than_items(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    init = mp.pool.ThreadPool.__init__
    monkeypatch.setattr(
        mp.pool.ThreadPool, "__init__", lambda self, n: (made.append(n), init(self, n))[1]
    )
    mp.map(square, range(3), workers=50, engine="threads")
    mp.map(square, [], workers=50, engine="threads")
    mp.map(square, iter(range(3)), workers=4, engine="threads")
    assert made == [3, 1, 4]


# Bad input.


def test_input_that_makes_no_sense() -> None:
    for kind, text, call in (
        (ValueError, "differ in length: 2 in iterable 1, 1 in", lambda f: f(pow, [1, 2], [2])),
        (ValueError, "differ in length", lambda f: f(pow, [1, 2], itertools.repeat(1), (1,))),
        (TypeError, "nothing to go through", lambda f: f(square)),
        (TypeError, "func must be something that can be called", lambda f: f(3, [1])),
        (TypeError, "iterable 2 must be something to go through", lambda f: f(pow, [1], 2)),
        (ValueError, "workers must be 0 .* not -1", lambda f: f(square, [1], workers=-1)),
        (TypeError, "workers must be a whole number", lambda f: f(square, [1], workers="two")),
        (TypeError, "workers must be a whole number", lambda f: f(square, [1], workers=True)),
        (TypeError, "workers must be a whole number", lambda f: f(square, [1], workers=0.5)),
        (
            ValueError,
            "no engine 'gpu'; there are 'auto', 'processes', 'threads', 'inline'",
            lambda f: f(square, [1], engine="gpu"),
        ),
        (ValueError, "must be 1\\+", lambda f: f(square, [1], chunksize=0)),
        (ValueError, "timeout must be more than 0", lambda f: f(square, [1], timeout=0)),
        (ValueError, "retries must be 0 or more", lambda f: f(square, [1], retries=-1)),
        (ValueError, "on_error must be", lambda f: f(square, [1], on_error="ignore")),
    ):
        for form in (mp.map, mp.imap, lambda *args, **kw: asyncio.run(mp.amap(*args, **kw))):
            with pytest.raises(kind, match=text):
                call(form)


def test_names_of_the_package() -> None:
    """After ``from allcores import *`` the builtin map is what it was."""
    assert {"imap", "amap"} <= set(mp.__all__)
    assert "map" not in mp.__all__
    assert mp.map.__module__ == "allcores.calls"


# The end of it.


@with_workers
def test_nothing_is_left_of_an_iterator_that_nobody_goes_through(engine: Any) -> None:
    gate = gate_for(engine)
    for end in ("close", "forget", "fail", "leave"):
        results = mp.imap(operator.methodcaller("wait"), [gate] * 4, engine=engine, workers=2)
        pool: Any = results._pool
        if end == "close":
            results.close()
            results.close()
            assert list(results) == []
        elif end == "leave":
            with results:
                pass
        elif end == "fail":
            results.close()
            results = mp.imap(lambda x: 1 / x, itertools.count(), engine=engine, workers=2)
            pool = results._pool
            with pytest.raises(ZeroDivisionError):
                next(results)
            with pytest.raises(StopIteration):
                next(results)
        del results
        gc.collect()
        assert pool._state == "TERMINATE"
        gate.set()
        pool.join()


def test_an_error_ends_what_runs_beside() -> None:
    """The other call would never end."""
    for engine in WITH_WORKERS:
        gate = gate_for(engine)

        def work(x: int, gate: Any = gate) -> Any:
            return gate.wait() if x else 1 / x

        with pytest.raises(ZeroDivisionError):
            mp.map(work, [1, 0], engine=engine, workers=2, chunksize=1)  # type: ignore[call-overload]
        gate.set()


def test_an_error_stops_the_threads_that_run_beside() -> None:
    raised: list[str] = []
    began, ended = threading.Event(), threading.Event()

    def spin() -> None:  # (test_threads.py: Spin)
        while not ended.is_set():
            pass

    def work(x: int) -> None:
        if x == 0:
            began.wait()
            raise LookupError
        try:
            began.set()
            spin()
        except BaseException as error:
            raised.append(type(error).__name__)
            ended.set()
            raise

    with pytest.raises(LookupError):
        mp.map(work, [1, 0], engine="threads", workers=2, chunksize=1)
    ended.wait()
    assert raised == ["TaskCancelled"]


@with_workers
def test_cancelling_who_awaits_ends_the_work(engine: Any) -> None:
    began, gate = gate_for(engine), gate_for(engine)
    ends: list[str] = []

    def work(x: int) -> Any:
        began.set()
        return gate.wait()

    async def main() -> None:
        task = asyncio.create_task(mp.amap(work, [1, 2], engine=engine, workers=2))
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ends.append("cancelled")
        # The workers are gone.
        assert mp.active_children() == []
        assert not [t for t in threading.enumerate() if t.name == "allcores-amap"]
        # At once, and while the input is read.
        for items in ([1, 2], itertools.repeat(1)):
            task = asyncio.create_task(mp.amap(work, items, engine=engine, workers=2))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        # And while the workers are busy, and it isn't.
        began.clear()
        task = asyncio.create_task(mp.amap(work, itertools.repeat(1), engine=engine, workers=2))
        await asyncio.to_thread(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert mp.active_children() == []
        assert await mp.amap(square, [2, 3], engine=engine) == [4, 9]

    try:
        asyncio.run(main(), debug=True)
    finally:
        gate.set()
    assert ends == ["cancelled"]


def test_who_cancels_twice_does_not_wait_for_the_input() -> None:
    reads, more = threading.Event(), threading.Event()

    def slow() -> Any:
        reads.set()
        more.wait()
        yield 1

    async def main() -> None:
        task = asyncio.create_task(mp.amap(square, slow(), engine="threads"))
        await asyncio.to_thread(reads.wait)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Only this loop can end the input.
        more.set()

    asyncio.run(main(), debug=True)
    for thread in threading.enumerate():
        if thread.name == "allcores-amap":
            thread.join()


@with_workers
def test_the_loop_goes_on_meanwhile(engine: Any) -> None:
    gate = gate_for(engine)

    async def main() -> None:
        task = asyncio.create_task(mp.amap(lambda g: g.wait(), [gate, gate], engine=engine))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        assert await task == [True, True]

    asyncio.run(main(), debug=True)


def test_what_a_call_raises_arrives_in_the_coroutine() -> None:
    def exhausted(x: int) -> None:
        raise StopIteration(x)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await mp.amap(exhausted, [1, 2], engine="threads")
        with pytest.raises(errors.TaskExited):
            await mp.amap(lambda x: exec("raise SystemExit(3)"), [1, 2], engine="threads")

    asyncio.run(main())
