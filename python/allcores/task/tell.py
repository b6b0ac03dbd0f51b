"""The worker's side of what is around a task: what it prints, logs and warns goes to its pool.

hear.py is the pool's side. Each text, record or warning is a message on the result ring, so it
arrives before the result that comes after it, and also when the worker is killed right after. What
is printed goes there only where the pool's process prints to something other than descriptors 1 and
2; else it is written here, but line by line, so that no lines are lost with the process.

What is written to the descriptors themselves, by native code, by `os.write` or by other programs,
goes where it always did.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
import time
import warnings
from typing import Any

from allcores import _core, pickling
from allcores.task import carry
from allcores.task.records import DIVERTED, HOLDS, POKE, TAG, kind

__all__ = ["Teller"]

# A longer text goes in parts of so many characters; a line that is not at its end waits up to that.
_PART = 1 << 16
_LINE = 1 << 13
# So many messages may wait for the pool's process: who is that far ahead of it goes more slowly.
_FAR = 512
_PAUSE_S = 0.001

# What this process tells to; None for nobody, and in the forks of a worker.
_teller: Teller | None = None


class Teller:
    """Sends what this process prints, logs and warns, from `begin` to `end`.

    Args:
        results: the result ring.
        words: the lease.
        pool: the pool's process in the arena.
    """

    def __init__(self, results: Any, words: Any, pool: int) -> None:
        self._results = results
        self._words = words
        self._pool = pool
        self._logging: Any = None
        self._levels: dict[str, int] | None = None
        self._disabled = 0
        self._filters: list[Any] = []  # those of warnings that there were
        self._given: list[Any] = []  # those that the pool has
        self._unknown: list[Any] = []  # those whose category has not been imported yet
        self.pending = False

    def begin(self, manner: bytes) -> None:
        """Begin.

        Args:
            manner: from `hear.Hearing.manner`.
        """
        global _teller
        self._levels, self._disabled, filters = pickle.loads(manner)
        self._filters = list(carry.filters())
        self._set_filters(filters)
        _teller = self
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not isinstance(stream, Stream):
                setattr(sys, name, Stream(stream, name))
        warnings.showwarning = _show
        self.settle()

    def settle(self) -> None:
        """Do what had to wait until modules were imported."""
        if self._logging is None and ("logging" in sys.modules or self._levels is not None):
            from allcores.task.logs import Logs

            self._logging = Logs(self._levels or {}, self._disabled, self.log)
        unknown, self._unknown = self._unknown, []
        self._add_filters(unknown)
        self.pending = self._logging is None or bool(self._unknown)

    def _set_filters(self, filters: list[Any]) -> None:
        own = self._filters
        warnings.resetwarnings()
        self._add_filters(filters)
        known = carry.filters()
        # What libraries that only this process has want for themselves comes first.
        known[:0] = [entry for entry in own if entry not in known and not _is_general(entry)]

    def _add_filters(self, filters: list[Any]) -> None:
        for position, ((action, message, module, line), (place, name)) in enumerate(filters):
            category = getattr(sys.modules.get(place), name, None)
            if category is None:
                # Importing it would cost time, and nobody can have issued one yet.
                self._unknown.append(filters[position])
                continue
            entry = (action, message, category, module, line)
            self._given.append(entry)
            known = carry.filters()
            if entry not in known:
                known.append(entry)

    def end(self) -> None:
        """Send what is left, and leave the process as it was."""
        global _teller
        _flush()
        _teller = None
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, Stream):
                setattr(sys, name, stream.leave())
        if warnings.showwarning is _show:
            warnings.showwarning = warnings._showwarning_orig  # type: ignore[attr-defined]
        found = list(carry.filters())
        added = [entry for entry in found if entry not in self._filters + self._given]
        warnings.resetwarnings()
        known = carry.filters()
        known[:] = added
        if all(entry in found for entry in self._given):
            known += self._filters
        # (Else a task has taken some away, and between.py shall see that.)
        if self._logging is not None:
            self._logging.end()
            self._logging = None

    # What there is to tell.

    def diverts(self) -> bool:
        """Return whether what is printed is to be sent."""
        return bool(self._words[DIVERTED])

    def hold(self) -> None:
        """Have `flush` called at the end of the task."""
        self._words[HOLDS] = 1

    def flush(self) -> None:
        """Send the parts of lines that were printed; the core calls this at the end of a task."""
        self._words[HOLDS] = 0
        _flush()

    def text(self, name: str, text: str) -> bool:
        """Send a text; return whether it could be sent.

        Args:
            name: of the stream.
            text: what was printed.
        """
        return all(
            self._send("text", (name, text[start : start + _PART]))
            for start in range(0, len(text), _PART)
        )

    def log(self, fields: dict[str, Any]) -> bool:
        """Send a record of `logging`; return whether it could be sent.

        Args:
            fields: its attributes.
        """
        return self._send("log", (fields,))

    def warn(self, content: tuple[Any, ...]) -> bool:
        """Send a warning; return whether it could be sent.

        Args:
            content: as `warnings.showwarning` takes it.
        """
        return self._send("warning", content)

    def _send(self, what: str, content: Any) -> bool:
        try:
            while self._results.qsize() > _FAR and _core.is_alive(self._pool):
                time.sleep(_PAUSE_S)  # as a full pipe would
            data, refs = pickling.pack((int(self._words[TAG]), what, content))
            self._results.put(data, refs, 0, None, kind(POKE))
        except Exception:
            return False  # the pool is gone, memory is short, or it can't travel, for any reason
        return True


def _is_general(entry: Any) -> bool:
    """Tell whether a filter is for all warnings of a kind that everybody has."""
    _, message, category, module, _ = entry
    return bool(message is module is None and category.__module__ == "builtins")


def _show(
    message: Any,
    category: Any,
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Show a warning: in the pool's process. In the place of `warnings.showwarning`."""
    teller = _teller
    if file is None and teller is not None:
        if teller.warn((message, category, filename, lineno, line)):
            return
        # Of a class that can't travel.
        if teller.warn((str(message), UserWarning, filename, lineno, line)):
            return
    original: Any = warnings._showwarning_orig  # type: ignore[attr-defined]
    original(message, category, filename, lineno, file, line)


