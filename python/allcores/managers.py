"""Managers: the names of ``multiprocessing.managers``.

`BaseManager`, `SyncManager` and `SharedMemoryManager` are those of
``allcores.shared.manager``; the rest is the standard library's.
"""

import multiprocessing.managers as _std
from multiprocessing.managers import BaseProxy, Token
from typing import Any as _Any

from allcores.shared.manager import BaseManager, SharedMemoryManager, SyncManager

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]


def __getattr__(name: str) -> _Any:
    return getattr(_std, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_std)})
