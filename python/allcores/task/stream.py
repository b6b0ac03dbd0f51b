"""Results of `imap`, handed out one by one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import TimeoutError
from multiprocessing import pool as _std
from typing import Any

from allcores.engines.contract import Engine, wake
from allcores.errors import TaskCancelled
from allcores.task.feed import Feed
from allcores.task.job import Job
from allcores.task.options import PLAIN, Options
from allcores.task.records import ONE
from allcores.timeouts import seconds

_NOTHING = object()


class _Raise:
    """An item in the place of a result: what the call raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class IMapIterator(Job, _std.IMapIterator):  # type: ignore[type-arg]
    """The results of `imap`, one by one, in the order of the input.

    It reads its input only a bounded distance ahead of what has been taken from it.

    Args:
        pool: kept alive until all results are there.
        chunksize: items a task.
        ordered: False gives results as they come.
        options: how its tasks are done.
    """

    def __init__(self, pool: Any, chunksize: int, ordered: bool, options: Options = PLAIN) -> None:
        if options is not PLAIN:
            self._options = options
        self._pool = pool
        self._line: Engine = pool._line
        self._chunksize = chunksize
        self._ordered = ordered
        self._items: deque[Any] = deque()
        self._sent: dict[int, Any] = {}  # what each task got, while it is under way
        self._unsorted: dict[int, Any] = {}
        self._index = 0  # of the next task to go into _items
        self._taken = 0  # items
        self._skipped = 0  # items that failed and are left out
        self._feed_at: float = 0  # items taken when the feed wants to be called again
        self._rushed = False  # nobody need take results for tasks to be made
        self._length: int | None = None  # in tasks, once known
        self._error: BaseException | None = None
        self._batons: Sequence[Any] = ()
        self._kept: Any = None
        self._lock = threading.RLock()
        self._feed: Callable[[], None] = lambda: None

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
        try:
            item = self._items.popleft()
        except IndexError:
            item = _NOTHING
        if item is _NOTHING:  # outside: the error is no context of what is raised in there
            item = self._wait(timeout)
        self._taken += 1
        if self._taken >= self._feed_at:
            self._feed()
        if self._bar is not None:
            self._bar.show(self._taken + self._skipped)
        if type(item) is _Raise:
            raise item.error
        return item

    __next__ = next

    def cancel(self) -> bool:
        """Make no more of the calls; the next result asked for is a `TaskCancelled`.

        Workers that are in the middle of one are ended, and replaced.

        Returns:
            False when all had ended.
        """
        if self._is_over():
            return False
        self._items.clear()
        self._abort(TaskCancelled("the calls were cancelled before they had ended"))
        self._line.stop(self._job)
        return True

    def _wait(self, timeout: float | None) -> Any:
        limit = seconds(timeout)
        while True:
            try:
                return self._items.popleft()
            except IndexError:
                pass
            if self._is_over():
                if self._items:
                    continue  # the last came just now
                self._close_bar()
                if self._error is not None:
                    error, self._error = self._error, None
                    self._length = self._index
                    raise error from error.__cause__
                raise StopIteration
            self._feed()
            if not self._line.attend(self, self._has_news, limit):
                raise TimeoutError(f"no result within {timeout} s; the task goes on")

    def _has_news(self) -> bool:
        return bool(self._items) or self._is_over()

    def _is_over(self) -> bool:
        return self._error is not None or self._index == self._length

    def _got(self, part: int, value: Any) -> None:
        self._got_many((part,), (value,))

    def _got_many(self, parts: Any, values: Any) -> None:
        sent = self._sent
        with self._lock:
            for part, value in zip(parts, values, strict=True):
                if sent.pop(part, self) is self:
                    continue
                if not self._ordered:
                    self._items.append(value)
                    self._index += 1
                elif part == self._index:
                    self._items.append(value)
                    self._index += 1
                    if self._unsorted:
                        self._sort()
                else:
                    self._unsorted[part] = (value,)
            self._look()
        if self._rushed:
            self._feed()

    def _got_list(self, part: int, values: Any, took: int) -> None:
        with self._lock:
            if self._sent.pop(part, self) is not self:
                self._add(part, values)
        if self._rushed:
            self._feed()

    def _is_open(self, part: int) -> bool:
        return part in self._sent

    def _repeat(self, part: int) -> None:
        function = self._kept
        if function is not None:  # else it has been cancelled just now
            self._line.each(function, self, ONE, (self._sent[part],), 0, 1, part)

    def _failed(self, part: int, error: BaseException) -> None:
        with self._lock:
            if self._sent.pop(part, self) is self:
                return
            if self._options.on_error == "raise":
                self._add(part, (_Raise(error),))
            elif self._options.on_error == "return":
                self._add(part, (error,))
            else:
                self._skipped += 1
                self._add(part, ())
        if self._rushed or self._options.on_error == "skip":
            self._feed()

    def _add(self, part: int, values: Sequence[Any]) -> None:
        if not self._ordered:
            self._items.extend(values)
            self._index += 1
        else:
            self._unsorted[part] = values
            self._sort()
        self._look()

    def _sort(self) -> None:
        unsorted = self._unsorted
        while self._index in unsorted:
            self._items.extend(unsorted.pop(self._index))
            self._index += 1

    def _first(self, part: int) -> int:
        return part * self._chunksize

    def _arguments(self, part: int, item: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        sent = self._sent[part]
        value = sent if self._chunksize == 1 else sent[item]
        return (value if self._options.seed is None else value[1],), {}

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._length = 1
            self._add(0, (_Raise(error),))

    def _rush(self) -> None:
        if isinstance(self._feed, Feed):
            self._rushed = True
            self._feed.rush()

    def _set_length(self, length: int) -> None:
        with self._lock:
            self._length = length
            self._look()

    def _abort(self, error: BaseException) -> None:
        with self._lock:
            if self._index != self._length:
                self._close_bar()
                self._error = error
                self._line.finish(self._job, early=True)
                self._look()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close(self._taken + self._skipped)

    def _look(self) -> None:
        if self._is_over():
            self._line.finish(self._job)
            self._pool = self._kept = None
            self._feed()
        for baton in self._batons:
            wake(baton)