class Stream(io.TextIOBase):
    """In the place of a standard stream of a worker.

    Args:
        own: that stream.
        name: "stdout" or "stderr".
    """

    def __init__(self, own: Any, name: str) -> None:
        self._own = own
        self._name = name
        self._parts: dict[int, str] = {}  # of lines that are not at their end, by thread
        self.lock = threading.RLock()
        self._buffered = isinstance(own, io.TextIOWrapper) and not own.line_buffering
        if self._buffered:
            own.reconfigure(line_buffering=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return getattr, (sys, self._name)

    @property
    def encoding(self) -> Any:  # type: ignore[override]
        """That of the stream itself."""
        return self._own.encoding

    @property
    def errors(self) -> Any:  # type: ignore[override]
        """What the stream itself does with what it can't encode."""
        return self._own.errors

    @property
    def closed(self) -> bool:
        """Whether the stream itself is."""
        return bool(self._own.closed)

    def fileno(self) -> int:
        """Return the descriptor of the stream itself."""
        return int(self._own.fileno())

    def isatty(self) -> bool:
        """Return whether the stream itself is a terminal."""
        return bool(self._own.isatty())

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Print a text, here or in the pool's process.

        Args:
            text: the text.
        """
        teller = _teller
        if teller is None:
            return int(self._own.write(text))
        if not teller.diverts():
            if not text.endswith("\n"):
                teller.hold()
            return int(self._own.write(text))
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        me = threading.get_ident()
        with self.lock:
            whole = self._parts.pop(me, "") + text
            end = whole.rfind("\n") + 1
            if len(whole) - end > _LINE:
                end = len(whole)
            if end < len(whole):
                self._parts[me] = whole[end:]
                teller.hold()
            if end:
                self._send(teller, whole[:end])
        return len(text)

    def _send(self, teller: Teller, text: str) -> None:
        if not teller.text(self._name, text):
            self._own.write(text)

    def flush(self) -> None:
        """Send what was printed of a line, and write out what the stream itself holds."""
        teller = _teller
        if teller is not None and self._parts:
            with self.lock:
                parts, self._parts = self._parts, {}
                for text in parts.values():
                    self._send(teller, text)
        self._own.flush()

    def leave(self) -> Any:
        """Return the stream itself, as it was."""
        if self._buffered:
            self._own.reconfigure(line_buffering=False)
        return self._own

    def close(self) -> None:
        """Close nothing: the stream may be needed by others."""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Stream):
            stream.flush()


def _after_fork() -> None:
    # What a child of a task prints is written by itself, as a plain process does.
    global _teller
    teller, _teller = _teller, None
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, Stream):
            stream.lock = threading.RLock()
            stream._parts = {}
    if teller is not None and teller._logging is not None:
        teller._logging.end()


os.register_at_fork(after_in_child=_after_fork)
