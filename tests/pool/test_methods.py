"""Every method of a pool, under every start method."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import multiprocessing.pool
import operator
import os
import pickle
import threading
from typing import Any

import allcores
import numpy
import pytest
from pool_tools import eventually


def square(x: int) -> int:
    return x * x


def minus(a: int, b: int = 1) -> int:
    return a - b


def test_every_method_returns_what_the_builtin_would(pool: Any) -> None:
    squares = [x * x for x in range(30)]
    assert pool.apply(minus, (5,), {"b": 2}) == 3
    assert pool.apply_async(minus, (5, 3)).get() == 2
    assert pool.map(square, range(30)) == squares
    assert pool.map_async(square, range(30), 7).get() == squares
    assert pool.starmap(minus, [(3, 1), (2, 2)]) == [2, 0]
    assert pool.starmap_async(minus, zip([3, 2], [1, 2], strict=True)).get() == [2, 0]
    for size in (1, 4):
        assert list(pool.imap(square, range(30), size)) == squares
        assert sorted(pool.imap_unordered(square, range(30), size)) == squares


def test_code_that_has_no_name_travels(pool: Any) -> None:
    offset = 10

    class Adder:
        def __call__(self, x: int) -> int:
            return x + offset

    assert pool.map(lambda x: x + offset, range(3)) == [10, 11, 12]
    assert pool.map(Adder(), range(3)) == [10, 11, 12]
    assert pool.apply(functools.partial(minus, b=3), (5,)) == 2
    assert list(pool.imap(lambda x: x + offset, range(3))) == [10, 11, 12]


@pytest.mark.parametrize("size", [None, 1, 3, 1000])
@pytest.mark.parametrize(
    "make",
    [list, tuple, set, iter, dict.fromkeys, lambda r: r, lambda r: (x for x in r)],
)
def test_any_iterable_and_any_chunksize_do(forked: Any, make: Any, size: int | None) -> None:
    assert forked.map(square, make(range(50)), size) == [x * x for x in range(50)]
    assert list(forked.imap(square, make(range(50)), size)) == [x * x for x in range(50)]


def test_rows_of_an_array_are_items(forked: Any) -> None:
    array = numpy.arange(20.0).reshape(10, 2)
    assert forked.map(numpy.sum, array) == [row.sum() for row in array]
    assert list(forked.imap(numpy.sum, array, 3)) == [row.sum() for row in array]


def test_nothing_gives_nothing(forked: Any) -> None:
    for size in (None, 1):
        assert forked.map(square, [], size) == []
        assert forked.starmap(square, iter([]), size) == []
        assert list(forked.imap(square, [], size)) == []
        assert list(forked.imap_unordered(square, iter([]), size)) == []
    called: list[Any] = []
    assert forked.map_async(square, [], callback=called.append).get() == []
    assert called == [[]]


def test_large_arguments_results_and_functions_arrive(pool: Any) -> None:
    data = os.urandom(5 << 20)
    assert pool.apply(bytes, (data,)) == data
    assert pool.map(lambda x: data[x], range(100)) == list(data[:100])


def test_a_callback_runs_though_nobody_waits(pool: Any) -> None:
    called: list[Any] = []
    pool.apply_async(square, (3,), callback=called.append)
    eventually(lambda: called == [9])
    pool.map_async(square, range(3), callback=called.append)
    eventually(lambda: called == [9, [0, 1, 4]])
    pool.apply_async(square, ("a",), error_callback=called.append)
    eventually(lambda: len(called) == 3)
    assert isinstance(called[2], TypeError)


class Noted:
    """A callback that notes what it is called with, as soon as it gets the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values: list[int] = []

    def __call__(self, value: int) -> None:
        with self.lock:
            self.values.append(value)


def test_a_callback_never_runs_in_a_caller_that_is_at_something_else(pool: Any) -> None:
    """A caller who holds the lock that callbacks want goes on with its calls meanwhile."""
    note = Noted()
    with note.lock:
        results = [pool.apply_async(square, (i,), callback=note) for i in range(1000)]
        # This thread takes the others' results off the ring as well.
        assert pool.map(square, range(1000), 1) == [i * i for i in range(1000)]
        assert not note.values
    assert [result.get() for result in results] == [i * i for i in range(1000)]
    assert sorted(note.values) == [i * i for i in range(1000)]  # called back before `get` returned


def test_a_callback_that_is_due_runs_though_the_pool_ends(forked: Any) -> None:
    """Its result has come, in a thread that doesn't call back; the pool is closed then."""
    note = Noted()
    with note.lock:
        for i in range(300):
            forked.apply_async(square, (i,), callback=note)
        assert forked.apply(square, (1,)) == 1
        forked.close()
    forked.join()
    assert sorted(note.values) == [i * i for i in range(300)]


def test_callbacks_run_one_after_the_other_in_the_order_of_results(fork: Any) -> None:
    called: list[tuple[int, int]] = []
    with fork.Pool(1) as pool:
        results = [
            pool.apply_async(
                square, (i,), callback=lambda value: called.append((value, threading.get_ident()))
            )
            for i in range(500)
        ]
        assert results[-1].get() == 499**2
        assert [value for value, _ in called] == [i * i for i in range(500)]
        assert len({thread for _, thread in called}) == 1
        assert called[0][1] != threading.get_ident()
    pool.join()


