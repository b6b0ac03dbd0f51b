"""Locks of the standard library's that were made for fork, and are to go elsewhere all the same.

Where fork is the standard library's default (before Python 3.14), ``multiprocessing.Lock()`` is a
semaphore without a name, which only this process and its forks can have. Programs pass it to
whatever pool they are given: tqdm does so with its own. So such a lock is *adopted* when it is to
go to a process that isn't forked: the object stays what it is, and the semaphore in it is replaced
by one of ours. So it is with what has such locks inside: conditions, events, queues.

That is right only as long as no other process has the old semaphore, and nobody holds it. The
first is known from the order in which the standard library has registered its locks and processes
were forked: a lock that was there before this module, or before the last fork, is refused.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, NoReturn

__all__ = ["MODULES", "reduce"]

# Where the classes are that this is about.
MODULES = frozenset(
    {"multiprocessing.synchronize", "multiprocessing.sharedctypes", "multiprocessing.queues"}
)

# The standard library numbers what it has to do after a fork, locks among it. What has a lower
# number than this may be in other processes.
_shared_below = 0
_adopting = threading.Lock()


def _forking() -> None:
    global _shared_below
    # Not imported for this: as long as it isn't, there are no locks.
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        _shared_below = next(util._afterfork_counter)


_forking()


def _after_fork() -> None:
    global _adopting
    _adopting = threading.Lock()


os.register_at_fork(before=_forking, after_in_child=_after_fork)


def reduce(obj: Any) -> Any:
    """Return how to make `obj` again in another process; NotImplemented if it needs no help.

    Args:
        obj: of a class of one of `MODULES`.

    Raises:
        NotPicklable: it may be in another process already, or somebody holds it.
    """
    import multiprocessing.synchronize as std
    from multiprocessing.queues import Queue
    from multiprocessing.sharedctypes import SynchronizedBase

    if isinstance(obj, std.SemLock):
        if not _is_ours(obj) and obj._semlock.name is not None:  # type: ignore[attr-defined]
            return NotImplemented
        _adopt(obj)
        return _lock_again, (type(obj), obj._semlock)  # type: ignore[attr-defined]
    # What keeps methods of its lock has to get those of the new one.
    held: Any = obj
    if isinstance(obj, std.Condition) and _nameless(held._lock):
        parts = held._lock, held._sleeping_count, held._woken_count, held._wait_semaphore
        for part in parts:
            _adopt(part)
        held._make_methods()
        return _condition_again, (type(obj), parts)
    if isinstance(obj, SynchronizedBase) and _nameless(held._lock):
        _adopt(held._lock)
        held.acquire, held.release = held._lock.acquire, held._lock.release
    elif isinstance(obj, Queue) and _nameless(held._rlock) and held._thread is not None:
        _refuse(
            "this queue of the standard library's is in use already, and its thread keeps the lock "
            "that it began with; make it with allcores.Queue(), or pass it on before the first put"
        )
    return NotImplemented


def _refuse(why: str) -> NoReturn:
    from allcores.errors import NotPicklable

    raise NotPicklable(why)


def _is_ours(lock: Any) -> bool:
    from allcores import sync

    return isinstance(lock._semlock, (sync.Lock, sync.RLock, sync.Semaphore))


def _nameless(lock: Any) -> bool:
    semlock = getattr(lock, "_semlock", None)
    return semlock is not None and not _is_ours(lock) and getattr(semlock, "name", 0) is None


def _adopt(lock: Any) -> None:
    """Put one of our locks into a lock of the standard library's, unless one is in it already."""
    with _adopting:
        if _is_ours(lock):
            return
        util: Any = sys.modules["multiprocessing.util"]
        numbers = [key[0] for key, obj in list(util._afterfork_registry.items()) if obj is lock]
        if not numbers or numbers[0] < _shared_below:
            _refuse(
                "a lock that the standard library has made for fork can't go to this process, as a "
                "fork may have it already; make it with allcores, or after "
                "multiprocessing.set_start_method('forkserver')"
            )
        ours = _likeness(lock)
        lock._semlock = ours
        lock._make_methods()


def _likeness(lock: Any) -> Any:
    """Return one of our locks in the state in which that of the standard library's is."""
    import multiprocessing.synchronize as std

    from allcores import sync

    old = lock._semlock
    if isinstance(lock, std.Semaphore):
        value = old._get_value()
        if not isinstance(lock, std.BoundedSemaphore):
            return sync.Semaphore(value)
        ours = sync.BoundedSemaphore(old.maxvalue)
        for _ in range(old.maxvalue - value):
            ours.acquire(False)
        return ours
    # It stays taken: who has kept its old methods, unlikely as it is, waits rather than enters.
    if old._count() or not old.acquire(False):
        _refuse(
            "a lock that the standard library has made for fork can't go to this process while "
            "somebody holds it; release it first, or make it with allcores"
        )
    return sync.RLock() if isinstance(lock, std.RLock) else sync.Lock()


def _lock_again(cls: Any, ours: Any) -> Any:
    lock = cls.__new__(cls)
    lock._semlock = ours
    lock._make_methods()
    # Its own way of being pickled has to fail there, too, so that it comes back here.
    lock._is_fork_ctx = True
    return lock


def _condition_again(cls: Any, parts: tuple[Any, ...]) -> Any:
    condition = cls.__new__(cls)
    condition._lock, condition._sleeping_count, condition._woken_count = parts[:3]
    condition._wait_semaphore = parts[3]
    condition._make_methods()
    return condition
