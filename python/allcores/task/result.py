"""Where the result of one call ends: the object that its caller holds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import TimeoutError
from multiprocessing import pool as _std
from typing import Any

from allcores.engines.contract import Engine, wake
from allcores.errors import TaskCancelled
from allcores.task.job import Job
from allcores.task.options import PLAIN, Options
from allcores.timeouts import seconds

Callback = Callable[[Any], object] | None
ErrorCallback = Callable[[BaseException], object] | None


class ApplyResult(Job, _std.ApplyResult):  # type: ignore[type-arg]
    """The result, to come, of one call.

    Args:
        pool: kept alive until the result is there.
        callback: called with the value, in one of this process's threads.
        error_callback: called with the exception instead.
        call: its arguments.
        options: how its tasks are done.
    """

    # What most never need is not stored for each: there may be very many.
    _callback: Callback = None
    _error_callback: ErrorCallback = None
    _ready = False
    _success = False
    _over = False  # there is nothing more to come, but the callback
    _completed = False
    _value: Any = None
    _batons: Sequence[Any] = ()
    _kept: Any = None
    _call: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def __init__(
        self,
        pool: Any,
        callback: Callback = None,
        error_callback: ErrorCallback = None,
        call: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
        options: Options = PLAIN,
    ) -> None:
        if options is not PLAIN:
            self._options = options
        self._pool = pool
        self._line: Engine = pool._line
        self._call = call
        if callback is not None:
            self._callback = callback
        if error_callback is not None:
            self._error_callback = error_callback

    def ready(self) -> bool:
        """Return whether the call has ended."""
        return self._ready

    def successful(self) -> bool:
        """Return whether the call ended without an exception.

        Raises:
            ValueError: it has not ended yet.
        """
        if not self._ready:
            raise ValueError(f"{self!r} not ready; wait() for it first")
        return self._success

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call has ended, or `timeout` seconds."""
        limit = seconds(timeout)
        if not self._ready:
            self._line.attend(self, self.ready, limit)

    def get(self, timeout: float | None = None) -> Any:
        """Return what the call returned, or raise what it raised.

        Args:
            timeout: seconds to wait for it; None for as long as it takes.

        Raises:
            multiprocessing.TimeoutError: it took longer.
            allcores.errors.WorkerDied: the process that ran it died.
            allcores.errors.TaskTimeout: it overran the timeout of its task.
            allcores.errors.TaskCancelled: `cancel` was called.
        """
        self.wait(timeout)
        if not self._ready:
            raise TimeoutError(f"no result within {timeout} s; the task goes on")
        if self._success:
            return self._value
        try:
            raise self._value
        finally:
            self = None  # type: ignore[assignment]  # the exception's frames would hold it

    def cancel(self) -> bool:
        """Cancel what has not ended of the call: `get` raises `TaskCancelled`.

        A worker that is in the middle of it is ended, and replaced.

        Returns:
            False when the call had ended.
        """
        if self._over:
            return False
        self._abort(TaskCancelled("the call was cancelled before it had ended"))
        self._line.stop(self._job)
        return True

    def _got(self, part: int, value: Any) -> None:
        if not self._over:
            self._success, self._value = True, value
            self._complete()
        elif self._ready:
            self._line.finish(self._job)  # an interrupt may have kept it from being forgotten

    def _is_open(self, part: int) -> bool:
        return not self._over

    def start(self, function: Any) -> None:
        """Make the task.

        Args:
            function: what to call.
        """
        args, kwargs = self._call or ((), {})
        self._line.call(function, self, args, kwargs)

    def _repeat(self, part: int) -> None:
        self.start(self._kept)

    def _failed(self, part: int, error: BaseException) -> None:
        if not self._over:
            self._success, self._value = False, error
            self._complete()

    def _fail(self, error: BaseException) -> None:
        """Fail before any task was made."""
        self._failed(0, error)

    def _arguments(self, part: int, item: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._call or ((), {})

    def _rush(self) -> None:
        """Take the whole input: the pool is closed and waited for."""

    def _complete(self) -> None:
        if self._completed:
            return
        self._completed = self._over = True
        callback = self._callback if self._success else self._error_callback
        if callback is None:
            self._finish()
        elif not self._line.put_off(self._call_back):
            self._call_back()

    def _call_back(self) -> None:
        callback = self._callback if self._success else self._error_callback
        self._callback = self._error_callback = None
        try:
            if callback is not None:
                _call_back(callback, self._value)
        finally:
            self._finish()

    def _abort(self, error: BaseException) -> None:
        """Fail, whatever is still missing, without calling back."""
        was_ready = self._ready
        self._end_with(error)
        # (An interrupt may have kept one that is ready from being forgotten.)
        if not was_ready or self._job in self._line.jobs:
            self._finish(early=True)

    def _end_with(self, error: BaseException) -> None:
        # At once: another thread may be delivering what must not be mixed up with the error.
        if not self._over:
            self._over, self._success, self._value, self._ready = True, False, error, True

    def _finish(self, early: bool = False) -> None:
        self._over = self._ready = True
        self._line.finish(self._job, early)
        self._pool = self._kept = self._call = None
        for baton in self._batons:
            wake(baton)


def _call_back(callback: Callable[[Any], object], value: Any) -> None:
    try:
        callback(value)
    except Exception:
        # There is no caller to raise it to, and other results wait behind this one.
        thread = threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), thread)))