def test_an_error_callback_has_run_when_the_error_is_raised(forked: Any) -> None:
    """Also when another call's `get` has taken the failure off."""
    for _ in range(100):
        errors: list[Any] = []
        failing = forked.map_async(square, [1, "a", 3], 1, error_callback=errors.append)
        assert forked.map(square, range(20), 1)[3] == 9
        with pytest.raises(TypeError):
            failing.get()
        assert [type(error) for error in errors] == [TypeError]


def test_what_ends_one_callback_costs_no_other(forked: Any) -> None:
    reported: list[Any] = []
    called: list[int] = []
    before, threading.excepthook = threading.excepthook, reported.append

    def leave(value: int) -> None:
        called.append(value)
        raise SystemExit(3)

    try:
        results = [forked.apply_async(square, (i,), callback=leave) for i in range(10)]
        assert [result.get() for result in results] == [i * i for i in range(10)]
        eventually(lambda: len(reported) == 10)  # what ends a callback is reported behind it
    finally:
        threading.excepthook = before
    assert sorted(called) == [i * i for i in range(10)]
    assert {args.exc_type for args in reported} == {SystemExit}


def test_a_callback_that_fails_is_reported_and_costs_nothing_else(forked: Any) -> None:
    reported: list[Any] = []
    before, threading.excepthook = threading.excepthook, reported.append
    try:
        result = forked.apply_async(square, (3,), callback=lambda _: 1 / 0)
        assert result.get() == 9
        assert forked.apply(square, (4,)) == 16
    finally:
        threading.excepthook = before
    assert [args.exc_type for args in reported] == [ZeroDivisionError]


def test_a_result_that_is_not_there_yet_says_so(forked: Any) -> None:
    gate = allcores.Event()
    result = forked.apply_async(gate.wait)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.01)
    with pytest.raises(multiprocessing.TimeoutError):
        forked.imap(operator.methodcaller("wait"), iter([gate])).next(timeout=0)
    gate.set()
    assert result.get() is True
    assert result.successful()


def test_threads_that_wait_at_the_same_time_each_get_their_own(forked: Any) -> None:
    failed: list[Any] = []

    def ask(start: int) -> None:
        for x in range(start, start + 100):
            if forked.apply(square, (x,)) != x * x:
                failed.append(x)

    threads = [threading.Thread(target=ask, args=(1000 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_imap_reads_an_endless_input_a_bounded_distance_ahead(pool: Any) -> None:
    read = 0

    def numbers() -> Any:
        nonlocal read
        while True:
            yield read
            read += 1

    ordered = pool.imap(square, numbers())
    assert [next(ordered) for _ in range(50)] == [x * x for x in range(50)]
    assert read < 50 + 200
    assert next(pool.imap_unordered(square, itertools.count(), 5)) >= 0


def test_imap_goes_on_behind_a_call_that_fails(forked: Any) -> None:
    results = forked.imap(lambda x: 1 / x, [1, 0, 2])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 0.5
    with pytest.raises(StopIteration):
        next(results)


def test_an_input_that_waits_for_results_gets_them(forked: Any) -> None:
    """The input's thread isn't the consumer's, so one may wait for the other."""
    seen = threading.Semaphore(0)

    def after_the_first() -> Any:
        yield 1
        seen.acquire()
        yield 2

    results = forked.imap(square, after_the_first())
    assert next(results) == 1
    seen.release()
    assert next(results) == 4


def test_a_closed_pool_reads_the_input_to_its_end(fork: Any) -> None:
    pool = fork.Pool(2)
    results = pool.imap(square, range(1000))
    others = pool.imap_unordered(square, iter(range(1000)))
    pool.close()
    pool.join()
    assert list(results) == [x * x for x in range(1000)]
    assert len(list(others)) == 1000


def test_primitives_travel_as_arguments(pool: Any, ctx: Any) -> None:
    lock = ctx.Lock()
    assert pool.map(lambda lock: lock.acquire(timeout=1), [lock]) == [True]


def test_an_initializer_sets_what_its_functions_find(ctx: Any) -> None:
    def prepare(value: int) -> None:
        os.environ["ALLCORES_TEST"] = str(value)

    with ctx.Pool(2, prepare, (17,)) as pool:
        assert set(pool.map(lambda _: os.environ["ALLCORES_TEST"], range(8))) == {"17"}


def test_a_pool_inside_a_pool(ctx: Any) -> None:
    method = ctx.get_start_method()

    def inner(x: int) -> int:
        with allcores.get_context(method).Pool(2) as pool:
            return sum(pool.map(lambda y: x * y, range(4)))

    with ctx.Pool(2) as pool:
        assert pool.map(inner, range(3)) == [0, 6, 12]


def test_it_is_what_other_libraries_look_for(forked: Any) -> None:
    assert isinstance(forked, multiprocessing.pool.Pool)
    assert isinstance(forked.apply_async(square, (1,)), multiprocessing.pool.AsyncResult)
    assert isinstance(forked.map_async(square, [1]), multiprocessing.pool.MapResult)
    assert isinstance(forked.imap(square, [1]), multiprocessing.pool.IMapIterator)
    assert forked._processes == len(forked._pool) == 2
    assert all(worker.is_alive() for worker in forked._pool)
    assert "state=RUN pool_size=2" in repr(forked)
    with pytest.raises(NotImplementedError):
        pickle.dumps(forked)


def test_a_context_of_the_standard_library_gives_a_pool_of_ours() -> None:
    with allcores.pool.Pool(1, context=multiprocessing.get_context("fork")) as pool:
        assert pool.map(lambda x: x + 1, [1]) == [2]
