"""The exceptions of allcores, one tree.

Each also inherits what multiprocessing or concurrent.futures would have raised in its
place, so that programs written for those keep working::

    AllcoresError
    ├── NotPicklable         also pickle.PicklingError
    ├── StaleHandle          also ValueError
    ├── ArenaFull            also MemoryError
    ├── TaskTimeout          also multiprocessing.TimeoutError
    ├── TaskCancelled
    └── WorkerDied           also concurrent.futures.process.BrokenProcessPool

``WorkerDied`` is made on first use: its second base lives in ``concurrent.futures.process``,
which is slow to import and needed by nobody whose workers live.
"""

from __future__ import annotations

import pickle
from multiprocessing.context import TimeoutError as _MultiprocessingTimeout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcores._worker_died import WorkerDied as WorkerDied

__all__ = [
    "AllcoresError",
    "ArenaFull",
    "NotPicklable",
    "StaleHandle",
    "TaskCancelled",
    "TaskTimeout",
    "WorkerDied",
]


class AllcoresError(Exception):
    """Base of all exceptions that allcores raises on its own account."""


class NotPicklable(AllcoresError, pickle.PicklingError):
    """An object can't travel to another process.

    The message says which part of which argument, why, and what to do; ``__cause__`` is
    the error of the part itself.
    """


class StaleHandle(AllcoresError, ValueError):
    """A handle names shared memory that is gone, or belongs to another program."""


class ArenaFull(AllcoresError, MemoryError):
    """The shared memory of the program can't grow any further."""


class TaskTimeout(AllcoresError, _MultiprocessingTimeout):
    """A task ran longer than it was allowed to."""


class TaskCancelled(AllcoresError):
    """A task was cancelled before it returned."""


def __getattr__(name: str) -> Any:
    if name == "WorkerDied":
        from allcores._worker_died import WorkerDied

        globals()["WorkerDied"] = WorkerDied
        return WorkerDied
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
