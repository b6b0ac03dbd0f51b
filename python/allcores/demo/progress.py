"""Progress on standard error: a bar on a terminal, a few plain lines elsewhere."""

import importlib
import os
import sys
import time
from typing import Protocol, TextIO

__all__ = ["Progress", "progress"]


class Progress(Protocol):
    """Takes the bytes that were measured; closed at the end, also after an error."""

    def update(self, size: int, /) -> object:
        """Count ``size`` more bytes."""

    def close(self) -> object:
        """Leave the final state on the screen."""


def progress(label: str, total: int, stream: TextIO | None = None) -> Progress:
    """Open the progress of one pass: tqdm's bar on a terminal that has it, else plain lines."""
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        try:
            bar = importlib.import_module("tqdm").tqdm
        except ImportError:
            pass
        else:
            # tqdm's monitor is a thread, and a program that has threads can't be forked safely.
            bar.monitor_interval = 0
            made: Progress = bar(
                desc=label, total=total, unit="B", unit_scale=True, file=stream, **_screen(stream)
            )
            return made
    return _Lines(label, total, stream)


def _screen(stream: TextIO) -> dict[str, int | bool]:
    """Follow the terminal's size; some (in containers) say 0, where tqdm would show nothing."""
    try:
        known = all(os.get_terminal_size(stream.fileno()))
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}


class _Lines:
    """A line for each quarter of the work."""

    def __init__(self, label: str, total: int, stream: TextIO) -> None:
        self._label, self._total, self._stream = label, max(1, total), stream
        self._done = 0
        self._shown = 0
        self._start = time.perf_counter()

    def update(self, size: int, /) -> None:
        self._done += size
        quarter = 4 * self._done // self._total
        if quarter > self._shown:
            self._shown = quarter
            seconds = time.perf_counter() - self._start
            print(
                f"{self._label}: {25 * quarter:3d} %  {seconds:6.1f} s",
                file=self._stream,
                flush=True,
            )

    def close(self) -> None:
        self._stream.flush()
