"""Queues between processes: what ``multiprocessing.queues`` documents, without a feeder thread.

All three are a ring in shared memory (``_core.Ring``). ``put`` has put the item when it returns, so
a process may end right after it, whatever the size of the item and whether or not anybody reads.
A process that is killed takes at most the item with it that it was just putting; an item that
it was just getting goes to another. A queue travels anywhere: as an argument, in a result,
through another queue.

Ints, floats, bools, None, bytes and str go as they are, everything else as a pickle.
"""

from __future__ import annotations

import operator
import sys
from multiprocessing import queues as _std
from queue import Empty, Full
from types import GenericAlias
from typing import TYPE_CHECKING, Any, TypeVar

from allcores import _core, pickling

__all__ = ["Empty", "Full", "JoinableQueue", "Queue", "SimpleQueue"]

_T = TypeVar("_T")

if TYPE_CHECKING:
    _StdQueue = _std.Queue
    _StdJoinableQueue = _std.JoinableQueue
    _StdSimpleQueue = _std.SimpleQueue
else:
    # Python 3.11 has them without the subscript.
    _StdQueue = {_T: _std.Queue}
    _StdJoinableQueue = {_T: _std.JoinableQueue}
    _StdSimpleQueue = {_T: _std.SimpleQueue}

_NOTHING: Any = object()
_MANY = 256  # cells of a queue without a bound; a power of two


def _root(error: BaseException) -> BaseException:
    """Return the error that the others were raised for."""
    for _ in range(100):
        deeper = error.__cause__ or error.__context__
        if deeper is None:
            break
        error = deeper
    return error


class _Ring:
    """What all queues share: the ring, and how it travels."""

    _ring: _core.Ring
    _closed = False
    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(GenericAlias)

    def _use(self, ring: _core.Ring) -> None:
        self._ring = ring
        # Bound once: looking them up takes as long as using them.
        self._put_object = ring.put_object
        self._get_object = ring.get_object

    def __getstate__(self) -> Any:
        pickling.note_sent(self._ring.offset)
        return self._ring.handle()

    def __setstate__(self, state: Any) -> None:
        self._use(_core.Ring.from_handle(*state))

    def _put_pickled(self, obj: Any, timeout: float | None) -> bool:
        try:
            data, refs = pickling.pack(obj, "the item")
        except Exception as error:
            hook = getattr(type(self), "_on_queue_feeder_error", None)
            if hook is None or hook is _std.Queue.__dict__["_on_queue_feeder_error"].__func__:
                raise
            # Somebody wants to be told instead, as the standard library's feeder thread does.
            hook(_root(error), obj)
            return True
        return self._ring.put(data, refs, 0, timeout)

    def close(self) -> None:
        """Promise that this process neither puts nor gets any more; others still may."""
        self._closed = True


