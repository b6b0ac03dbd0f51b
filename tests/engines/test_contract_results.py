"""What every engine makes of a call: results, their order, how far input is read, options."""

from __future__ import annotations

import io
import itertools
import operator
import random
import threading
from typing import Any

import allcores
import numpy
import pytest
from allcores import errors


def square(x: int) -> int:
    return x * x


def minus(a: int, b: int = 1) -> int:
    return a - b


def fails_below_three(tried: Any, x: int) -> int:
    with tried.get_lock():
        tried.value += 1
        number = tried.value
    if number < 3:
        raise LookupError(f"try {number}")
    return x


def test_every_method_returns_what_the_builtin_would(pool: Any) -> None:
    squares = [x * x for x in range(30)]
    assert pool.apply(minus, (5,), {"b": 2}) == 3
    assert pool.apply_async(minus, (5, 3)).get() == 2
    assert pool.map(square, range(30)) == squares
    assert pool.map_async(square, range(30), 7).get() == squares
    assert pool.starmap(minus, [(3, 1), (2, 2)]) == [2, 0]
    assert pool.starmap(minus, [(3, 1), (2, 2)], 1) == [2, 0]
    assert pool.starmap_async(minus, zip([3, 2], [1, 2], strict=True)).get() == [2, 0]
    for size in (1, 4):
        assert list(pool.imap(square, range(30), size)) == squares
        assert sorted(pool.imap_unordered(square, range(30), size)) == squares


@pytest.mark.parametrize("size", [None, 1, 3, 1000])
@pytest.mark.parametrize("form", [list, tuple, set, iter, lambda r: r, lambda r: (x for x in r)])
def test_any_iterable_and_any_chunksize_do(pool: Any, form: Any, size: int | None) -> None:
    assert pool.map(square, form(range(50)), size) == [x * x for x in range(50)]
    assert list(pool.imap(square, form(range(50)), size)) == [x * x for x in range(50)]


def test_nothing_gives_nothing(pool: Any) -> None:
    for size in (None, 1):
        assert pool.map(square, [], size) == []
        assert pool.starmap(square, iter([]), size) == []
        assert list(pool.imap(square, [], size)) == []
        assert list(pool.imap_unordered(square, iter([]), size)) == []
    called: list[Any] = []
    assert pool.map_async(square, [], callback=called.append).get() == []
    assert called == [[]]


def test_rows_of_an_array_are_items(pool: Any) -> None:
    array = numpy.arange(20.0).reshape(10, 2)
    assert pool.map(numpy.sum, array) == [row.sum() for row in array]
    assert list(pool.imap(numpy.sum, array, 3)) == [row.sum() for row in array]


def test_many_items_come_in_order(pool: Any) -> None:
    assert pool.map(square, range(20_000)) == [x * x for x in range(20_000)]
    assert pool.map(square, range(5000), 1) == [x * x for x in range(5000)]


def test_an_endless_input_is_read_a_bounded_distance_ahead(pool: Any) -> None:
    read = 0

    def numbers() -> Any:
        nonlocal read
        while True:
            yield read
            read += 1

    results = pool.imap(square, numbers())
    assert [next(results) for _ in range(50)] == [x * x for x in range(50)]
    assert read < 50 + 200
    assert next(pool.imap_unordered(square, itertools.count(), 5)) >= 0


