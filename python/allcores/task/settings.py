"""What a pool and an executor are given, checked and turned into what they need."""

from __future__ import annotations

import os
from multiprocessing import context as _std_context
from typing import Any


def check_initializer(initializer: object) -> None:
    """Raise TypeError unless an initializer can be called, or is None."""
    if initializer is not None and not callable(initializer):
        raise TypeError(f"initializer must be a callable, not {initializer!r}")


def worker_count(count: int | None, name: str, too_few: str) -> int:
    """Return how many workers there are to be.

    Args:
        count: what the caller wants; None for one a usable core.
        name: of the argument, for messages.
        too_few: what is wrong with a count below 1.

    Raises:
        ValueError: a count below 1.
        TypeError: a count that is no whole number.
    """
    if count is None:
        from allcores.cpus import cpu_count

        return cpu_count()
    if not isinstance(count, int):
        try:
            count = count.__index__()
        except AttributeError:
            raise TypeError(
                f"{name} must be a whole number or None for one a core, "
                f"not {type(count).__name__} ({count!r:.60})"
            ) from None
    if count < 1:
        raise ValueError(f"{too_few}, not {count}; None means one a core")
    return count


def memory_limit(size: object) -> int | None:
    """Return the bytes that workers may have together; None for no limit.

    Args:
        size: what the caller wants.

    Raises:
        ValueError: it is no size.
        TypeError: it is neither a number nor a text.
        NotImplementedError: the system doesn't tell how much memory a process has.
    """
    if size is None:
        return None
    from allcores import memory

    if memory.status(os.getpid()) is None:
        raise NotImplementedError(
            "max_memory needs to know how much memory a process has, from /proc/PID/status, which "
            "is not there or not readable here; leave max_memory out"
        )
    return memory.parse(size, "max_memory")


def our_context(context: Any) -> Any:
    """Return the context to start workers with: ours, when given the standard library's own.

    Args:
        context: what the caller gave; None for the default one.
    """
    from allcores import context as ours

    if context is None:
        return ours.default_context.get_context()
    if not hasattr(context, "Process"):
        raise TypeError(
            f"a context is needed, not {type(context).__name__} ({context!r:.60}): "
            'allcores.get_context("spawn"), for example'
        )
    if isinstance(context, _std_context.BaseContext) and not isinstance(context, ours.BaseContext):
        return ours.default_context.get_context(context.get_start_method())
    return context
