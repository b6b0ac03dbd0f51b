"""A call that is cancelled just as another thread makes its tasks or brings its results."""

from __future__ import annotations

import itertools
import signal
from functools import partial
from types import SimpleNamespace
from typing import Any

import allcores
import pytest
from allcores.engines.contract import _LAST_JOB
from allcores.errors import TaskCancelled
from allcores.task.records import CANCELLED_WORDS, LOADING
from allcores.task.spread import MapResult
from pool_tools import eventually


def wait(gate: Any, item: int) -> int:
    gate.wait()
    return item


@pytest.mark.parametrize("step", ["_size", "_post"])
def test_a_map_whose_tasks_are_just_made_fails_as_cancelled(
    forked: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    original = getattr(MapResult, step)

    def cancel_meanwhile(self: Any, *args: Any) -> Any:
        self.cancel()
        return original(self, *args)

    monkeypatch.setattr(MapResult, step, cancel_meanwhile)
    with pytest.raises(TaskCancelled):
        forked.map_async(abs, [-1], 2).get()
    assert not forked._line.tails
    monkeypatch.undo()
    assert forked.map(abs, [-1]) == [1]


@pytest.mark.parametrize("chunksize", [1, 2])
def test_a_map_whose_last_result_just_comes_fails_as_cancelled(
    forked: Any, monkeypatch: pytest.MonkeyPatch, chunksize: int
) -> None:
    gate = allcores.Event()
    called: list[object] = []
    result = forked.map_async(partial(wait, gate), [1], chunksize, called.append, called.append)
    finish = result._finish

    def deliver_meanwhile(early: bool = False) -> None:
        if chunksize == 1:
            result._got(0, 1)
        else:
            result._got_list(0, [1], 1)
        finish(early)

    monkeypatch.setattr(result, "_finish", deliver_meanwhile)
    assert result.cancel()
    gate.set()
    with pytest.raises(TaskCancelled):
        result.get()
    assert called == []


def test_a_map_is_over_when_what_was_taken_back_is_not_posted(
    forked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = allcores.Event()
    result = forked.map_async(partial(wait, gate), range(8), 8)
    lease = SimpleNamespace(start=0, take_back=lambda seen, keep: True)

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(forked._line, "several", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result._share(0, lease, 8 << 24)
    monkeypatch.undo()
    gate.set()
    with pytest.raises(KeyboardInterrupt):
        result.get()


def test_a_worker_that_has_just_unpacked_its_function_is_ended_all_the_same(
    forked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = allcores.Event()
    result = forked.apply_async(wait, (gate, 1))
    crew = forked._crew
    eventually(lambda: any(start < LOADING for _, _, start in crew.running()))
    ((worker, _, began),) = crew.running()
    doom = crew.doom

    def moved_once(worker: Any, tag: int, start: int, why: Any) -> bool:
        monkeypatch.undo()
        return bool(doom(worker, tag, began - 1, why))  # as it was read a moment before

    monkeypatch.setattr(crew, "doom", moved_once)
    assert result.cancel()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL


def test_the_time_limit_of_a_cancelled_call_is_kept_until_its_task_cannot_begin(
    forked: Any,
) -> None:
    line, gate = forked._line, allcores.Event()
    words: list[int] = []

    class Abandoned(set[int]):
        def add(self, number: int) -> None:
            words.append(line._cancelled[number % CANCELLED_WORDS])
            super().add(number)

    line.abandoned = Abandoned()
    result = forked.apply_async(gate.wait, timeout=60)
    assert result.cancel()
    assert words == [result._job]


def test_a_number_of_a_cancelled_call_is_given_again(forked: Any) -> None:
    line, gate = forked._line, allcores.Event()
    waiting = forked.apply_async(gate.wait)  # its number is in use all the time
    for left in (3, 2, 1):
        line._numbers = itertools.count(_LAST_JOB - left)
        assert forked.apply(abs, (-1,)) == 1
        assert forked.apply_async(gate.wait).cancel()
        assert forked.map(abs, [-2, -3]) == [2, 3]
        assert [forked.apply(abs, (-x,)) for x in range(5)] == [*range(5)]
        assert line._last_job < 10
    gate.set()
    assert waiting.get()


def test_a_cancelled_imap_does_nothing_again(forked: Any) -> None:
    gate = allcores.Event()
    results = forked.imap(partial(wait, gate), [1], retries=1)
    eventually(lambda: results._is_open(0))
    assert results.cancel()
    results._repeat(0)  # another thread had just taken the news that it failed
    with pytest.raises(TaskCancelled):
        next(results)
