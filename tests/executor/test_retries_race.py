"""A task that failed and is to be done again, while another thread fills the ring."""

from __future__ import annotations

import threading
import time
from typing import Any

import allcores
import pytest


def fail_once(flag: Any, x: int) -> int:
    with flag.get_lock():
        flag.value += 1
        if flag.value == 1:
            raise ValueError("the first time")
    return x


def test_one_that_comes_while_another_is_put_is_kept(
    busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = busy._line
    monkeypatch.setattr(line, "has_room", lambda: False)
    waiting = [busy.submit(abs, -x) for x in (1, 2, 3)]
    assert [future._job for future in waiting] == [0, 0, 0]
    failed = busy.begun[0]  # as if its worker had died
    put = line._put

    def put_meanwhile(future: Any) -> None:
        put(future)
        if future is waiting[1]:
            thread = threading.Thread(target=line.repeat, args=(failed,))
            thread.start()
            thread.join()

    with line.posting:  # the keeper would fill as soon as there is room
        monkeypatch.undo()
        monkeypatch.setattr(line, "_put", put_meanwhile)
        line._fill()
    # Not posted twice, and none of them forgotten.
    assert not line.pending
    busy.gate.set()
    assert [future.result() for future in waiting] == [1, 2, 3]
    assert [future.result() for future in busy.begun] == [True, True]


def test_an_executor_that_is_shut_down_has_a_job_all_the_time(
    busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keeper ends when there is none, and gives the rings back."""
    line, flag = busy._line, allcores.Value("i", 0)
    future = busy.with_options(retries=1).submit(fail_once, flag, 5)
    finish, seen = line.finish, []

    def finish_and_look(number: int, early: bool = False) -> None:
        finish(number, early)
        seen.append(bool(line.jobs) or future.done())

    monkeypatch.setattr(line, "finish", finish_and_look)
    busy.gate.set()
    busy.shutdown(wait=False)
    assert future.result() == 5
    # The first two, and each try of this one. (A result may be had a moment before its job is
    # forgotten, and the worker of one of the first two may be late.)
    while len(seen) < 4:
        time.sleep(0.001)
    assert all(seen)
