"""How a process is started by spawn: the public face of ``allcores.launch.spawn``."""

import multiprocessing.popen_spawn_posix as _std
from typing import Any as _Any

from allcores.launch.spawn import Popen

__all__ = ["Popen"]


def __getattr__(name: str) -> _Any:
    # Names that were never documented, and are used all the same.
    return getattr(_std, name)
