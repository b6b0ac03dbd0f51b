"""Locks, semaphores, conditions, events and barriers between processes.

They have the names and the meaning of `multiprocessing`'s, and these differences:

- Each travels anywhere: as an argument, in a result, through a queue, inside other objects, to a
  process that was started before it.
- A process that is killed leaves nothing locked. Whoever waits for its Lock or RLock has it within
  100 ms, and `owner_died` says that what the lock guards may be half changed; what it took of a
  semaphore by ``with`` comes back; a Condition's notification goes to the next waiter; a Barrier
  that can't be complete any more breaks.
- A thread that waits lets the others of its process run, and Ctrl-C gets through.

They are the classes of the Rust module themselves: one call is one call.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from allcores import _core
from allcores._core import BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]

_Object = TypeVar("_Object")


class Barrier(_core.Barrier, threading.Barrier):
    """A number of parties that wait for each other.

    It is a `threading.Barrier` for who asks, and has nothing of it but its face.

    Args:
        parties: How many have to call `wait` before all of them go on.
        action: Called by one of them, the last to come, before the others go on.
        timeout: Seconds that `wait` waits unless told otherwise. None is for ever.
        ctx: Not needed; the standard library's contexts pass it.

    Example:
        >>> barrier = Barrier(1)
        >>> barrier.wait()
        0
    """

    __slots__ = ()

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: object = None,
    ) -> None:
        # All is done in __new__, and threading.Barrier has nothing to add.
        pass


def _rebuild(cls: type[_Object], handle: _core.Handle, *arguments: Any) -> _Object:
    """Make the object of `cls` that another process sent: it shares the sender's memory."""
    return cls.__new__(cls, *arguments, _handle=handle)  # type: ignore[call-arg]
