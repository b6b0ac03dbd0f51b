"""`ProcessPoolExecutor.map`: results in order, however they are asked for."""

from __future__ import annotations

import itertools
from typing import Any

import allcores
import pytest
from allcores import errors


def square(x: int) -> int:
    return x * x


def bad_at(x: int) -> int:
    if x == 5:
        raise LookupError(x)
    return x


def die_at(x: int) -> int:
    if x == 5:
        __import__("os")._exit(1)
    return x


@pytest.mark.parametrize("buffersize", [None, 1, 3, 1000])
@pytest.mark.parametrize("chunksize", [1, 2, 7, 1000])
def test_variants(executor: Any, chunksize: int, buffersize: int | None) -> None:
    sizes = {"chunksize": chunksize, "buffersize": buffersize}
    assert list(executor.map(square, range(100), **sizes)) == [x * x for x in range(100)]
    assert list(executor.map(pow, range(50), itertools.repeat(2), **sizes)) == [
        x * x for x in range(50)
    ]
    assert list(executor.map(square, [], **sizes)) == []
    assert list(executor.map(square, **sizes)) == []
    assert list(executor.map(pow, (x for x in range(9)), [2] * 5, **sizes)) == [0, 1, 4, 9, 16]


def test_the_input_is_read_at_once_or_as_far_as_the_buffer(executor: Any) -> None:
    numbers = iter(range(100))
    executor.map(square, numbers)
    assert next(numbers, None) is None
    endless = itertools.count()
    results = executor.map(square, endless, buffersize=4)
    assert next(endless) == 4
    assert list(itertools.islice(results, 4)) == [0, 1, 4, 9]
    assert next(endless) == 9
    chunks = executor.map(square, itertools.count(), buffersize=2, chunksize=3)
    assert list(itertools.islice(chunks, 10)) == [x * x for x in range(10)]


@pytest.mark.parametrize("chunksize", [1, 5])
def test_an_error_comes_in_its_place_and_cancels_the_rest(executor: Any, chunksize: int) -> None:
    results = executor.map(bad_at, range(3000), chunksize=chunksize)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(LookupError, match="5"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 4])
def test_a_death_names_the_item(executor: Any, chunksize: int) -> None:
    with pytest.raises(errors.WorkerDied) as caught:
        list(executor.map(die_at, range(10), chunksize=chunksize))
    assert (caught.value.task_index, caught.value.args_repr) == (5, "(5)")
    assert list(executor.map(square, range(3))) == [0, 1, 4]


def test_a_closed_iterator_cancels_what_has_not_begun(busy: Any) -> None:
    counter = allcores.Value("i", 0)

    def count(_: int) -> None:
        with counter.get_lock():
            counter.value += 1

    results = busy.map(count, range(2000))
    with pytest.raises(TimeoutError):
        next(busy.map(count, [1], timeout=0.01))
    # A generator that has not begun has nothing to clean up.
    results_of_timeout = busy.map(count, range(2000), timeout=0)
    with pytest.raises(TimeoutError):
        next(results_of_timeout)
    busy.gate.set()
    list(results)
    assert busy.submit(square, 2).result() == 4
    assert counter.value == 2000


def test_bad_sizes(executor: Any) -> None:
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(square, [1], chunksize=0)
    with pytest.raises(ValueError, match="buffersize"):
        executor.map(square, [1], buffersize=0)
    with pytest.raises(TypeError, match="buffersize"):
        executor.map(square, [1], buffersize=1.5)
