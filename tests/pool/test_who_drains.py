"""Results are taken off the ring by somebody, whatever the callers do."""

from __future__ import annotations

import multiprocessing
import threading
from types import SimpleNamespace
from typing import Any

import allcores
import pytest
from allcores.task.keeper import _work_or_wait
from allcores.task.line import Line
from allcores.task.records import POKE, kind


def test_who_only_looks_whether_there_is_a_result_keeps_nobody_from_taking_it(
    forked: Any,
) -> None:
    """The pool's thread leaves results to a caller that has just taken some, for a moment."""
    gate = allcores.Event()
    result = forked.apply_async(gate.wait)
    line = forked._line
    before = line.company
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0)
    assert line.company == before
    gate.set()
    assert result.get()


def test_a_caller_that_came_while_the_keeper_took_what_workers_print_drains_next() -> None:
    line = Line()
    line.hearing = SimpleNamespace(listens=True)  # type: ignore[assignment]
    line.results.put(b"", (), 0, None, kind(POKE))
    baton = threading.Lock()
    baton.acquire()

    def collect_meanwhile(timeout: float) -> int:
        line.waiting.append(baton)  # it found that another thread drains
        return Line.collect(line, timeout)

    line.collect = collect_meanwhile  # type: ignore[method-assign]
    _work_or_wait(line, None, 0, False)  # type: ignore[arg-type]
    assert not baton.locked()
    line.hearing = None
    line.release()
