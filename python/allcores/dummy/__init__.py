"""The interface of the package on threads: ``multiprocessing.dummy``.

`Pool` makes ours; the rest is the standard library's.
"""

import multiprocessing.dummy as _std
from collections.abc import Callable, Iterable
from multiprocessing.dummy import (
    Array,
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    JoinableQueue,
    Lock,
    Manager,
    Pipe,
    Process,
    Queue,
    RLock,
    Semaphore,
    Value,
    active_children,
    current_process,
    freeze_support,
)
from typing import Any

__all__ = [
    "Process",
    "current_process",
    "active_children",
    "freeze_support",
    "Lock",
    "RLock",
    "Semaphore",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Barrier",
    "Queue",
    "Manager",
    "Pipe",
    "Pool",
    "JoinableQueue",
    "Array",
    "Value",
]


def Pool(
    processes: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
) -> Any:
    """Return a pool of threads.

    Args:
        processes: how many; None for one a usable core.
        initializer: called in each thread as it starts.
        initargs: arguments of the initializer.
    """
    from allcores.local_pools import ThreadPool

    return ThreadPool(processes, initializer, initargs)


def __getattr__(name: str) -> Any:
    return getattr(_std, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_std)})
