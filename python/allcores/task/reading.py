"""A map that reads its input while it is worked on.

An input that has to be read item by item (a generator, a file, a data set that loads what is asked
for) is read by the thread that waits for the map, a bounded distance ahead of the results: no other
thread may be allowed to, and one that waits has nothing else to do. What is done is forgotten.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from allcores.engines.contract import TERMINATE, wake
from allcores.task import cut
from allcores.task.feed import ahead
from allcores.task.options import PLAIN, Options
from allcores.task.partial import attach
from allcores.task.spread import AHEAD, TASK_NS, MapResult

# Items of their own tasks that are read before they are posted.
_ONES_AT_ONCE = 16
# Items of a measured task: at most, as they are in memory.
_MOST = 2048
# What has been read is posted when reading takes longer, in nanoseconds.
_PATIENCE_NS = 2_000_000
# How often that is looked at while a task's items are read.
_PIECES = 32


class ReadResult(MapResult):
    """The results, to come, of a map whose input is read by the thread that makes it.

    Args:
        pool: kept alive until the results are there.
        what: MAP or STARMAP.
        iterable: the input.
        chunksize: items a task; None measures.
        options: how its tasks are done.
    """

    _all_read = False  # all of the input

    def __init__(
        self,
        pool: Any,
        what: int,
        iterable: Iterable[Any],
        chunksize: int | None,
        options: Options = PLAIN,
    ) -> None:
        self._total = cut.length(iterable)
        iterator = iter(iterable)
        self._iterator: Any = iterator if options.seed is None else enumerate(iterator)
        super().__init__(pool, what, [], chunksize, options=options)
        self._length = sys.maxsize  # not known yet
        self._lazy = self._line.lazy  # then there is nothing to read ahead for
        self._most = 1 if self._lazy else ahead(self._workers, 1)
        self._at_once = 1 if self._lazy else _ONES_AT_ONCE
        self._burst = 1  # items that may be read at once
        self._reached = 0  # items in tasks; those read since wait until the line has room

    def start(self, function: Any) -> None:
        """Read the input, and make tasks of it as there is room.

        Args:
            function: what to call.
        """
        self._function = function
        try:
            while not (self._over or (self._all_read and self._reached == self._next)):
                self._line.attend(self, self._has_news, None)
                if self._has_room():
                    self._step()
        except BaseException as error:
            # The input's, or Ctrl-C: nobody will read on.
            attach(error, self._value, self._done())
            self._abort(error)
            raise

    def _has_news(self) -> bool:
        return self._over or self._has_room()

    def _has_room(self) -> bool:
        if self._over or self._line.state == TERMINATE:
            return False
        if self._chunksize == 1:
            under_way = self._reached - self._settled
            room = under_way + self._at_once <= self._most
        else:
            under_way = self._parts_out
            room = under_way < (1 if self._lazy else AHEAD * self._workers)
        if self._reached < self._next:
            room = True
        elif self._all_read:
            room = False
        return room and (under_way == 0 or self._line.has_room())

    def _more(self) -> None:
        # Results came in; whoever brought them doesn't read.
        if self._has_room():
            for baton in self._batons:
                wake(baton)

    def _step(self) -> None:
        iterator = self._iterator
        if self._function is None or iterator is None:
            return  # it is over just now
        if self._reached < self._next:
            self._post_ones()
            return
        began = time.monotonic_ns()
        batch, ended = self._take(iterator, began)
        # What a task raises that is done in this thread, below, would keep it.
        del iterator
        with self._lock:
            if self._over:
                return
            start = self._next
            self._items.extend(batch)
            self._value.extend([None] * len(batch))
            if self._chunksize == 1:
                self._open.extend(b"\1" * len(batch))
            stop = self._next = start + len(batch)
            if ended:
                self._length, self._all_read = stop, True
            done = ended and self._settled == stop
        if done:
            self._look()
            return
        if self._chunksize == 1:
            self._post_ones()
        else:
            if ended:
                self._line.tail(self._job)
            if batch:
                self._post(start, stop)
            self._reached = stop
        if not ended and time.monotonic_ns() - began > _PATIENCE_NS:
            self._line.leave(self)  # results may lie there until this thread looks again

    def _post_ones(self) -> None:
        """Post the items that have been read, as far as the line has room."""
        start, stop = self._reached, self._next
        if start < stop:
            reached = self._line.each(self._function, self, self._each, self._items, start, stop)
            self._reached = reached
            if reached < stop:
                self._burst = 1  # they are large

    def _take(self, iterator: Any, began: int) -> tuple[list[Any], bool]:
        """Return the items to post next, and whether the input has ended."""
        size = self._chunksize
        if size is not None and size > 1:
            batch = list(islice(iterator, size))
            return batch, len(batch) < size
        # An input that is slow, or may come to a halt, keeps no more from the workers than it has
        # just given quickly.
        wanted = min(self._wanted(), self._burst)
        piece = max(1, wanted // _PIECES)
        batch = []
        while len(batch) < wanted:
            before = len(batch)
            batch += islice(iterator, min(piece, wanted - before))
            if len(batch) - before < min(piece, wanted - before):
                return batch, True
            if time.monotonic_ns() - began > _PATIENCE_NS:
                self._burst = 1
                return batch, False
        self._burst = 2 * wanted
        return batch, False

    def _wanted(self) -> int:
        if self._chunksize == 1:
            return self._at_once
        size = min(_MOST, int(TASK_NS / min(self._took))) if self._took else 1
        if self._total is not None:
            size = min(size, (self._total - self._next) // (2 * self._workers))
        return max(1, size)

    def _got_many(self, parts: Any, values: Any) -> None:
        items = self._items
        super()._got_many(parts, values)
        if items:
            for part in parts:
                items[part] = None

    def _got_list(self, part: int, values: list[Any], took: int) -> None:
        items, start = self._items, self._starts[part]
        super()._got_list(part, values, took)
        if items:
            items[start : start + len(values)] = [None] * len(values)

    def _finish(self, early: bool = False) -> None:
        if self._bar is not None and self._all_read:
            self._bar.close(self._settled, self._length)
        super()._finish(early)
        self._iterator = None
