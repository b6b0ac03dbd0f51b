"""Feeding `imap`: its input is read a bounded distance ahead of what has been taken.

Where reading an item can't block (a list, a range, a counter), whoever takes results feeds. Any
other iterator may wait for something, even for a result of its own call, so it gets a thread.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from allcores.engines.contract import TERMINATE
from allcores.task.records import MAP, ONE

# Tasks that a call keeps under way or waiting to be taken: enough that workers don't starve
# between two looks of a consumer (a guess), and few enough to be called a bounded distance.
_AHEAD = 128
_AHEAD_PER_WORKER = 4
# Tasks made before anybody looks again whether they are wanted.
_AT_ONCE = 64

NEVER_BLOCK = (
    list,
    tuple,
    range,
    set,
    frozenset,
    dict,
    str,
    bytes,
    bytearray,
    deque,
    itertools.count,
    itertools.repeat,
)


def ahead(workers: int, chunksize: int) -> int:
    """Return how many tasks of `chunksize` items may be ahead of the consumer."""
    return max(_AHEAD_PER_WORKER * workers, _AHEAD // chunksize)


class Feed:
    """Turns the input of one `imap` into tasks, as its results are taken.

    Args:
        job: the IMapIterator.
        function: what to call.
        items: the input.
        limit: tasks that may be ahead of the consumer.
    """

    def __init__(self, job: Any, function: Any, items: Iterator[Any], limit: int) -> None:
        self._job = job
        self._function = function
        self._size: int = job._chunksize
        self._items: Iterator[Any] | None = items
        self._limit: float = limit
        self._posted = 0
        self._held: list[Any] = []  # items that were read, and wait until the line has room
        self._met: BaseException | None = None  # what was raised in place of the one behind them
        self._feeding = threading.Lock()
        self._room: threading.Condition | None = None

    def in_thread(self) -> None:
        """Read the input in a thread of its own: it may block."""
        self._room = threading.Condition()
        threading.Thread(target=self._serve, name="allcores-imap", daemon=True).start()

    def __call__(self) -> None:
        """Make as many tasks as there is room for; called whenever there may be."""
        if self._items is None:
            return
        if self._room is not None:
            with self._room:
                self._room.notify()
            return
        while self._items is not None and self._has_room():
            # One thread at a time; the one that is at it looks again when it is through.
            if not self._feeding.acquire(False):
                return
            try:
                while (room := self._has_room()) and self._step(room):
                    pass
            finally:
                self._feeding.release()

    def rush(self) -> None:
        """Make all tasks that are left: the pool is closed and waited for."""
        self._limit = float("inf")
        self()

    def _serve(self) -> None:
        assert self._room is not None
        while True:
            with self._room:
                while not self._has_room():
                    if self._is_over():
                        self._items = None
                        return
                    self._room.wait()
            if not self._step(1):
                return

    def _is_over(self) -> bool:
        return bool(self._job._is_over()) or self._job._line.state == TERMINATE

    def _has_room(self) -> int:
        """Return how many tasks may be made now."""
        if self._is_over():
            return 0
        job = self._job
        taken = (job._taken + job._skipped) // self._size
        # Few at first: they may be large.
        room = min(self._limit - (self._posted - taken), _AT_ONCE, self._posted + 4)
        if room <= 0 and self._limit > 1:
            # Not again before half of them have been taken: several at once cost less.
            job._feed_at = job._taken + max(1, int(self._limit) // 2) * self._size
        if job._sent and not job._line.has_room():
            return 0
        return max(0, int(room))

    def _step(self, room: int) -> bool:
        """Make up to `room` tasks; False when the input is at its end."""
        items = self._items
        if items is None:
            return False
        batch, self._held = self._held, []
        wanted = max(room * self._size, len(batch))
        failed = met = self._met
        if met is None:
            try:
                batch.extend(itertools.islice(items, wanted - len(batch)))
            except BaseException as error:
                failed = error
                # The error comes in the place of the task that it left unfinished.
                del batch[len(batch) // self._size * self._size :]
        try:
            self._make(batch)
        except BaseException as error:
            self._job._abort(error)  # Ctrl-C: nobody knows which of them are on their way
            raise
        if self._held and (failed is met or isinstance(failed, Exception)):
            self._met = failed
            return True
        if failed is None and len(batch) == wanted:
            return True
        self._items = None
        if failed is None:
            self._job._set_length(self._posted)
            return False
        # The user's iterator failed: its error comes where the next result would have.
        part = self._posted
        self._posted += 1
        self._job._sent[part] = None
        self._job._set_length(part + 1)
        self._job._failed(part, failed)
        if not isinstance(failed, Exception):
            raise failed
        return False

    def _make(self, batch: list[Any]) -> None:
        """Make tasks of some items, as far as the line has room; hold the others."""
        job, line, first = self._job, self._job._line, self._posted
        done = 0
        if self._size == 1:
            last = first + len(batch)
            job._sent.update(zip(range(first, last), batch, strict=True))
            if batch:
                done = line.each(self._function, job, ONE, batch, 0, len(batch), first)
            self._posted = first + done
            for part in range(self._posted, last):
                job._sent.pop(part, None)
        while done < len(batch) and self._size > 1 and (done == 0 or line.has_room()):
            piece = batch[done : done + self._size]
            part = self._posted
            self._posted += 1
            job._sent[part] = piece
            line.several(self._function, job, part, MAP, piece, 0, len(piece))
            done += len(piece)
        self._held = batch[done:]
