"""Bars: right at the end whatever happens, and without any effect on what comes of a call."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import tqdm
from allcores.task import progress
from allcores.task.progress import Bar, check, make


class Screen(io.StringIO):
    """Takes what is drawn."""

    def last(self) -> str:
        """Return what the last bar shows at the end."""
        return self.getvalue().rstrip("\n").rsplit("\r", 1)[-1]

    def count(self) -> tuple[int, int | None]:
        """Return how many items the last bar says are done, and of how many."""
        known = re.search(r"(\d+)/(\d+) \[", self.last())
        if known:
            return int(known[1]), int(known[2])
        unknown = re.search(r"(\d+)it \[", self.last())
        assert unknown, self.getvalue()
        return int(unknown[1]), None


class Broken(io.StringIO):
    """Takes a number of writes, then fails."""

    def __init__(self, error: BaseException, writes: int) -> None:
        super().__init__()
        self.error, self.writes = error, writes

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise self.error
        return super().write(text)


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No bar stays among those that tqdm leaves room for, and it has started no thread."""
    yield
    assert list(tqdm.tqdm._instances) == []
    assert threading.active_count() == 1


# The bar itself.


def test_values_of_progress() -> None:
    """Whether, a description, or tqdm's arguments."""
    assert check(None) is check(False) is None
    assert check(True) == {}
    assert check("rows") == {"desc": "rows"}
    assert check({"unit": "row"}) == {"unit": "row"}
    for bad in (1, 0, b"rows", ["rows"], {1: 2}, tqdm):
        with pytest.raises(TypeError, match="progress must be True"):
            check(bad)


def test_an_argument_that_tqdm_does_not_know() -> None:
    """It is the caller's mistake, and said so before anything begins."""
    with pytest.raises(ValueError, match="nunit"):
        make({"nunit": "row"}, 3)


def test_what_is_drawn(screen: Screen) -> None:
    """The start at once, the end in any case, with the description and the unit."""
    bar = make({"desc": "reading", "unit": "row", "file": screen}, 10)
    assert bar is not None
    assert "reading:   0%" in screen.last()
    assert "0/10" in screen.last()
    bar.show(4)
    assert "4/10" in screen.last()
    bar.show(5)  # too soon to be drawn
    assert "4/10" in screen.last()
    bar.close(10)
    assert "reading: 100%" in screen.last()
    assert "row/s" in screen.last()
    assert screen.getvalue().endswith("\n")
    bar.close(11)
    bar.show(11)
    assert screen.count() == (10, 10)


def test_a_total_that_becomes_known(screen: Screen) -> None:
    """Without one there is a count; with one, once it is known, a share."""
    bar = make({"file": screen}, None)
    assert bar is not None
    bar.show(4)
    assert screen.count() == (4, None)
    bar.close(7, 7)
    assert screen.count() == (7, 7)


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed"), RuntimeError()])
@pytest.mark.parametrize("writes", range(7))
def test_what_can_not_be_drawn(error: Exception, writes: int) -> None:
    """A bar that breaks, at whichever write, is silent from then on."""
    bar = make({"file": Broken(error, writes)}, 10)
    if bar is not None:
        bar._due = 0
        bar.show(1)
        bar._due = 0
        bar.show(2)
        bar.close(3)
    # Nor does it keep the lock that all bars of the program have in common.
    other = threading.Thread(target=lambda: make({"file": Screen()}, 1).close(1))  # type: ignore[union-attr]
    other.start()
    other.join()


def test_no_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may have none, or have closed it."""
    monkeypatch.setattr(sys, "stderr", None)
    assert make({}, 10) is None
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert make({}, 10) is None


def test_an_interrupt_comes_through() -> None:
    """Ctrl-C while a bar is drawn is Ctrl-C, and the bar can be closed after it."""
    bar = make({"file": Broken(KeyboardInterrupt(), 4)}, 10)
    assert bar is not None
    with pytest.raises(KeyboardInterrupt):
        for done in range(10):
            bar._due = 0
            bar.show(done)
    bar._bar.fp.writes = 1000
    bar.close(3)


def test_a_handler_that_closes_while_it_is_drawn() -> None:
    """A signal handler that ends the call in the middle of a drawing doesn't wait for that."""

    class Calling(Screen):
        def write(self, text: str) -> int:
            if "5/10" in text and bar is not None:
                bar.close(6)
            return super().write(text)

    screen = Calling()
    bar: Bar | None = None
    bar = make({"file": screen}, 10)
    assert bar is not None
    bar.show(5)
    assert "6/10" in screen.getvalue()


def test_many_threads(screen: Screen) -> None:
    """Whoever has news may say so; the count is never more than what was said."""
    bar = make({"file": screen}, 4000)
    assert bar is not None

    def tell(first: int) -> None:
        assert bar is not None
        for done in range(first, 4000, 4):
            bar._due = 0
            bar.show(done)

    threads = [threading.Thread(target=tell, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bar.close(4000)
    assert screen.count() == (4000, 4000)


def test_a_copy_in_a_forked_process_draws_nothing(tmp_path: Any) -> None:
    """Workers are copies too, and what they have a copy of ends there as well."""
    out = (tmp_path / "drawn").open("w+")
    bar = make({"file": out}, 10)
    assert bar is not None
    out.flush()
    before = out.tell()
    pid = os.fork()
    if pid == 0:
        try:
            bar._bar.close()
            bar.close(3)
            out.flush()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.fstat(out.fileno()).st_size == before
    bar.close(10)
    out.close()


def test_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation is said once, and costs the bar only."""
    progress._kind.cache_clear()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.warns(RuntimeWarning, match="pip install tqdm"):
        assert make({}, 10) is None


def test_tqdm_starts_nothing() -> None:
    """No thread, no process, no semaphore of the standard library's."""
    code = (
        "import sys, threading\n"
        "from allcores.task.progress import make\n"
        "bar = make({}, 3); bar.show(1); bar.close(3)\n"
        "from tqdm.std import TqdmDefaultWriteLock\n"
        "assert not hasattr(TqdmDefaultWriteLock, 'mp_lock')\n"
        "assert 'multiprocessing.resource_tracker' not in sys.modules\n"
        "assert threading.active_count() == 1\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "3/3" in result.stderr
