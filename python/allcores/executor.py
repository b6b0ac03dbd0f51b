"""``ProcessPoolExecutor``: `concurrent.futures` over the tasks and workers of `Pool`.

How a task travels is drawn in task/README.md. task/future.py is the future, task/backlog.py what
lies between `submit` and the ring; this module is the face.

Other than in the standard library:

- A worker that dies fails the call that it ran, with `WorkerDied`, a `BrokenProcessPool`, and is
  replaced; the executor goes on.
- A future can be cancelled until a worker takes its call, not just until it is next but one.
- All workers start with the first call.
- Who waits in ``result()`` fetches results itself: there is no thread in between.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from multiprocessing import util
from typing import Any, Unpack

from allcores.context import default_context
from allcores.engines.contract import CLOSE, RUN
from allcores.task import endings, options, ordered
from allcores.task.backlog import FutureLine
from allcores.task.crew import Crew
from allcores.task.future import Future
from allcores.task.keeper import Keeper
from allcores.task.options import PLAIN, ApplyOptions, Options
from allcores.task.records import CALL
from allcores.task.settings import (
    check_initializer,
    memory_limit,
    our_context,
    worker_count,
)
from allcores.task.shown import ShownWorker

__all__ = ["ProcessPoolExecutor"]


class ProcessPoolExecutor(Executor):
    """Worker processes, and futures of the calls that they make.

    Args:
        max_workers: how many workers; None for one a usable core (`allcores.cpus.cpu_count`).
        mp_context: says how the workers start; None for the default context.
        initializer: called in each worker as it starts. When it raises, all calls fail with
            `InitializerFailed`, a `BrokenProcessPool`.
        initargs: arguments of the initializer.
        max_tasks_per_child: calls (or chunks of a map) after which a worker is replaced; None
            for never.
        max_memory: what the workers may have together, in bytes or as a text such as ``"4 GiB"``:
            calls wait until there is room. One that would exceed it all the same fails with
            `MemoryLimit`. None for no limit.
        relay: whether what workers print, log and warn comes to this process, and its context
            variables and filters of warnings go to them.

    Raises:
        ValueError: a count below 1.
        TypeError: a count that is no whole number; an initializer that can't be called.

    Example:
        >>> import allcores
        >>> with allcores.ProcessPoolExecutor(2) as executor:
        ...     executor.submit(pow, 2, 10).result()
        1024
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_memory: int | str | None = None,
        relay: bool = True,
    ) -> None:
        self._max_workers = worker_count(
            max_workers, "max_workers", "max_workers must be greater than 0"
        )
        check_initializer(initializer)
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError(
                    f"max_tasks_per_child must be an integer or None, not {max_tasks_per_child!r}"
                )
            if max_tasks_per_child < 1:
                raise ValueError(f"max_tasks_per_child must be >= 1, not {max_tasks_per_child}")
        if mp_context is None and max_tasks_per_child is not None and _forks():
            mp_context = default_context.get_context("spawn")  # as documented
        self._mp_context = our_context(mp_context)
        if max_tasks_per_child is not None and self._mp_context.get_start_method() == "fork":
            raise ValueError(
                "max_tasks_per_child is incompatible with the start method fork: a program with "
                "threads can't be forked safely again and again. Leave mp_context out, or pass "
                'allcores.get_context("forkserver")'
            )
        self._start_args = (initializer, tuple(initargs), max_tasks_per_child)
        self._closed = False
        self._line = line = FutureLine()
        self._crew = Crew(
            line,
            self._mp_context.Process,
            self._max_workers,
            *self._start_args,
            memory_limit(max_memory),
            relay,
        )
        self._keeper: Keeper | None = None
        # A forgotten executor does what has been submitted, and its workers leave.
        self._forgotten = util.Finalize(self, endings.forget, args=(line,))

    # These are for who looks behind the standard library's curtain.

    @property
    def _processes(self) -> dict[int, ShownWorker]:
        return {worker.pid: ShownWorker(worker, self._end_by_hand) for worker in self._crew.workers}

    @property
    def _broken(self) -> bool:
        return self._line.broken is not None

    @property
    def _executor_manager_thread(self) -> Any:
        return None if self._keeper is None else self._keeper.thread

    # Calls.

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Have a worker call ``fn(*args, **kwargs)``; return the future of that.

        What can't travel fails the future, with `NotPicklable`.

        Args:
            fn: what to call.
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            RuntimeError: `shutdown` has been called.
            concurrent.futures.process.BrokenProcessPool: the initializer failed.
        """
        return self._submit(fn, (args, kwargs), CALL, 0, PLAIN)

    def with_options(self, **keywords: Unpack[ApplyOptions]) -> Executor:
        """Return this executor with options for the calls that are made through the returned one.

        With `seed`, the calls that are submitted through it are numbered in their order, and
        those of a map by their items, as in a pool's map.

        Args:
            keywords: `timeout`, the seconds that each call may take from its beginning in a
                worker, `retries` and `seed`; see `allcores.task.options.Options`.

        Example:
            >>> import allcores
            >>> with allcores.ProcessPoolExecutor(2) as executor:
            ...     executor.with_options(timeout=60, retries=2).submit(pow, 2, 10).result()
            1024
        """
        return _WithOptions(self, options.of(keywords, ApplyOptions))

    def _submit(
        self, fn: Callable[..., Any], call: Any, what: int, first: int, chosen: Options
    ) -> Future:
        line = self._line
        if chosen.seed is not None:
            from allcores.task.seeds import SeededCall

            fn = SeededCall(fn, chosen.seed, first)
        with line.posting:
            if self._keeper is None or self._closed or line.state != RUN or line.broken is not None:
                self._start()
            future = Future(line, call, what, first, chosen)
            try:
                line.function(future, fn, often=False)
            except Exception as error:
                future._failed(0, error)
            else:
                line.submit(future)
        line.leave(future)
        return future

    def _start(self) -> None:
        """Start the workers; or say why there is no call to be made."""
        line = self._line
        if line.broken is not None:
            raise line.broken()
        if line.state != RUN and not self._closed:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._closed:
            raise RuntimeError(
                "cannot schedule new futures after shutdown (leaving its `with` block shuts an "
                "executor down); make another one"
            )
        line.started = True
        try:
            self._crew.fill()
            # Only now: under fork the workers must not be copies of a process with this thread.
            ended = endings.Ended(line)
            self._keeper = Keeper(line, self._crew, ended)
        except BaseException:
            self._crew.end()
            self._crew.workers.clear()
            raise
        # The end of the program waits for what has been submitted.
        ended.at_exit = util.Finalize(
            None, endings.finish, args=(line, self._crew, self._keeper), exitpriority=15
        )

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Call ``fn(*items)`` for the items of each step; return an iterator over the results.

        The results are in the order of the input. What is left is cancelled when the iterator
        is closed, or a call has raised.

        Args:
            fn: what to call.
            iterables: as in the builtin ``map``. Read to the end at once without a
                `buffersize`.
            timeout: seconds from now, after which waiting for a result raises TimeoutError.
            chunksize: calls that travel together.
            buffersize: tasks (calls, or chunks) submitted ahead of what has been taken from the
                iterator; then the input may be endless.

        Raises:
            ValueError: a size below 1.
            TypeError: a `buffersize` that is no whole number.
        """
        return self._map(fn, iterables, timeout, chunksize, buffersize, PLAIN)

    def _map(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        chosen: Options,
    ) -> Iterator[Any]:
        if chunksize < 1:
            raise ValueError(f"chunksize must be >= 1, not {chunksize!r}")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError(f"buffersize must be an integer or None, not {buffersize!r}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be None or > 0, not {buffersize}")
        end = None if timeout is None else time.monotonic() + timeout
        if chosen.by_item or chosen.seed is not None:
            chunksize = 1
        calls = ordered.calls(iterables, chunksize)
        futures = deque(
            self._submit(fn, call, what, first, chosen)
            for what, first, call in itertools.islice(calls, buffersize)
        )
        # The iterator doesn't keep the executor, unless it has more to submit.
        later = None if buffersize is None else (self if futures else None)
        return ordered.results(futures, later, fn, calls, end, chunksize > 1, chosen)

    # The end.

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; the workers leave when those submitted are done.

        Args:
            wait: return only when they have left.
            cancel_futures: cancel the calls that have not begun; those that idle workers are just
                about to take are made.
        """
        line = self._line
        with line.posting:
            self._closed = True
        if cancel_futures:
            line.cancel_pending(self._max_workers)
        line.shut(CLOSE)
        if self._keeper is None:
            line.release()
        elif wait:
            self._keeper.join()

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            # Nobody wants to wait for the rest. (Workers were interrupted, too, and may have
            # begun their next calls.)
            self.kill_workers()
        self.shutdown(wait=True)

    def terminate_workers(self) -> None:
        """End the workers with SIGTERM, and shut down.

        Calls under way or not begun fail with `WorkersEnded`, a `BrokenProcessPool`.
        """
        self._end_workers("terminate", "terminate_workers() ended")

    def kill_workers(self) -> None:
        """End the workers with SIGKILL, and shut down.

        Calls under way or not begun fail with `WorkersEnded`, a `BrokenProcessPool`.
        """
        self._end_workers("kill", "kill_workers() ended")

    def _end_by_hand(self) -> None:
        self._end_workers("terminate", "terminating one of them by hand ended")

    def _end_workers(self, how: str, what: str) -> None:
        line = self._line
        with line.posting:
            self._closed = True
        if self._keeper is None or not self._keeper.thread.is_alive():
            self.shutdown()
            return

        def make() -> BaseException:
            from allcores.errors import WorkersEnded

            return WorkersEnded(
                f"{what} the executor's workers before this call had ended; shutdown() lets calls "
                "end first"
            )

        endings.end(line, self._crew, self._keeper, make, kill=how == "kill")


def _forks() -> bool:
    return default_context.get_start_method() == "fork"


class _WithOptions(Executor):
    """An executor whose calls have options.

    Args:
        executor: makes the calls.
        chosen: the options.
    """

    def __init__(self, executor: ProcessPoolExecutor, chosen: Options) -> None:
        self._executor = executor
        self._chosen = chosen
        self._unseeded = chosen._replace(seed=None)
        self._numbers = itertools.count()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """As `ProcessPoolExecutor.submit`."""
        if self._chosen.seed is not None:
            from allcores.task.seeds import SeededCall

            fn = SeededCall(fn, self._chosen.seed, next(self._numbers))
        return self._executor._submit(fn, (args, kwargs), CALL, 0, self._unseeded)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """As `ProcessPoolExecutor.map`; the `timeout` here is that of the results.

        Args:
            fn: what to call.
            iterables: as in the builtin ``map``.
            timeout: seconds from now, after which waiting for a result raises TimeoutError.
            chunksize: has no effect: with options, each call is a task of its own.
            buffersize: calls submitted ahead of what has been taken from the iterator.
        """
        return self._executor._map(fn, iterables, timeout, chunksize, buffersize, self._chosen)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down that makes the calls."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)
