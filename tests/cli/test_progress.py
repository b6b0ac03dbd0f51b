"""Progress is a bar on a terminal, and a few lines elsewhere."""

from __future__ import annotations

import io
import sys
import threading

import pytest
from allcores.demo.progress import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_lines_for_a_file() -> None:
    """A line at each quarter that was passed, whatever the sizes."""
    stream = io.StringIO()
    bar = progress("serial", 100, stream)
    for size in (10, 50, 10, 30):
        bar.update(size)
    bar.close()
    assert [line.split("%")[0].strip() for line in stream.getvalue().splitlines()] == [
        "serial:  50",
        "serial: 100",
    ]


def test_nothing_to_do() -> None:
    """A total of zero is no division by zero."""
    bar = progress("serial", 0, io.StringIO())
    bar.update(0)
    bar.close()


def test_bar_on_a_terminal() -> None:
    """tqdm draws the bar, without its monitor thread, which would make forking unsafe."""
    pytest.importorskip("tqdm")
    stream = Terminal()
    before = set(threading.enumerate())
    bar = progress("serial", 100, stream)
    bar.update(100)
    assert set(threading.enumerate()) <= before
    bar.close()
    assert "100%" in stream.getvalue()


def test_terminal_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tqdm a terminal gets the lines too."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    stream = Terminal()
    bar = progress("serial", 4, stream)
    bar.update(4)
    bar.close()
    assert stream.getvalue().startswith("serial: 100 %")
