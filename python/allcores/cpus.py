"""How many cores this program may use.

``os.cpu_count()`` tells what the machine has; a program started by ``taskset``, a batch system or
in a container may use fewer. Starting a worker for each core of the machine then makes them take
turns.
"""

import math
import os
import sys
from multiprocessing import process

from allcores import cgroup

__all__ = ["SHARE", "affinity_count", "cpu_count", "override", "total_count"]

# In the configuration of a process, and of all that it starts: how many cores it may use, as one
# of a pool's workers (task/budget.py).
SHARE = "allcores_cpus"


def cpu_count() -> int:
    """Return how many workers can run at the same time: min(affinity, cgroup quota), at least 1.

    In a worker of a pool it is no more than the worker's share: a pool of n workers gives each
    ``max(1, c // n)`` of the c cores that its own process may use.

    The affinity mask (``sched_getaffinity(2)``) also reflects cpusets. A quota of 1.5 cores counts
    as 2: two workers then share 1.5 cores of time, where one would leave half a core unused. A
    number that the user gave Python, ``-X cpu_count=N`` or ``PYTHON_CPU_COUNT`` (from Python 3.13),
    wins.

    Example:
        >>> cpu_count() >= 1
        True
    """
    count = override()
    if count is None:
        count = affinity_count()
        quota = cgroup.cpu_quota()
        if quota is not None:
            count = max(1, min(count, math.ceil(quota.cpus)))
    share: int | None = process.current_process()._config.get(SHARE)  # type: ignore[attr-defined]
    return count if share is None else min(count, share)


def affinity_count() -> int:
    """Return how many cores this process may be scheduled on; all of them where that is unknown."""
    cores = affinity()
    return total_count() if cores is None else len(cores)


def affinity() -> set[int] | None:
    """Return the numbers of the cores that this process may be scheduled on, if they can be had."""
    if sys.platform == "linux":
        try:
            return os.sched_getaffinity(0)
        except OSError:  # a sandbox refuses to tell
            pass
    return None


def total_count() -> int:
    """Return how many cores the machine has, at least 1."""
    return os.cpu_count() or 1


def override() -> int | None:
    """Return the number given by ``-X cpu_count`` or ``PYTHON_CPU_COUNT``; None without one.

    Python 3.13 brought both and checks them when it starts; older ones don't know them, so they are
    not honoured there either.
    """
    if sys.version_info < (3, 13):
        return None
    text: str | bool | None = sys._xoptions.get("cpu_count")
    if text is None and not sys.flags.ignore_environment:
        text = os.environ.get("PYTHON_CPU_COUNT")
    if isinstance(text, str) and text.isdecimal() and int(text) >= 1:
        return int(text)
    return None