def test_threads_that_ask_at_the_same_time_each_get_their_own(pool: Any) -> None:
    failed: list[Any] = []

    def ask(start: int) -> None:
        for x in range(start, start + 50):
            if pool.apply(square, (x,)) != x * x:
                failed.append(x)
        if pool.map(square, range(start, start + 50)) != [x * x for x in range(start, start + 50)]:
            failed.append(start)

    threads = [threading.Thread(target=ask, args=(1000 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_several_threads_may_wait_for_one_result(pool: Any) -> None:
    result = pool.map_async(square, range(2000), 1)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(result.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[x * x for x in range(2000)]] * 4


def test_callbacks_get_values_and_errors(pool: Any) -> None:
    called: list[Any] = []
    pool.apply_async(square, (3,), callback=called.append).wait()
    pool.map_async(square, range(3), callback=called.append).wait()
    pool.apply_async(square, ("a",), error_callback=called.append).wait()
    assert called[:2] == [9, [0, 1, 4]]
    assert isinstance(called[2], TypeError)


def test_a_callback_runs_though_nobody_waits(pool: Any) -> None:
    called = threading.Event()
    result = pool.apply_async(square, (3,), callback=lambda value: called.set())
    assert called.wait(60)
    result.wait()
    assert result.ready()
    assert result.successful()


def test_the_options_of_a_map(pool: Any) -> None:
    def inverse(x: int) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError) as caught:
        pool.map(inverse, [1, 2, 0], 1)
    assert set(caught.value.partial_results.values()) <= {1.0, 0.5}  # type: ignore[attr-defined]
    assert pool.map(inverse, [1, 0, 2], on_error="skip") == [1.0, 0.5]
    one, error, half = pool.map(inverse, [1, 0, 2], on_error="return")
    assert (one, type(error), half) == (1.0, ZeroDivisionError, 0.5)
    assert list(pool.imap(inverse, [0, 1, 0, 2, 0], on_error="skip")) == [1.0, 0.5]
    error, one = pool.imap(inverse, iter([0, 1]), on_error="return")
    assert (type(error), one) == (ZeroDivisionError, 1.0)


def test_a_call_that_failed_is_made_again(pool: Any) -> None:
    for call in (
        lambda tried: pool.apply(fails_below_three, (tried, 5), retries=2),
        lambda tried: pool.starmap(fails_below_three, [(tried, 5)], retries=2)[0],
        lambda tried: next(pool.imap(lambda x: fails_below_three(tried, x), [5], retries=2)),
    ):
        tried = allcores.Value("i", 0)
        assert call(tried) == 5
        assert tried.value == 3
    with pytest.raises(LookupError, match="try 2"):
        pool.apply(fails_below_three, (allcores.Value("i", 0), 5), retries=1)


def test_random_numbers_follow_the_seed(pool: Any) -> None:
    def draw(_: int) -> tuple[float, float]:
        return random.random(), float(numpy.random.random())

    found = pool.map(draw, range(20), seed=7)
    assert len(set(found)) == 20
    assert pool.map(draw, range(20), 1, seed=7) == found
    assert pool.map(draw, iter(range(20)), 7, seed=7) == found
    assert list(pool.imap(draw, range(20), 3, seed=7)) == found
    assert pool.map(draw, range(20), seed=8) != found


def test_a_bar_shows_how_far_a_map_has_come(pool: Any) -> None:
    file = io.StringIO()
    assert pool.map(square, range(50), progress={"file": file}) == [x * x for x in range(50)]
    assert "50/50" in file.getvalue()
    file = io.StringIO()
    assert len(list(pool.imap(square, iter(range(50)), progress={"file": file}))) == 50
    assert "50it" in file.getvalue()


def test_time_that_is_kept_to_changes_nothing(pool: Any) -> None:
    assert pool.apply(square, (3,), timeout=150) == 9
    assert pool.map(square, range(10), timeout=150) == [x * x for x in range(10)]
    assert list(pool.imap(square, range(10), timeout=150)) == [x * x for x in range(10)]


def test_a_result_that_is_cancelled(pool: Any, engine: str) -> None:
    gate = threading.Event() if engine == "threads" else allcores.Event()
    if engine == "inline":
        results = pool.imap(square, range(10))
    else:
        result = pool.apply_async(operator.methodcaller("wait"), (gate,))
        assert result.cancel()
        assert not result.cancel()
        with pytest.raises(errors.TaskCancelled):
            result.get()
        results = pool.imap(operator.methodcaller("wait"), [gate] * 10)
    assert results.cancel()
    with pytest.raises(errors.TaskCancelled):
        next(results)
    assert not results.cancel()
    gate.set()
    assert pool.map(square, range(10)) == [x * x for x in range(10)]


def test_a_pool_inside_a_pool(make: Any) -> None:
    def inner(x: int) -> int:
        with make(2) as pool:
            return sum(pool.map(lambda y: x * y, range(4)))

    with make(2) as pool:
        assert pool.map(inner, range(3)) == [0, 6, 12]
    pool.join()
