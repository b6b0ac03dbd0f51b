"""Spreading the items of a map over the workers, and putting their results in order.

Tasks are made as results come in: enough to keep the workers busy, no more. Unless told how many
items a task gets, the map measures how long an item takes and makes tasks of a few milliseconds.
When all are out and workers are idle, they get half of what a busy one has not begun.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from allcores.buffers import Known
from allcores.engines.contract import TERMINATE
from allcores.task.function import Function
from allcores.task.options import PLAIN, Options
from allcores.task.partial import attach, spans_of
from allcores.task.records import MAP, ONE, STAR_ONE, STARMAP, current, end
from allcores.task.result import ApplyResult, Callback, ErrorCallback

from multiprocessing import pool as _std  # isort: skip

# Tasks of one item under way: what fits into the ring.
_ONES = 768
# New ones are made when so many are left: several at once cost less.
_REFILL = 512
# Tasks of several items under way, for each worker: one that it does, the others that wait.
AHEAD = 3
# More when they are short: so much work for each, in nanoseconds, for when the thread that makes
# tasks has to wait for a processor.
_AHEAD_NS = 50_000_000
_MOST_AHEAD = 25
# As long as there is so much work for each, in nanoseconds, who waits takes results at times only:
# each wake-up takes the core from a worker, which costs far more than the time that it takes. (A
# guess.)
_PLENTY_NS = 20_000_000
_REST_S = 0.01
# How long a task should take, in nanoseconds: 100 times what it costs here.
TASK_NS = 2_000_000
# Items in the first tasks, before anything is measured: at most.
_FIRST = 16
# In the place of a result that is left out.
_SKIPPED = object()
# What is left of a task goes to another worker when it would take longer, in nanoseconds.
_WORTH_NS = 200_000


class MapResult(ApplyResult, _std.MapResult):  # type: ignore[type-arg]
    """The results, to come, of a map: a list in the order of the input.

    Args:
        pool: kept alive until the results are there.
        what: MAP or STARMAP.
        items: the input; has a length and can be sliced.
        chunksize: items a task; None measures.
        callback: called with the list.
        error_callback: called with the first exception instead.
        options: how its tasks are done.
    """

    def __init__(
        self,
        pool: Any,
        what: int,
        items: Any,
        chunksize: int | None,
        callback: Callback = None,
        error_callback: ErrorCallback = None,
        options: Options = PLAIN,
    ) -> None:
        super().__init__(pool, callback, error_callback, None, options)
        if options.by_item:
            chunksize = 1
        self._what = what
        self._each = ONE if what == MAP else STAR_ONE
        self._items = items
        if type(items) in (list, tuple):
            # It is the call's until the end, so what its items share is sent once.
            self._known = Known()
        self._length = length = len(items)
        self._workers: int = pool._processes
        self._chunksize = chunksize
        self._value = [None] * length
        self._function: Function | None = None
        self._lock = threading.RLock()  # a signal handler may call the pool in the middle of it
        self._feeding = threading.Lock()
        self._next = 0  # the first item that is in no task yet
        self._settled = 0  # items
        # Tasks of one item: part is index, and this says which are open. Of several: where each
        # part begins and ends, and how many items it has, 0 when it is settled.
        self._open = bytearray(length) if chunksize == 1 else bytearray()
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._counts: list[int] = []
        self._parts_out = 0
        # How long an item took in the latest tasks; the least of it counts: the rest may have
        # been waiting for a processor.
        self._took: deque[float] = deque(maxlen=4)
        self._ahead = AHEAD * self._workers

    def start(self, function: Function | None) -> None:
        """Make the first tasks.

        Args:
            function: what to call; None where there are no items.
        """
        self._function = function
        if self._length == 0:
            self._success = True
            self._complete()
        self._more()

    # Tasks go out.

    def _more(self) -> None:
        """Make tasks as long as there is room; called whenever there may be."""
        while self._has_room():
            # One thread at a time; the one that is at it looks again when it is through.
            if not self._feeding.acquire(False):
                return
            try:
                while self._has_room():
                    self._step()
            finally:
                self._feeding.release()

    def _has_room(self) -> bool:
        if self._next >= self._length or self._over or self._line.state == TERMINATE:
            return False
        if self._chunksize == 1:
            under_way, most = self._next - self._settled, _REFILL
        else:
            under_way, most = self._parts_out, self._ahead
        # Nobody calls again while nothing is under way.
        return under_way < most and (under_way == 0 or self._line.has_room())

    def _step(self) -> None:
        function = self._function
        if function is None:
            return  # it has been cancelled just now
        start = self._next
        if self._chunksize == 1:
            stop = min(self._length, self._settled + _ONES)
            self._open[start:stop] = b"\1" * (stop - start)
            self._next = stop
            reached = self._line.each(function, self, self._each, self._items, start, stop)
            if reached < stop and not self._over:
                self._open[reached:stop] = bytes(stop - reached)
                self._next = reached
            return
        stop = self._next = start + self._size(self._length - start)
        if stop == self._length:
            self._line.tail(self._job)
        self._post(start, stop)

    def _size(self, left: int) -> int:
        """Return how many items the next task gets."""
        if self._chunksize is not None:
            return min(self._chunksize, left)
        if self._took:
            size = int(TASK_NS / min(self._took))
        else:
            size = min(_FIRST, self._length // (16 * self._workers))
        # Smaller towards the end, so that all workers end at about the same time.
        return max(1, min(size, left // (2 * self._workers)))

    def _post(self, start: int, stop: int) -> None:
        function = self._function
        if function is None:
            return  # it has been cancelled just now
        with self._lock:
            part = len(self._starts)
            self._starts.append(start)
            self._ends.append(stop)
            self._counts.append(stop - start)
            self._parts_out += 1
        self._line.several(function, self, part, self._what, self._items, start, stop)

    def _share(self, part: int, lease: Any, place: int) -> None:
        """Give half of the items that a worker has not begun to others.

        Args:
            part: the worker's task.
            lease: its lease.
            place: the word PLACE of that, read after the task.
        """
        at = current(place)
        left = end(place) - at - 1
        if left < 1 or self._over:
            return
        spent = (time.monotonic_ns() - lease.start) / (at + 1)
        if left * max([spent, *self._took]) < _WORTH_NS:
            return
        keep = at + 1 + left // 2
        try:
            with self._lock:
                count = self._counts[part]
                if count != end(place) or not lease.take_back(place, keep):
                    return
                self._counts[part] = keep
                self._ends[part] = self._starts[part] + keep
            start = self._starts[part]
            self._post(start + keep, start + count)
        except BaseException as error:
            self._abort(error)  # Ctrl-C: nobody knows whether they are on their way
            raise

    # Results come in.

    def _rest(self) -> float:
        took = self._took
        if not took or self._over:
            return 0.0
        under_way = (self._next - self._settled) / self._workers
        return _REST_S if under_way * min(took) >= _PLENTY_NS else 0.0

    def _got(self, part: int, value: Any) -> None:
        self._got_many((part,), (value,))

    def _got_many(self, parts: Any, values: Any) -> None:
        is_open, results = self._open, self._value
        with self._lock:
            if self._over:
                return
            settled = 0
            for part, value in zip(parts, values, strict=True):
                if is_open[part]:
                    is_open[part] = 0
                    results[part] = value
                    settled += 1
            self._settled += settled
        self._look()

    def _got_list(self, part: int, values: list[Any], took: int) -> None:
        with self._lock:
            count = self._counts[part]
            if self._over or count == 0:
                return
            if len(values) != count:
                error = RuntimeError(f"{count} items made {len(values)} results; report it")
                values = [None] * count
                self._success, self._value, self._over = False, error, True
            else:
                start = self._starts[part]
                self._value[start : start + count] = values
            self._counts[part] = 0
            self._parts_out -= 1
            self._settled += count
            self._took.append(max(took, 1) / count)
            task = min(self._took) * count
            self._ahead = self._workers * max(AHEAD, min(_MOST_AHEAD, int(_AHEAD_NS / task)))
        self._look()

    def _look(self) -> None:
        if self._bar is not None:
            self._bar.show(self._settled)
        if self._over:
            self._complete()
        elif self._settled < self._length:
            self._more()
        else:
            with self._lock:
                if not self._over:
                    if self._options.on_error == "skip":
                        self._value = [value for value in self._value if value is not _SKIPPED]
                    self._success = self._over = True
            self._complete()

    def _failed(self, part: int, error: BaseException) -> None:
        with self._lock:
            if self._over or not self._is_open(part):
                return
            on_error = self._options.on_error
            if on_error == "raise":
                attach(error, self._value, self._done())
                self._next = self._length
                self._success, self._value = False, error
                self._over = True  # what else comes in is dropped
            else:
                self._open[part] = 0
                self._value[part] = error if on_error == "return" else _SKIPPED
                self._settled += 1
        self._look()

    def _done(self) -> list[tuple[int, int]]:
        """Return where there are results."""
        if self._chunksize == 1:
            return spans_of(self._open, self._next)
        # (A part that an interrupt kept from being noted wholly has no count.)
        spans = zip(self._starts, self._ends, self._counts, strict=False)
        return sorted((start, end) for start, end, count in spans if count == 0)

    def _is_open(self, part: int) -> bool:
        if self._chunksize == 1:
            return bool(self._open[part])
        return part >= len(self._counts) or self._counts[part] != 0

    def _repeat(self, part: int) -> None:
        function = self._function
        if function is not None:
            self._line.each(function, self, self._each, self._items, part, part + 1)

    def _fail(self, error: BaseException) -> None:
        self._success, self._value = False, error
        self._complete()

    def _end_with(self, error: BaseException) -> None:
        with self._lock:
            super()._end_with(error)

    def _first(self, part: int) -> int:
        return part if self._chunksize == 1 else self._starts[part]

    def _arguments(self, part: int, item: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        value = self._items[self._first(part) + item]
        if self._options.seed is not None:
            value = value[1]
        return (tuple(value) if self._what == STARMAP else (value,)), {}

    def _finish(self, early: bool = False) -> None:
        if self._bar is not None:
            self._bar.close(self._settled)
        super()._finish(early or not self._success)
        self._items = ()
        self._known = None
        self._function = None
