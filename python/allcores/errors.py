"""The exceptions of allcores, one tree.

Each also inherits what multiprocessing or concurrent.futures would have raised in its
place, so that programs written for those keep working::

    AllcoresError
    ├── NotPicklable         also pickle.PicklingError
    │   └── ResultNotPicklable   also multiprocessing.pool.MaybeEncodingError
    ├── StaleHandle          also ValueError
    ├── ArenaFull            also MemoryError
    ├── ManagerShutDown      also ConnectionRefusedError and EOFError
    ├── MemoryLimit          also MemoryError
    ├── TaskTimeout          also multiprocessing.TimeoutError
    ├── TaskCancelled
    ├── TaskExited           also SystemExit
    ├── TaskFailed           also multiprocessing.pool.MaybeEncodingError and BrokenProcessPool
    ├── InitializerFailed    also concurrent.futures.process.BrokenProcessPool
    ├── WorkersEnded         also TaskCancelled and BrokenProcessPool
    └── WorkerDied           also concurrent.futures.process.BrokenProcessPool

Those with a base in ``concurrent.futures.process`` or ``multiprocessing.pool`` are made on first
use: these are slow to import, and needed by nobody for whom all goes well.
"""

from __future__ import annotations

import pickle
from multiprocessing.context import TimeoutError as _MultiprocessingTimeout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcores._late_errors import InitializerFailed as InitializerFailed
    from allcores._late_errors import ResultNotPicklable as ResultNotPicklable
    from allcores._late_errors import TaskFailed as TaskFailed
    from allcores._late_errors import WorkerDied as WorkerDied
    from allcores._late_errors import WorkersEnded as WorkersEnded

__all__ = [
    "AllcoresError",
    "ArenaFull",
    "InitializerFailed",
    "ManagerShutDown",
    "MemoryLimit",
    "NotPicklable",
    "ResultNotPicklable",
    "StaleHandle",
    "TaskCancelled",
    "TaskExited",
    "TaskFailed",
    "TaskTimeout",
    "WorkerDied",
    "WorkersEnded",
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


class ManagerShutDown(AllcoresError, ConnectionRefusedError, EOFError):
    """An object of a manager was used after the manager's ``shutdown``, or its ``with`` block."""

    def __init__(
        self,
        message: str = "the manager of this object has been shut down: its `with` block is over, "
        "or shutdown() was called; use the object before that, or make it with allcores.shared, "
        "which needs no manager",
    ) -> None:
        super().__init__(message)


class MemoryLimit(AllcoresError, MemoryError):
    """A task was ended since the workers together had more than ``max_memory=`` allows.

    Its worker had the most of them, and is replaced.

    Attributes:
        task_index: position of the task in its call, or None when that isn't known.
        args_repr: the task's arguments, shortened.
        pid: process id of the worker.
        memory: what the worker had for itself, in bytes.
        total: what all workers had.
        limit: what they may have.
    """

    def __init__(
        self,
        message: str = "the workers had more memory than they may",
        *,
        task_index: int | None = None,
        args_repr: str | None = None,
        pid: int | None = None,
        memory: int | None = None,
        total: int | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(message)
        self.task_index = task_index
        self.args_repr = args_repr
        self.pid = pid
        self.memory = memory
        self.total = total
        self.limit = limit


class TaskTimeout(AllcoresError, _MultiprocessingTimeout):
    """A task ran longer than its ``timeout=`` allows; its worker was ended and replaced.

    Attributes:
        task_index: position of the task in its call, or None when that isn't known.
        args_repr: the task's arguments, shortened.
        timeout: seconds that it might have taken.
    """

    def __init__(
        self,
        message: str = "a task took longer than its timeout",
        *,
        task_index: int | None = None,
        args_repr: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(message)
        self.task_index = task_index
        self.args_repr = args_repr
        self.timeout = timeout


class TaskCancelled(AllcoresError):
    """A task was cancelled before it returned."""


class TaskExited(AllcoresError, SystemExit):
    """A task called ``sys.exit``. Its worker and the pool go on.

    Not caught, it ends the program as the call would have done there, with the same code.

    Attributes:
        code: what the task passed to ``sys.exit``.
    """

    def __init__(self, message: str = "a task called sys.exit()", code: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"SystemExit: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message, self.code)


_LATE = ("InitializerFailed", "ResultNotPicklable", "TaskFailed", "WorkerDied", "WorkersEnded")


def __getattr__(name: str) -> Any:
    if name in _LATE:
        from allcores import _late_errors

        globals()[name] = found = getattr(_late_errors, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
