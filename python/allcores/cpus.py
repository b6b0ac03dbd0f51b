"""How many cores this program may use.

``os.cpu_count()`` tells what the machine has; a program started by ``taskset``, a batch system or
in a container may use fewer. Starting a worker for each core of the machine then makes them take
turns.
"""

import math
import os
import sys

from allcores import cgroup

__all__ = ["affinity_count", "cpu_count", "override", "total_count"]


def cpu_count() -> int:
    """Return how many workers can run at the same time: min(affinity, cgroup quota), at least 1.

    The affinity mask (``sched_getaffinity(2)``) also reflects cpusets. A quota of 1.5 cores counts
    as 2: two workers then share 1.5 cores of time, where one would leave half a core unused. A
    number that the user gave Python, ``-X cpu_count=N`` or ``PYTHON_CPU_COUNT`` (from Python 3.13),
    wins.

    Example:
        >>> cpu_count() >= 1
        True
    """
    chosen = override()
    if chosen is not None:
        return chosen
    quota = cgroup.cpu_quota()
    if quota is None:
        return affinity_count()
    return max(1, min(affinity_count(), math.ceil(quota.cpus)))


def affinity_count() -> int:
    """Return how many cores this process may be scheduled on; all of them where that is unknown."""
    if sys.platform == "linux":
        try:
            return len(os.sched_getaffinity(0))
        except OSError:  # a sandbox refuses to tell
            pass
    return total_count()


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
