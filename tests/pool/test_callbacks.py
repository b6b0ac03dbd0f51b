"""Callbacks, and the thread that makes them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import allcores
import pytest
from allcores import errors
from allcores.task import keeper
from pool_tools import eventually


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda pool: pool.apply(os._exit, (3,)), errors.WorkerDied),
        (lambda pool: pool.apply(time.sleep, (60,), timeout=0.2), errors.TaskTimeout),
    ],
)
def test_a_callback_may_wait_for_a_call_that_ends_badly(
    forked: Any, call: Callable[[Any], Any], error: type[Exception]
) -> None:
    raised: list[BaseException] = []
    over = threading.Event()

    def back(value: Any) -> None:
        try:
            call(forked)
        except errors.AllcoresError as caught:
            raised.append(caught)
        finally:
            over.set()

    forked.apply_async(abs, (-1,), callback=back)
    over.wait()
    assert [type(caught) for caught in raised] == [error]
    assert forked.apply(abs, (-2,)) == 2


def test_a_callback_is_told_that_it_cannot_join_the_pool(fork: Any) -> None:
    """Its thread has to tell the workers to leave; the standard library refuses as well."""
    raised: list[str] = []
    pool = fork.Pool(1)

    def back(value: Any) -> None:
        pool.close()
        try:
            pool.join()
        except RuntimeError as error:
            raised.append(str(error))

    assert pool.apply_async(abs, (-1,), callback=back).get() == 1
    assert len(raised) == 1
    assert "a callback can't join()" in raised[0]
    pool.join()


def test_the_last_job_may_end_just_as_the_keeper_goes_to_sleep(
    fork: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, gate = fork.Pool(1), allcores.Event()
    real = keeper._work_or_wait
    looks: list[bool] = []

    def late(line: Any, crew: Any, patience: int, *rest: Any) -> Any:
        looks.append(line.state == "CLOSE")
        if sum(looks) > 2:  # a sleep before may end by the bell of close()
            gate.set()
            while line.jobs:
                time.sleep(0.001)
        return real(line, crew, 4, *rest)

    monkeypatch.setattr(keeper, "_work_or_wait", late)
    result = pool.apply_async(gate.wait)
    waiter = threading.Thread(target=result.get)
    waiter.start()
    eventually(lambda: bool(pool._line.waiting))
    pool.close()
    pool.join()
    waiter.join()
    assert sum(looks) > 2
