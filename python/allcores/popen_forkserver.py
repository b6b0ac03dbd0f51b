"""How a process is started by forkserver: the public face of ``allcores.launch.forkserver``."""

import multiprocessing.popen_forkserver as _std
from typing import Any as _Any

from allcores.launch.forkserver import Popen

__all__ = ["Popen"]


def __getattr__(name: str) -> _Any:
    # Names that were never documented, and are used all the same.
    return getattr(_std, name)
