"""The fork server: the public face of ``allcores.launch.forkserver``."""

import multiprocessing.forkserver as _std
from multiprocessing.forkserver import connect_to_new_process
from typing import Any as _Any

from allcores.launch.forkserver import (
    _forkserver as _forkserver,
)
from allcores.launch.forkserver import (
    ensure_running,
    get_inherited_fds,
    set_forkserver_preload,
)

__all__ = [
    "connect_to_new_process",
    "ensure_running",
    "get_inherited_fds",
    "set_forkserver_preload",
]


def __getattr__(name: str) -> _Any:
    # Names that were never documented, and are used all the same.
    return getattr(_std, name)
