"""Feeding `imap`: its input is read a bounded distance ahead of what has been taken.

Where reading an item can't block (a list, a range, a counter), whoever takes results feeds. Any
other iterator may wait for something, even for a result of its own call, so it gets a thread.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from allcores.task.line import TERMINATE

# Tasks that a call keeps under way or waiting to be taken: enough that workers don't starve
# between two looks of a consumer (a guess), and few enough to be called a bounded distance.
_AHEAD = 128
_AHEAD_PER_WORKER = 4

_NEVER_BLOCK = (
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
        iterable: the input, as the user gave it.
        pieces: the input in tasks.
        post: makes a task: called with its index and its piece.
        limit: tasks that may be ahead of the consumer.
    """

    def __init__(
        self,
        job: Any,
        iterable: Iterable[Any],
        pieces: Iterator[Any],
        post: Callable[[int, Any], None],
        limit: int,
    ) -> None:
        self._job = job
        self._pieces: Iterator[Any] | None = pieces
        self._post = post
        self._limit: float = limit
        self._posted = 0
        self._feeding = threading.Lock()
        self._room: threading.Condition | None = None
        if type(iterable) not in _NEVER_BLOCK:
            self._room = threading.Condition()
            thread = threading.Thread(target=self._serve, name="allcores-imap", daemon=True)
            thread.start()

    def __call__(self) -> None:
        """Make as many tasks as there is room for; called whenever there may be."""
        if self._pieces is None:
            return
        if self._room is not None:
            with self._room:
                self._room.notify()
        elif self._feeding.acquire(False):
            try:
                while self._has_room() and self._step():
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
                        self._pieces = None
                        return
                    self._room.wait()
            if not self._step():
                return

    def _is_over(self) -> bool:
        return bool(self._job._is_over()) or self._job._line.state == TERMINATE

    def _has_room(self) -> bool:
        return not self._is_over() and bool(self._job._ahead(self._posted) < self._limit)

    def _step(self) -> bool:
        pieces = self._pieces
        if pieces is None:
            return False
        index = self._posted
        try:
            piece = next(pieces)
        except StopIteration:
            self._end(index)
            return False
        except BaseException as error:
            # The user's iterator failed: its error comes where the next result would have.
            self._posted += 1
            self._end(index + 1)
            self._job._set(index, (False, error))
            if not isinstance(error, Exception):
                raise
            return False
        self._posted += 1
        self._post(index, piece)
        return True

    def _end(self, length: int) -> None:
        self._pieces = None
        self._job._set_length(length)