class Queue(_Ring, _StdQueue[_T]):
    """A queue of picklable objects for any number of producers and consumers.

    Items come out in the order in which each producer put them.

    Args:
        maxsize: how many items may wait, exactly; 0 or less is any number.
        ctx: the context that it is made by; taken for the standard library's sake.

    Example:
        >>> from allcores.queues import Queue
        >>> queue = Queue()
        >>> queue.put([1, 2])
        >>> queue.get()
        [1, 2]
    """

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        maxsize = operator.index(maxsize)
        if maxsize > 0:
            self._use(_core.Ring(maxsize))
        else:
            self._use(_core.Ring(_MANY, unbounded=True))

    def put(self, obj: _T, block: bool = True, timeout: float | None = None) -> None:
        """Put `obj` into the queue; it is there when this returns.

        Args:
            obj: is pickled here and now, so it may be changed afterwards.
            block: whether to wait for room.
            timeout: how many seconds at most; `None` waits as long as it takes.

        Raises:
            queue.Full: there was no room, or not in time.
            NotPicklable: `obj` can't travel; nothing was put.
            ValueError: this process has closed the queue.
        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        if not block:
            timeout = 0
        sent = self._put_object(obj, timeout)
        if sent is None:
            sent = self._put_pickled(obj, timeout)
        if not sent:
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> _T:
        """Take the next item out.

        Args:
            block: whether to wait for one.
            timeout: how many seconds at most; `None` waits as long as it takes.

        Raises:
            queue.Empty: there was none, or not in time.
            ValueError: this process has closed the queue.
        """
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        item: Any = self._get_object(timeout if block else 0, pickling.loads, _NOTHING)
        if item is _NOTHING:
            raise Empty
        return item  # type: ignore[no-any-return]

    def put_nowait(self, obj: _T) -> None:
        """Do ``put(obj, block=False)``."""
        self.put(obj, False)

    def get_nowait(self) -> _T:
        """Do ``get(block=False)``."""
        return self.get(False)

    def qsize(self) -> int:
        """Return how many items wait; true at one moment only, as others go on meanwhile."""
        return self._ring.qsize()

    def empty(self) -> bool:
        """Return whether no item waits, at this moment."""
        if self._closed and self._ring.unfinished():
            raise OSError(f"queue {self!r} is closed")
        return self._ring.empty()

    def full(self) -> bool:
        """Return whether `maxsize` items wait, at this moment."""
        capacity = self._ring.capacity
        return capacity is not None and self._ring.qsize() >= capacity

    @property
    def _maxsize(self) -> int:
        # Read by programs that look behind the standard library's curtain.
        return self._ring.capacity or 0

    def join_thread(self) -> None:
        """Return at once: there is no thread. The queue has to be closed before."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")

    def cancel_join_thread(self) -> None:
        """Do nothing: there is no thread, and nothing is lost when the process ends."""


class JoinableQueue(Queue[_T], _StdJoinableQueue[_T]):
    """A queue that knows how many of its items have been worked off.

    Example:
        >>> from allcores.queues import JoinableQueue
        >>> queue = JoinableQueue()
        >>> queue.put(1)
        >>> item = queue.get()
        >>> queue.task_done()
        >>> queue.join()
    """

    def task_done(self) -> None:
        """Say that one item, got before, has been worked off.

        Raises:
            ValueError: it was said as often as items were put already.
        """
        if not self._ring.task_done():
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Wait until `task_done` was called for each item that was put."""
        self._ring.join()


class SimpleQueue(_Ring, _StdSimpleQueue[_T]):
    """A queue without a bound and without options."""

    def __new__(cls, *, ctx: Any = None) -> Any:
        """Make one; for ``concurrent.futures`` the standard library's, whose pipe it waits on."""
        caller = sys._getframe(1)
        if caller.f_back is not None and caller.f_globals.get("__name__") == "allcores.context":
            caller = caller.f_back
        if caller.f_globals.get("__name__") == "concurrent.futures.process":
            return _std.SimpleQueue(ctx=ctx)
        return super().__new__(cls)

    def __init__(self, *, ctx: Any = None) -> None:
        self._use(_core.Ring(_MANY, unbounded=True))

    def put(self, obj: _T) -> None:
        """Put `obj` into the queue; it is there when this returns, and this never waits.

        Raises:
            NotPicklable: `obj` can't travel; nothing was put.
            OSError: this process has closed the queue.
        """
        self._check()
        if self._put_object(obj) is None:
            self._put_pickled(obj, None)

    def get(self) -> _T:
        """Take the next item out, waiting for one.

        Raises:
            OSError: this process has closed the queue.
        """
        self._check()
        return self._get_object(None, pickling.loads, _NOTHING)  # type: ignore[no-any-return]

    def empty(self) -> bool:
        """Return whether no item waits, at this moment."""
        self._check()
        return self._ring.empty()

    def _check(self) -> None:
        if self._closed:
            raise OSError(f"queue {self!r} is closed")


def __getattr__(name: str) -> Any:
    # Names that were never documented, and are used all the same.
    return getattr(_std, name)
