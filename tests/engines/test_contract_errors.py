"""How every engine brings home what goes wrong: always an error, and the pool lives."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import allcores
import pytest
from allcores import errors


def raise_it(kind: type[BaseException]) -> None:
    raise kind("deep inside")


def deep(x: int) -> None:
    raise_it(LookupError)


def leave(code: Any) -> None:
    sys.exit(code)


class Odd(BaseException):
    """Not an Exception."""


def full_text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_an_error_shows_where_it_was_raised(pool: Any) -> None:
    for call in (
        lambda: pool.apply(deep, (1,)),
        lambda: pool.apply_async(deep, (1,)).get(),
        lambda: pool.map(deep, [1]),
        lambda: pool.map(deep, [1], 1),
        lambda: next(pool.imap(deep, [1])),
        lambda: next(pool.imap_unordered(deep, [1], 3)),
    ):
        with pytest.raises(LookupError, match="deep inside") as caught:
            call()
        assert "in raise_it" in full_text(caught.value)
        assert "in deep" in full_text(caught.value)


def test_whatever_is_raised_arrives(pool: Any) -> None:
    for kind in (RecursionError, MemoryError, TimeoutError, Odd, GeneratorExit):
        with pytest.raises(kind, match="deep inside"):
            pool.apply(raise_it, (kind,))
        with pytest.raises(kind, match="deep inside"):
            pool.map(raise_it, [kind])
    assert pool.apply(abs, (-1,)) == 1


@pytest.mark.parametrize("code", [0, 3, None, "bye"])
def test_a_task_that_calls_exit_ends_nothing_but_itself(pool: Any, code: Any) -> None:
    with pytest.raises(errors.TaskExited, match=r"task \d+ .*called sys.exit") as caught:
        pool.apply(leave, (code,))
    assert caught.value.code == code
    with pytest.raises(SystemExit):
        pool.map(leave, [code, code])
    assert pool.map(abs, [-1, -2]) == [1, 2]


def test_imap_goes_on_behind_a_call_that_fails(pool: Any) -> None:
    results = pool.imap(lambda x: 1 / x, [1, 0, 2])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 0.5
    with pytest.raises(StopIteration):
        next(results)


def test_an_input_that_fails_does_so_in_its_place(pool: Any) -> None:
    def broken() -> Any:
        yield 1
        yield 2
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        pool.map(abs, broken())
    results = pool.imap(abs, broken())
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(LookupError, match="no more"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_a_callback_that_fails_is_reported_and_costs_nothing_else(
    pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr("threading.excepthook", reported.append)
    result = pool.apply_async(abs, (-3,), callback=lambda value: 1 / 0)
    assert result.get() == 3
    assert pool.apply(abs, (-4,)) == 4
    assert [report.exc_type for report in reported] == [ZeroDivisionError]


def test_an_initializer_that_fails_ends_the_pool_with_its_error(make: Any) -> None:
    pool = make(2, lambda: 1 / 0)
    try:
        with pytest.raises(errors.InitializerFailed, match="ZeroDivisionError") as caught:
            pool.map(abs, range(100))
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        with pytest.raises(errors.InitializerFailed):
            pool.apply_async(abs, (1,)).get()
    finally:
        pool.terminate()
        pool.join()


@pytest.mark.parametrize("count", [0, -1, "two", 1.5])
def test_a_count_that_makes_no_sense(make: Any, count: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"at least 1|whole number"):
        make(count)


def test_an_initializer_that_cant_be_called(make: Any) -> None:
    with pytest.raises(TypeError, match="must be a callable"):
        make(1, 3)


def test_calls_that_make_no_sense(pool: Any) -> None:
    for call, kind, text in (
        (lambda: pool.map(abs, [1], 0), ValueError, "must be 1\\+"),
        (lambda: pool.map(abs, [1], "a"), TypeError, "chunksize must be a whole number"),
        (lambda: pool.imap(abs, [1], -1), ValueError, "must be 1\\+"),
        (lambda: pool.map(3, [1]), TypeError, "func must be something that can be called"),
        (lambda: pool.apply(None), TypeError, "func must be something that can be called"),
        (lambda: pool.map(abs, 3), TypeError, "iterable"),
        (lambda: pool.imap(abs, 3), TypeError, "iterable"),
        (lambda: pool.apply_async(abs, callback=3), TypeError, "callback must be"),
        (lambda: pool.map(abs, [1], timeout=-1), ValueError, "timeout must be more than 0"),
        (lambda: pool.map(abs, [1], retries=-1), ValueError, "retries must be 0 or more"),
        (lambda: pool.map(abs, [1], on_error="no"), ValueError, "on_error must be"),
        (lambda: pool.map(abs, [1], nonsense=1), TypeError, "unknown keyword 'nonsense'"),
    ):
        with pytest.raises(kind, match=text):
            call()


def test_a_result_asked_too_early_says_so(make: Any, engine: str) -> None:
    if engine == "inline":
        pytest.skip("a result is there as soon as anybody can ask for it")
    gate = allcores.Event()
    with make(2) as pool:
        result = pool.apply_async(gate.wait)
        assert not result.ready()
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
        with pytest.raises(allcores.TimeoutError):
            result.get(timeout=0.01)
        with pytest.raises(allcores.TimeoutError):
            pool.imap(lambda wait: wait(), [gate.wait]).next(timeout=0)
        gate.set()
        assert result.get() is True
    pool.join()
