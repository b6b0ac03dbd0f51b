"""Where results end: the objects that callers hold."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from multiprocessing import TimeoutError
from multiprocessing import pool as _std
from typing import Any

from allcores.task.feed import Feed
from allcores.task.line import Line, wake
from allcores.timeouts import seconds

_jobs = count()


class ApplyResult(_std.ApplyResult):  # type: ignore[type-arg]
    """The result, to come, of one call.

    Args:
        pool: kept alive until the result is there.
        callback: called with the value, in one of this process's threads.
        error_callback: called with the exception instead.
    """

    def __init__(
        self,
        pool: Any,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._pool = pool
        self._line: Line = pool._line
        self._job = next(_jobs)
        self._callback = callback
        self._error_callback = error_callback
        self._ready = False
        self._success = False
        self._value: Any = None
        self._waiters: list[Any] = []
        self._kept: Any = None
        self._line.jobs[self._job] = self

    def ready(self) -> bool:
        """Return whether the call has ended."""
        return self._ready

    def successful(self) -> bool:
        """Return whether the call ended without an exception.

        Raises:
            ValueError: it has not ended yet.
        """
        if not self._ready:
            raise ValueError(f"{self!r} not ready; wait() for it first")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call has ended, or `timeout` seconds."""
        limit = seconds(timeout)
        if not self._ready:
            self._line.attend(self, self.ready, limit)

    def get(self, timeout: float | None = None) -> Any:
        """Return what the call returned, or raise what it raised.

        Args:
            timeout: seconds to wait for it; None for as long as it takes.

        Raises:
            multiprocessing.TimeoutError: it took longer.
            allcores.errors.WorkerDied: the process that ran it died.
        """
        self.wait(timeout)
        if not self._ready:
            raise TimeoutError(f"no result within {timeout} s; the task goes on")
        if self._success:
            return self._value
        try:
            raise self._value
        finally:
            self = None  # type: ignore[assignment]  # the exception's frames would hold it

    def _set(self, index: int, outcome: tuple[bool, Any]) -> None:
        if not self._ready:
            self._success, self._value = outcome
            self._complete()

    def _fail(self, error: BaseException) -> None:
        """Fail before any task was made."""
        self._set(0, (False, error))

    def _rush(self) -> None:
        """Take the whole input: the pool is closed and waited for."""

    def _complete(self) -> None:
        callback = self._callback if self._success else self._error_callback
        self._callback = self._error_callback = None
        try:
            if callback is not None:
                _call_back(callback, self._value)
        finally:
            self._finish()

    def _abort(self, error: BaseException) -> None:
        """Fail, whatever is still missing, without calling back."""
        if not self._ready:
            self._success, self._value = False, error
            self._finish()

    def _finish(self) -> None:
        self._ready = True
        self._line.finish(self._job)
        self._pool = self._kept = None
        for baton in list(self._waiters):
            wake(baton)


def _call_back(callback: Callable[[Any], object], value: Any) -> None:
    try:
        callback(value)
    except Exception:
        # There is no caller to raise it to, and other results wait behind this one.
        thread = threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), thread)))


class MapResult(ApplyResult, _std.MapResult):  # type: ignore[type-arg]
    """The results, to come, of a map: a list in the order of the input.

    Args:
        pool: kept alive until the results are there.
        chunksize: items a task.
        length: of the whole input.
        callback: called with the list.
        error_callback: called with the first exception instead.
    """

    def __init__(
        self,
        pool: Any,
        chunksize: int,
        length: int,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        super().__init__(pool, callback, error_callback)
        self._success = True
        self._value = [None] * length
        self._chunksize = chunksize
        self._left = -(-length // chunksize)
        self._lock = threading.Lock()
        if length == 0:
            self._complete()

    def _set(self, index: int, outcome: tuple[bool, Any]) -> None:
        success, value = outcome
        with self._lock:
            if self._ready:
                return
            if not self._success:
                pass  # the first exception counts; the rest is waited for
            elif success:
                start = index * self._chunksize
                self._value[start : start + self._chunksize] = value
            else:
                self._success, self._value = False, value
            self._left -= 1
            if self._left:
                return
        self._complete()

    def _fail(self, error: BaseException) -> None:
        self._left = 1
        self._set(0, (False, error))


class IMapIterator(_std.IMapIterator):  # type: ignore[type-arg]
    """The results of `imap`, one by one, in the order of the input.

    It reads its input only a bounded distance ahead of what has been taken from it.

    Args:
        pool: kept alive until all results are there.
        chunksize: items a task.
        ordered: False gives results as they come.
    """

    def __init__(self, pool: Any, chunksize: int, ordered: bool) -> None:
        self._pool = pool
        self._line: Line = pool._line
        self._job = next(_jobs)
        self._chunksize = chunksize
        self._ordered = ordered
        self._items: deque[tuple[bool, Any]] = deque()
        self._unsorted: dict[int, tuple[bool, Any]] = {}
        self._index = 0  # of the next task to go into _items
        self._length: int | None = None  # in tasks, once known
        self._error: BaseException | None = None
        self._waiters: list[Any] = []
        self._kept: Any = None
        self._lock = threading.RLock()
        self._feed: Callable[[], None] = lambda: None
        self._line.jobs[self._job] = self

    def __iter__(self) -> IMapIterator:
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Return the next result, or raise what its call raised.

        Args:
            timeout: seconds to wait for it; None for as long as it takes.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: it took longer.
        """
        limit = seconds(timeout)
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                item = None
            if item is None:
                if self._is_over():
                    if self._error is not None:
                        error, self._error = self._error, None
                        raise error from error.__cause__
                    raise StopIteration
                self._feed()
                if not self._line.attend(self, self._has_news, limit):
                    raise TimeoutError(f"no result within {timeout} s; the task goes on")
                continue
            success, value = item
            self._feed()
            if success:
                return value
            raise value

    __next__ = next

    def _ahead(self, posted: int) -> int:
        """Return how many of `posted` tasks are under way or not yet taken."""
        return posted - self._index + -(-len(self._items) // self._chunksize)

    def _has_news(self) -> bool:
        return bool(self._items) or self._is_over()

    def _is_over(self) -> bool:
        return self._error is not None or self._index == self._length

    def _set(self, index: int, outcome: tuple[bool, Any]) -> None:
        with self._lock:
            if not self._ordered:
                self._add(outcome)
            elif index != self._index:
                self._unsorted[index] = outcome
                return
            else:
                self._add(outcome)
                while self._index in self._unsorted:
                    self._add(self._unsorted.pop(self._index))
            self._look()

    def _add(self, outcome: tuple[bool, Any]) -> None:
        success, value = outcome
        if success and self._chunksize > 1:
            self._items.extend((True, item) for item in value)
        elif success and self._chunksize == 1:
            self._items.append((True, value[0]))
        else:
            self._items.append(outcome)
        self._index += 1

    def _fail(self, error: BaseException) -> None:
        self._set_length(1)
        self._set(0, (False, error))

    def _rush(self) -> None:
        if isinstance(self._feed, Feed):
            self._feed.rush()

    def _set_length(self, length: int) -> None:
        with self._lock:
            self._length = length
            self._look()

    def _abort(self, error: BaseException) -> None:
        with self._lock:
            if self._index != self._length:
                self._error = error
                self._look()

    def _look(self) -> None:
        if self._is_over():
            self._line.finish(self._job)
            self._pool = self._kept = None
            self._feed()
        for baton in list(self._waiters):
            wake(baton)
