"""How a process is started by fork: the public face of ``allcores.launch.fork``."""

import multiprocessing.popen_fork as _std
from typing import Any as _Any

from allcores.launch.fork import Popen

__all__ = ["Popen"]


def __getattr__(name: str) -> _Any:
    # Names that were never documented, and are used all the same.
    return getattr(_std, name)
