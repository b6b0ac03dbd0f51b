"""What is the inline engine's own: the caller's thread, and no call before its time."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from allcores.pool import InlinePool


@pytest.fixture
def inline() -> Iterator[Any]:
    """A pool without workers."""
    with InlinePool() as pool:
        yield pool


def test_calls_are_made_in_the_thread_that_asks(inline: Any) -> None:
    here = threading.current_thread()
    assert inline.apply(threading.current_thread) is here
    assert set(inline.map(lambda _: threading.current_thread(), range(10))) == {here}
    results = inline.imap(lambda _: threading.current_thread(), range(3))
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(next(results)))
    other.start()
    other.join()
    assert found == [other]
    assert next(results) is here


def test_the_callers_frames_are_below_the_call(inline: Any) -> None:
    def names(_: int) -> list[str]:
        frame: Any = sys._getframe()
        found = []
        while frame is not None:
            found.append(frame.f_code.co_name)
            frame = frame.f_back
        return found

    me = "test_the_callers_frames_are_below_the_call"
    assert me in inline.apply(names, (1,))
    assert me in inline.map(names, [1])[0]
    assert me in next(inline.imap(names, [1]))
    assert me in inline.apply_async(names, (1,)).get()


def test_imap_reads_and_calls_nothing_before_it_is_asked(inline: Any) -> None:
    log: list[str] = []

    def numbers() -> Any:
        for x in itertools.count():
            log.append(f"read {x}")
            yield x

    def call(x: int) -> int:
        log.append(f"call {x}")
        return x

    results = inline.imap(call, numbers())
    assert log == []
    next(results)
    next(results)
    assert log == ["read 0", "call 0", "read 1", "call 1"]


def test_a_call_that_nobody_waits_for_is_made_at_once(inline: Any) -> None:
    log: list[int] = []
    result = inline.apply_async(log.append, (1,))
    assert log == [1]
    assert result.ready()
    inline.map_async(log.append, [2, 3])
    assert log == [1, 2, 3]


def test_ctrl_c_is_the_callers(inline: Any) -> None:
    def interrupted(x: int) -> None:
        raise KeyboardInterrupt

    called: list[Any] = []
    for call in (
        lambda: inline.apply(interrupted, (1,)),
        lambda: inline.map(interrupted, range(3), on_error="skip"),
        lambda: inline.apply_async(interrupted, (1,), error_callback=called.append),
        lambda: next(inline.imap(interrupted, [1])),
    ):
        with pytest.raises(KeyboardInterrupt):
            call()
    assert len(called) == 1
    assert inline.apply(abs, (-1,)) == 1


def test_a_call_may_use_its_own_pool(inline: Any) -> None:
    def inner(x: int) -> int:
        return sum(inline.map(lambda y: x * y, range(4)))

    assert inline.map(inner, range(3)) == [0, 6, 12]


def test_the_initializer_runs_once_and_here() -> None:
    log: list[Any] = []
    with InlinePool(4, log.append, (threading.get_ident(),)) as pool:
        assert pool.map(abs, range(10)) == [*range(10)]
    assert log == [threading.get_ident()]
