"""A child that shall not outlive its parent, however the parent ends."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from multiprocessing import process
from typing import Any

# Set in the configuration of a process whose children are tethered; they inherit it.
MARK = "allcores_tethered"


def is_tethered(process_obj: Any) -> bool:
    """Tell whether a process ends with its parent: a daemon does, and a task's child."""
    return bool(process_obj.daemon or process_obj._config.get(MARK))


def tether(number: int = signal.SIGKILL) -> bool:
    """Let the kernel end this process when its parent ends; False when it has ended already.

    The parent holds the other end of a pipe. Its closing raises a signal here, whatever this
    process is doing, and without a thread, which would make a later fork risky.

    Args:
        number: the signal.
    """
    parent = process.parent_process()
    sentinel = None if parent is None else getattr(parent, "_sentinel", None)
    if sentinel is None:
        return True
    try:
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, number)
        flags = fcntl.fcntl(sentinel, fcntl.F_GETFL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, flags | fcntl.FASYNC)
    except (AttributeError, OSError):
        return True  # not on this system
    poll = select.poll()
    poll.register(sentinel, select.POLLIN)
    return not poll.poll(0)


def untether() -> None:
    """End what `tether` began: this process sees for itself when its parent ends."""
    parent = process.parent_process()
    sentinel = None if parent is None else getattr(parent, "_sentinel", None)
    if sentinel is None:
        return
    try:
        flags = fcntl.fcntl(sentinel, fcntl.F_GETFL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, flags & ~fcntl.FASYNC)
    except (AttributeError, OSError):
        pass  # not on this system
