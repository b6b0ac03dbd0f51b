"""Locks, events and their like, under the standard library's name: see `allcores.sync`."""

from typing import Any as _Any

from allcores.sync import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

SEM_VALUE_MAX = 2**31 - 1


def __getattr__(name: str) -> _Any:
    # Names that were never documented, and are used all the same. Imported only for them: where
    # the system has no named semaphores, the standard library's module can't be.
    import multiprocessing.synchronize as std

    return getattr(std, name)
