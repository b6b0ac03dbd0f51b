"""The errors whose bases are slow to import, apart; errors.py has them on first use."""

from __future__ import annotations

import signal as _signal
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]

from allcores.errors import AllcoresError, NotPicklable, TaskCancelled


class InitializerFailed(AllcoresError, BrokenProcessPool):
    """The initializer of a pool failed, or its workers can't start; the pool is over.

    ``__cause__`` is what the initializer raised.
    """


class WorkersEnded(TaskCancelled, BrokenProcessPool):
    """``terminate_workers()`` or ``kill_workers()`` ended the workers before this call had."""


class WorkerDied(AllcoresError, BrokenProcessPool):
    """The worker process died while it ran a task; the pool stays usable.

    Attributes:
        task_index: position of the task in its call, or None when that isn't known.
        args_repr: the task's arguments, shortened.
        pid: process id of the dead worker.
        exitcode: what it exited with; negative for a signal, None when unknown.
        signal: name of the signal that killed it, such as ``"SIGKILL"``, or None.
        max_rss: its largest resident memory in bytes, or None when unknown.
        oom_killed: True when the kernel's out-of-memory killer did it, None when unknown.
    """

    def __init__(
        self,
        message: str = "a worker process died",
        *,
        task_index: int | None = None,
        args_repr: str | None = None,
        pid: int | None = None,
        exitcode: int | None = None,
        signal: str | None = None,
        max_rss: int | None = None,
        oom_killed: bool | None = None,
    ) -> None:
        super().__init__(message)
        if signal is None and exitcode is not None and exitcode < 0:
            signal = _signal_name(-exitcode)
        self.task_index = task_index
        self.args_repr = args_repr
        self.pid = pid
        self.exitcode = exitcode
        self.signal = signal
        self.max_rss = max_rss
        self.oom_killed = oom_killed


class TaskFailed(AllcoresError, MaybeEncodingError, BrokenProcessPool):  # type: ignore[misc]
    """A task failed with an exception, or returned an object, that can't be brought back here.

    Attributes:
        type_name: the exception's class, with its module.
        message: the exception's message.
        exc: why it didn't arrive.
        value: the exception as text.
    """

    def __init__(self, type_name: str, message: str, reason: str) -> None:
        Exception.__init__(self, type_name, message, reason)
        self.type_name = type_name
        self.message = message
        self.exc = reason
        self.value = f"{type_name}: {message}" if message else type_name

    def __str__(self) -> str:
        return (
            f"{self.value}\n(the exception itself did not arrive: {self.exc}; "
            "the traceback from the worker is this one's __cause__)"
        )


class ResultNotPicklable(NotPicklable, MaybeEncodingError):  # type: ignore[misc]
    """What a task returned can't travel.

    Attributes:
        exc: why not.
        value: the result as text.
    """

    def __init__(self, exc: str, value: str) -> None:
        Exception.__init__(self, exc, value)
        self.exc = exc
        self.value = value

    def __str__(self) -> str:
        return f"Error sending result: {self.value!r}. Reason: {self.exc!r}"


for _error in (InitializerFailed, ResultNotPicklable, TaskFailed, WorkerDied, WorkersEnded):
    _error.__module__ = "allcores.errors"


def _signal_name(number: int) -> str:
    try:
        return _signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
