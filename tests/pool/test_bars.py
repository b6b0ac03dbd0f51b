"""Bars: right at the end whatever happens, and without any effect on what comes of a call."""

from __future__ import annotations

import functools
import gc
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tqdm
from allcores.errors import TaskCancelled
from allcores.task import progress
from allcores.task.progress import Bar, check, make
from pool_tools import eventually


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
    before = set(threading.enumerate())
    yield
    assert list(tqdm.tqdm._instances) == []
    eventually(lambda: set(threading.enumerate()) <= before)


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


def test_what_is_drawn(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start at once, the end in any case, with the description and the unit."""
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 17.0))
    bar = make({"desc": "reading", "unit": "row", "file": screen}, 10)
    assert bar is not None
    assert "reading:   0%" in screen.last()
    assert "0/10" in screen.last()
    bar.show(4)
    assert "4/10" in screen.last()
    bar.show(5)  # too soon to be drawn, as the clock stands still
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


# In calls.


def double(x: int) -> int:
    return 2 * x


def fail_at_7(x: int) -> int:
    if x == 7:
        raise KeyError("seven")
    return 2 * x


def add(x: int, y: int) -> int:
    return x + y


def wait_for(path: Path, x: int) -> int:
    """Return when the file is there."""
    eventually(path.exists)
    return x


SIZES = (None, 1, 7, 1000)


@pytest.mark.parametrize("size", SIZES)
def test_every_form(any_pool: Any, size: int | None) -> None:
    """Results are as without a bar, and the bar ends with all items done."""
    pool, expected = any_pool, [2 * x for x in range(100)]
    pairs = [(x, x) for x in range(100)]
    for call in (
        lambda show: pool.map(double, range(100), size, progress=show),
        lambda show: pool.map(double, iter(range(100)), size, progress=show),
        lambda show: pool.map_async(double, range(100), size, progress=show).get(),
        lambda show: pool.starmap(add, pairs, size, progress=show),
        lambda show: pool.starmap_async(add, pairs, size, progress=show).get(),
        lambda show: list(pool.imap(double, range(100), size or 1, progress=show)),
        lambda show: sorted(pool.imap_unordered(double, range(100), size or 1, progress=show)),
        lambda show: pool.map(double, range(100), size, progress=show, retries=1, seed=1),
    ):
        screen = Screen()
        assert call({"file": screen}) == expected
        assert screen.count() == (100, 100)
        assert screen.getvalue().endswith("\n")


def test_inputs(forked: Any) -> None:
    """Without a length there is a count; no items are no bar's trouble."""
    for items, count in (
        ((x for x in range(30)), (30, None)),
        (range(0), (0, None)),
        ({1: 2}, (1, 1)),
    ):
        screen = Screen()
        list(forked.imap(double, items, progress={"file": screen}))
        assert screen.count() == count
    screen = Screen()
    assert forked.map(double, (), progress={"file": screen}) == []
    assert screen.count() == (0, None)
    screen = Screen()
    forked.map(double, [1], progress={"desc": "rows", "unit": "row", "file": screen})
    assert screen.last().startswith("rows: 100%")
    for bad, error in ((3, TypeError), ({"nunit": "row"}, ValueError)):
        for call in (forked.map, forked.imap, forked.map_async):
            with pytest.raises(error):
                call(double, [1], progress=bad)
    with pytest.raises(TypeError, match="unknown keyword 'progress'"):
        forked.apply(double, (1,), progress=True)


@pytest.mark.parametrize("size", SIZES)
def test_errors(any_pool: Any, size: int | None) -> None:
    """The error is the one there would be, and the bar is over when it comes."""
    screen = Screen()
    with pytest.raises(KeyError, match="seven"):
        any_pool.map(fail_at_7, range(100), size, progress={"file": screen})
    assert screen.getvalue().endswith("\n")
    done, total = screen.count()
    assert done < 100 == total
    for on_error in ("return", "skip"):
        screen = Screen()
        found = any_pool.map(
            fail_at_7, range(100), size, progress={"file": screen}, on_error=on_error
        )
        assert len(found) == (100 if on_error == "return" else 99)
        assert screen.count() == (100, 100)
    screen = Screen()
    results = any_pool.imap(fail_at_7, range(10), progress={"file": screen})
    assert [next(results) for _ in range(7)] == [2 * x for x in range(7)]
    with pytest.raises(KeyError, match="seven"):
        next(results)
    assert list(results) == [16, 18]
    assert screen.count() == (10, 10)
    screen = Screen()
    list(any_pool.imap(fail_at_7, range(10), progress={"file": screen}, on_error="skip"))
    assert screen.count() == (10, 10)


@pytest.mark.parametrize("writes", range(6))
def test_a_bar_that_breaks_changes_nothing(forked: Any, writes: int) -> None:
    """Wherever it does, results come and the next call has its own bar."""
    for size in SIZES:
        for error in (BrokenPipeError(), ValueError("closed")):
            show = {"file": Broken(error, writes)}
            assert forked.map(double, range(50), size, progress=show) == [*range(0, 100, 2)]
            show = {"file": Broken(error, writes)}
            assert list(forked.imap(double, range(50), size or 1, progress=show)) == [
                *range(0, 100, 2)
            ]
            show = {"file": Broken(error, writes)}
            with pytest.raises(KeyError, match="seven"):
                forked.map(fail_at_7, range(50), size, progress=show)


def test_the_end_of_the_pool_ends_bars(fork: Any, tmp_path: Path) -> None:
    """Also of what nobody takes the results of."""
    screens = [Screen() for _ in range(3)]
    func = functools.partial(wait_for, tmp_path / "never")
    with fork.Pool(2) as pool:
        result = pool.map_async(func, range(5), progress={"file": screens[0]})
        items = pool.imap(func, range(5), progress={"file": screens[1]})
        taken = pool.imap(double, range(5), progress={"file": screens[2]})
        del taken
    pool.join()
    assert [screen.count() for screen in screens] == [(0, 5)] * 3
    assert [screen.getvalue()[-1] for screen in screens] == ["\n"] * 3
    with pytest.raises(TaskCancelled):
        result.get()
    with pytest.raises(TaskCancelled):
        next(items)
    gc.collect()


def test_results_that_are_not_taken(forked: Any) -> None:
    """An iterator that is dropped halfway takes its bar along."""
    screen = Screen()
    results = forked.imap(double, range(5), progress={"file": screen})
    assert [next(results), next(results)] == [0, 2]
    eventually(lambda: not forked._line.jobs)
    del results
    gc.collect()
    # (The keeper, if it brought the last of them, may be just about to let go of them.)
    eventually(lambda: screen.getvalue().endswith("\n"))
    assert screen.count() == (2, 5)


PROGRAM = """
import os, signal, sys, threading, time
import allcores
from allcores import _core
def f(x):
    return x
def interrupt(x):
    if x == 0:
        os.kill(os.getppid(), signal.SIGINT)
    time.sleep(3600)
if __name__ == "__main__":
    {before}
    with allcores.get_context({method!r}).Pool(2) as pool:
        {call}
    print("end")
"""


def run(call: str, before: str = "pass", method: str = "fork") -> Any:
    code = PROGRAM.format(call=call, before=before, method=method)
    result: Any = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    result.stdout, result.stderr = result.stdout.decode(), result.stderr.decode()
    return result


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_on_standard_error(method: str) -> None:
    """The bar is there and nowhere else, once, whatever is forked from the program."""
    result = run("print(sum(pool.map(f, range(1000), progress='adding')))", method=method)
    assert (result.returncode, result.stdout) == (0, "499500\nend\n")
    assert re.match(r"\radding: +0%.*\radding: 100%[^\r]* 1000/1000 \[[^\r]*\n\Z", result.stderr)


def test_standard_error_that_nobody_reads_or_that_is_closed() -> None:
    """Results, output and the exit code are those of a program without a bar."""
    call = "print(sum(pool.map(f, range(1000), progress=True)))"
    gone = "r, w = os.pipe(); os.close(r); os.dup2(w, 2)"
    closed = "os.close(2)"
    none = "sys.stderr.close(); sys.stderr = None"
    for before in (gone, closed, none):
        result = run(call, before)
        assert (result.returncode, result.stdout) == (0, "499500\nend\n"), (before, result.stderr)


def test_an_interrupt_ends_the_bar() -> None:
    """Ctrl-C is one KeyboardInterrupt, below a bar that is complete as far as it came."""
    result = run("pool.map(interrupt, range(10), 1, progress=True)")
    assert result.returncode == -signal.SIGINT
    bar, _, rest = result.stderr.partition("\n")
    assert "0/10" in bar
    assert rest.startswith("Traceback")
    assert rest.count("KeyboardInterrupt") == 1
