"""A bar that shows how far a call has come, and never changes what comes of it.

Whoever has news of a job tells its bar how many items are done in all; every tenth of a second that
is drawn. A bar that can't be drawn (standard error is closed, its reader is gone) is given up.

tqdm does the drawing, in notebooks too, with these differences: it starts no thread and makes no
lock of `multiprocessing`'s (for which that may start a process, and which the dead keep), a bar
that breaks gives back the lock that all bars have in common, and the copy of a bar in a forked
process draws nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any, TextIO

# Seconds between two drawings: what tqdm does itself.
_EVERY_S = 0.1


def check(progress: object) -> dict[str, Any] | None:
    """Return tqdm's arguments; None when there is to be no bar.

    Args:
        progress: what the user gave: whether to show one, its description, or tqdm's arguments.

    Raises:
        TypeError: it is none of them.
    """
    if progress is None or progress is False:
        return None
    if progress is True:
        return {}
    if isinstance(progress, str):
        return {"desc": progress}
    if isinstance(progress, Mapping) and all(isinstance(key, str) for key in progress):
        return dict(progress)
    raise TypeError(
        "progress must be True, False, a description (str) or a dict of tqdm's arguments, such as "
        f"{{'unit': 'row'}}, not {progress!r:.60}"
    )


def make(options: dict[str, Any] | None, total: int | None) -> Bar | None:
    """Return a bar, already shown; None when there is to be none, or can't be.

    Args:
        options: tqdm's arguments, from `check`.
        total: how many items there will be, if known.

    Raises:
        ValueError: an argument that tqdm doesn't know.
    """
    if options is None:
        return None
    try:
        kind = _kind()
    except ImportError as error:
        warnings.warn(
            f"no progress is shown: tqdm can't be imported ({error}); install it again with "
            "`pip install tqdm`",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    file = options.get("file") or sys.stderr
    # Drawn whenever there is news here.
    settings: dict[str, Any] = {"total": total, "miniters": 1, "mininterval": 0}
    try:
        if file.isatty():
            settings |= screen(file)
        return Bar(kind(**(settings | options)))
    except KeyError as error:  # tqdm's for an argument that it doesn't know
        raise ValueError(f"progress={options!r:.100}: tqdm says: {error.args[0]}") from None
    except Exception:
        return None


class Bar:
    """Shows how many items are done.

    Args:
        bar: tqdm's.
    """

    __slots__ = ("_bar", "_done", "_drawing", "_due", "_shown")

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._done = 0
        self._shown = 0
        self._due = 0.0  # when to draw again
        # A signal handler may end the call in the middle of a drawing.
        self._drawing = threading.RLock()

    def show(self, done: int, total: int | None = None) -> None:
        """Say how far it is; may be called as often as one likes, by any thread.

        Args:
            done: items, in all.
            total: how many there will be, where that was not known before.
        """
        self._done = done
        now = time.monotonic()
        if now < self._due or not self._drawing.acquire(False):
            return
        try:
            self._due = now + _EVERY_S
            self._draw(done, total)
        finally:
            self._drawing.release()

    def close(self, done: int, total: int | None = None) -> None:
        """Show the end, once.

        Args:
            done: items, in all.
            total: how many there were, where that was not known before.
        """
        with self._drawing:
            self._due = float("inf")
            self._draw(done, total, last=True)
            self._bar = None

    def __del__(self) -> None:
        # Somebody has not taken all results.
        self.close(self._done)

    def _draw(self, done: int, total: int | None, last: bool = False) -> None:
        bar = self._bar
        if bar is None:
            return
        try:
            if total is not None:
                bar.total = total
            if done > self._shown:
                news, self._shown = done - self._shown, done
                bar.update(news)
            if last:
                bar.close()
        except Exception:
            self._bar = None
            bar.drop()


@cache
def _kind() -> Any:
    """Return tqdm's class for where this runs, without what has effects on the program."""
    base: Any
    try:
        from tqdm.auto import tqdm as base
    except Warning:  # of missing widgets, where warnings are errors
        from tqdm import tqdm as base
    from tqdm.std import TqdmDefaultWriteLock  # type: ignore[attr-defined]

    class ProgressBar(base):  # type: ignore[misc]
        monitor_interval = 0
        # Of threads only, and that of all bars of this process.
        _lock = TqdmDefaultWriteLock.th_lock
        _made_in = -1

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._made_in = os.getpid()
            try:
                super().__init__(*args, **kwargs)
            except BaseException:
                self.drop()
                raise

        def refresh(self, nolock: bool = False, lock_args: Any = None) -> bool:
            # tqdm's own keeps the lock, for ever, when drawing raises an exception.
            if self._made_in == os.getpid():
                with self._lock:
                    self.display()
            return True

        def close(self) -> None:
            if self._made_in == os.getpid():
                super().close()

        def __del__(self) -> None:
            pass  # the end is Bar's, which knows more

        def drop(self) -> None:
            # Its end draws nothing, and it takes no line of the screen.
            self.disable = True
            self._instances.discard(self)

    return ProgressBar


def screen(stream: TextIO) -> dict[str, int | bool]:
    """Return what makes tqdm follow a terminal's size.

    Some, in containers, say that they have 0 columns, and it would show nothing.

    Args:
        stream: the terminal.
    """
    try:
        known = all(os.get_terminal_size(stream.fileno()))
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80, "nrows": 24}
