"""A signal handler uses the executor while its thread is putting calls on the ring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def waiting(busy: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Futures whose tasks only this thread puts on the ring."""
    with busy._line.posting:
        monkeypatch.setattr(busy._line, "has_room", lambda: False)
        futures = [busy.submit(abs, -x) for x in (1, 2, 3)]
        monkeypatch.undo()
        assert [future._job for future in futures] == [0, 0, 0]
        yield futures


def test_it_may_fill_the_ring(busy: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    line = busy._line
    more: list[Any] = []

    def submit_meanwhile() -> bool:
        monkeypatch.undo()
        more.append(busy.submit(abs, -4))
        return bool(line.has_room())

    monkeypatch.setattr(line, "has_room", submit_meanwhile)
    posted = line._posted
    line._fill()
    # None of them twice: the number of one would be waited for.
    assert line._posted == posted + 4
    busy.gate.set()
    assert [future.result() for future in waiting + more] == [1, 2, 3, 4]
    busy.shutdown()
    assert not line.jobs


def test_it_may_cancel_the_one_that_is_put(
    busy: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = busy._line
    add = line.add

    def cancel_meanwhile(future: Any) -> int:
        number = add(future)
        if future is waiting[1]:
            assert future.cancel()
        return int(number)

    monkeypatch.setattr(line, "add", cancel_meanwhile)
    line._fill()
    monkeypatch.undo()
    busy.gate.set()
    assert [future.result() for future in waiting[::2]] == [1, 3]
    assert waiting[1].cancelled()
    busy.shutdown()
    assert not line.jobs
