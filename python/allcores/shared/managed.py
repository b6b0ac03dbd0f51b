"""A manager's locks, events and queues: those of the package, with a manager's ways.

They take the arguments and raise the exceptions of ``threading`` and ``queue``, whose objects the
standard library's manager serves, and they can't be used any more once their manager was shut
down. Who waits for one then is told so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allcores import _core, queues, sync

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "Queue",
    "RLock",
    "Semaphore",
]


class _Managed:
    """What knows the life of its manager."""

    _life: _core.Life

    @classmethod
    def under(cls, life: _core.Life, *args: Any) -> Any:
        """Make one that can't be used any more when a life is over."""
        self = cls(*args)
        self._life = life
        return self

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name}Proxy object, typeid {name!r} at {id(self):#x}>"


def _under(base: type, *names: str) -> Any:
    """Return a class with these methods of `base`, for as long as the manager lives."""

    def method(name: str) -> Any:
        inherited = getattr(base, name)

        def call(self: Any, *args: Any, **named: Any) -> Any:
            return self._life.call(inherited, self, *args, **named)

        call.__name__, call.__doc__ = name, inherited.__doc__
        return call

    return type(base.__name__, (base,), {name: method(name) for name in names})


def _threading(work: Any, *args: Any) -> Any:
    """Do something about a lock, with the exception that ``threading`` raises."""
    try:
        return work(*args)
    except (AssertionError, ValueError) as error:
        raise RuntimeError(str(error)) from None


class _Acquirer(_Managed):
    """What is acquired and released."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take it.

        Args:
            blocking: whether to wait for it.
            timeout: how many seconds at most; None or -1 is as long as it takes.

        Raises:
            ValueError: there is a time limit for what doesn't wait, or it is negative.
        """
        if timeout is not None and timeout != -1:
            if not blocking:
                raise ValueError("can't specify a timeout for a non-blocking call")
            if timeout < 0:
                raise ValueError("timeout value must be a non-negative number")
        elif timeout is not None:
            timeout = None
        taken: bool = self._life.call(super().acquire, blocking, timeout)  # type: ignore[misc]
        return taken

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        super().release()  # type: ignore[misc]


class _Locker(_Acquirer):
    """A lock of either kind."""

    def release(self) -> None:
        """Let it go.

        Raises:
            RuntimeError: nobody has the lock, or, with an RLock, this thread doesn't.
        """
        _threading(super().release)  # type: ignore[misc]


class Lock(_Locker, sync.Lock):  # type: ignore[misc]
    """A lock of a manager."""


class RLock(_Locker, sync.RLock):  # type: ignore[misc]
    """A lock of a manager that its thread may take again."""


class Semaphore(_Acquirer, sync.Semaphore):  # type: ignore[misc]
    """A semaphore of a manager."""


class BoundedSemaphore(_Acquirer, sync.BoundedSemaphore):  # type: ignore[misc]
    """A semaphore of a manager that can't be released above its first value."""


class Condition(_Locker, _under(sync.Condition, "wait_for")):  # type: ignore[misc]
    """A condition variable of a manager."""

    def wait(self, timeout: float | None = None) -> bool:
        """Let go of the lock, wait to be notified, and take it again.

        Args:
            timeout: how many seconds at most; None is as long as it takes.

        Raises:
            RuntimeError: this thread doesn't have the lock.
        """
        woken: bool = _threading(self._life.call, super().wait, timeout)
        return woken

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate` returns something true, and return that.

        Args:
            predicate: called with the lock held.
            timeout: how many seconds at most; then the predicate's last result comes back.

        Raises:
            RuntimeError: this thread doesn't have the lock.
        """
        try:
            return super().wait_for(predicate, timeout)
        except AssertionError as error:
            if self._lock._is_mine():
                raise  # it is the predicate's
            raise RuntimeError(str(error)) from None

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` of those who wait.

        Raises:
            RuntimeError: this thread doesn't have the lock.
        """
        _threading(self._life.call, super().notify, n)

    def notify_all(self) -> None:
        """Wake all who wait.

        Raises:
            RuntimeError: this thread doesn't have the lock.
        """
        _threading(self._life.call, super().notify_all)


class Event(_Managed, _under(sync.Event, "clear", "is_set", "set", "wait")):  # type: ignore[misc]
    """A flag of a manager that many can wait for."""


class Barrier(_Managed, _under(sync.Barrier, "abort", "reset", "wait")):  # type: ignore[misc]
    """A barrier of a manager."""


_Queue: Any = _under(queues.JoinableQueue, "empty", "full", "join", "qsize", "task_done")


class Queue(_Managed, _Queue):  # type: ignore[misc]
    """A queue of a manager, with ``task_done`` and ``join``."""

    def __getstate__(self) -> Any:
        return super().__getstate__(), self._life

    def __setstate__(self, state: Any) -> None:
        ring, self._life = state
        super().__setstate__(ring)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item in; see `allcores.queues.Queue.put`."""
        _check(block, timeout)
        self._life.call(super().put, item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next item out; see `allcores.queues.Queue.get`."""
        _check(block, timeout)
        return self._life.call(super().get, block, timeout)


def _check(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
