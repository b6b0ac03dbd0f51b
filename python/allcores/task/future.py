"""The future of one call, or of one chunk of a map: a job of the line (line.py).

Most futures are only ever asked for their result, by one thread. So what the others need is made on
demand: the condition and the lists of those who wait (``concurrent.futures.wait``) or want to be
called back.

| state | `_state` | where its task is |
|---|---|---|
| waits its turn | PENDING | in `pending` of its line, or on the ring: `begun` says no |
| runs | PENDING | off the ring: a worker has it, or its result is on its way |
| is done | FINISHED | |
| is cancelled | CANCELLED_AND_NOTIFIED | still in `pending` or on the ring, to be passed over |

So a task that begins costs its future nothing: "running" is worked out when somebody asks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from concurrent.futures import Future as _StdFuture
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from typing import TYPE_CHECKING, Any, NoReturn

from allcores.engines.contract import wake
from allcores.task.job import Job
from allcores.task.options import PLAIN, Options
from allcores.task.records import CALL, STARMAP
from allcores.timeouts import seconds

if TYPE_CHECKING:
    from allcores.task.backlog import FutureLine

PENDING = "PENDING"
_OVER = (FINISHED, CANCELLED_AND_NOTIFIED, CANCELLED)


class Future(Job, _StdFuture):  # type: ignore[type-arg]
    """What a call in a `ProcessPoolExecutor` will return or raise.

    Args:
        line: the executor's rings.
        call: ``(args, kwargs)``; of a chunk, its items.
        what: what the task does: CALL, or MAP or STARMAP for a chunk.
        first: index, in the input of a map, of its first item.
        options: how its task is done.
    """

    # Defaults here and not in each: there may be very many. The base's __init__ isn't called.
    _state: str = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _lock: threading.Condition | None = None
    _waiters: list[Any] = []  # noqa: RUF012  # each gets its own with its condition
    _done_callbacks: list[Any] = []  # noqa: RUF012
    _batons: Sequence[Any] = ()
    _kept: Any = None  # the packed function
    # asyncio waits for it; its cancel() then is that of a task there, which is meant to stop it.
    _awaited = False
    # Which of its line's tasks it is; of one that isn't on the ring yet, behind all of them.
    _turn: float = float("inf")

    def __init__(
        self,
        line: FutureLine,
        call: Any,
        what: int = CALL,
        first: int = 0,
        options: Options = PLAIN,
    ) -> None:
        if options is not PLAIN:
            self._options = options
        self._line = line
        self._call = call
        self._what = what
        self._index = first

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Future can't be pickled: its result arrives in the process that made the call. "
            "Send the result instead"
        )

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        found = self._lock
        if found is None:
            # A future that is settled without a condition is so under this lock.
            with self._line.settling:
                found = self._lock
                if found is None:
                    self._waiters, self._done_callbacks = [], []
                    found = self._lock = threading.Condition()
        return found

    # What its holder asks.

    def done(self) -> bool:
        """Return whether the call has ended or was cancelled."""
        return self._state in _OVER

    def cancelled(self) -> bool:
        """Return whether the call was cancelled."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Return whether a worker has the call, and it can't be cancelled any more."""
        return self._state not in _OVER and self._line.begun(self)

    def cancel(self, *, force: bool = False) -> bool:
        """Cancel the call unless it has begun; return whether it is cancelled.

        A call that a worker takes at this very moment may be made nevertheless; what comes of it
        is dropped then.

        Args:
            force: cancel it although it has begun: its worker is ended, and replaced. So it is
                with a call that asyncio waits for (``loop.run_in_executor``, ``wrap_future``).
        """
        force = force or self._awaited
        line = self._line
        with line.posting:
            condition = self._condition
            with condition:
                if self._state in _OVER:
                    return self._state != FINISHED
                begun = line.begun(self)
                if begun and not force:
                    return False
                self._state = CANCELLED_AND_NOTIFIED
                for waiter in self._waiters:
                    waiter.add_cancelled(self)
                condition.notify_all()
            line.withdraw(self)
            if begun:
                line.stop(self._job)
        self._tell()
        self._call_back()
        line.poke()
        return True

    def result(self, timeout: float | None = None) -> Any:
        """Return what the call returned, or raise what it raised.

        Args:
            timeout: seconds to wait for it; None for as long as it takes.

        Raises:
            CancelledError: the call was cancelled.
            TimeoutError: it took longer.
            allcores.errors.WorkerDied: the process that ran it died.
            allcores.errors.TaskTimeout: it overran the timeout of its task.
        """
        try:
            if self._state != FINISHED:
                self._await(timeout)
            if self._exception is not None:
                raise self._exception
            return self._result
        finally:
            self = None  # type: ignore[assignment]  # the exception's frames would hold it

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None.

        Args:
            timeout: seconds to wait for it; None for as long as it takes.

        Raises:
            CancelledError: the call was cancelled.
            TimeoutError: it took longer.
        """
        if self._state != FINISHED:
            self._await(timeout)
        return self._exception

    def _await(self, timeout: float | None) -> None:
        limit = seconds(timeout)
        if not self.done():
            self._line.attend(self, self.done, limit)
        if self._state != FINISHED:
            if self.done():
                raise CancelledError
            raise TimeoutError(f"no result within {timeout} s; the task goes on")

    def add_done_callback(self, fn: Any) -> None:
        """Have `fn(future)` called when the call has ended or was cancelled; at once if it has.

        Args:
            fn: what to call, in a thread of this process.
        """
        if getattr(fn, "__module__", None) == "asyncio.futures":
            self._awaited = True
        super().add_done_callback(fn)

    # News from the line.

    def _got(self, part: int, value: Any) -> None:
        line = self._line
        with line.settling:
            if self._lock is None and self._state == PENDING:
                self._result = value
                self._state = FINISHED
        if self._state == PENDING:
            self._settle(value, None)
        else:
            line.finish(self._job)
            self._kept = self._call = None
            for baton in self._batons:
                wake(baton)

    def _got_many(self, parts: Sequence[int], values: Sequence[Any]) -> None:
        self._got(parts[0], values[0])

    def _got_list(self, part: int, values: Any, took: int) -> None:
        self._got(part, values)

    def _is_open(self, part: int) -> bool:
        return self._state not in _OVER

    def _repeat(self, part: int) -> None:
        self._line.repeat(self)

    def _failed(self, part: int, error: BaseException) -> None:
        self._settle(None, error)

    def _abort(self, error: BaseException) -> None:
        self._settle(None, error)

    def _settle(self, value: Any, error: BaseException | None) -> None:
        condition = self._condition
        with condition:
            if self._state in _OVER:
                return
            self._result, self._exception = value, error
            self._state = FINISHED
            for waiter in self._waiters:
                waiter.add_result(self) if error is None else waiter.add_exception(self)
            condition.notify_all()
        self._line.finish(self._job)
        self._tell()
        if self._done_callbacks and not self._line.put_off(self._call_back):
            self._call_back()

    def _tell(self) -> None:
        self._kept = self._call = None
        for baton in self._batons:
            wake(baton)

    def _call_back(self) -> None:
        self._invoke_callbacks()  # type: ignore[attr-defined]

    def _first(self, part: int) -> int:
        """Return the index of its first item in the input of the map."""
        return self._index

    def _arguments(self, part: int, item: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the function was called with for one of its items."""
        if self._what == CALL:
            return self._call or ((), {})
        found = self._call[item]
        return (tuple(found) if self._what == STARMAP else (found,)), {}
