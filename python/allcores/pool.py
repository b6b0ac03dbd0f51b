"""``Pool``: worker processes that share out calls; ``multiprocessing.pool``.

A pool is a pair of rings in shared memory, some workers, and one thread that sleeps unless it is
needed. How a task travels is drawn in task/README.md; this module is the face.

Other than in the standard library:

- A worker that dies fails the task that it ran, with `WorkerDied`, and is replaced.
- An initializer that fails makes the pool's calls fail, with its traceback; it isn't repeated.
- `imap` and `imap_unordered` read their input a bounded distance ahead of their consumer.
- Workers may have children of their own, so a pool inside a pool works.
- Ctrl-C ends the tasks that run, not the workers, and nothing is printed by them.
- Calls take keywords that say how their tasks are done: `timeout`, `retries`, `seed` and, of maps,
  `on_error` and `progress` (task/options.py).
"""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from multiprocessing import pool as _std
from multiprocessing import util
from multiprocessing.pool import (  # type: ignore[attr-defined]
    INIT,
    MaybeEncodingError,
    RemoteTraceback,
)
from typing import TYPE_CHECKING, Any, Unpack

from allcores.engines.contract import CLOSE, RUN, TERMINATE
from allcores.task import cut, options
from allcores.task import progress as bars
from allcores.task.crew import Crew
from allcores.task.feed import NEVER_BLOCK, Feed, ahead
from allcores.task.keeper import Keeper
from allcores.task.line import Line
from allcores.task.options import ApplyOptions, MapOptions
from allcores.task.records import MAP, STARMAP
from allcores.task.result import ApplyResult
from allcores.task.settings import (
    check_initializer,
    memory_limit,
    our_context,
    worker_count,
)
from allcores.task.spread import MapResult
from allcores.task.stream import IMapIterator

if TYPE_CHECKING:
    from allcores.local_pools import InlinePool, ThreadPool

__all__ = [
    "Pool",
    "ThreadPool",
    "InlinePool",
    "ApplyResult",
    "AsyncResult",
    "MapResult",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MaybeEncodingError",
    "RemoteTraceback",
    "CLOSE",
    "INIT",
    "RUN",
    "TERMINATE",
]

AsyncResult = ApplyResult
IMapUnorderedIterator = IMapIterator

_Callback = Callable[[Any], object] | None
_ErrorCallback = Callable[[BaseException], object] | None


class Pool(_std.Pool):
    """Worker processes, and calls to share out among them.

    Use it in a ``with`` block, which ends the workers, or call `close` and `join`.

    Args:
        processes: how many workers; None for one a usable core
            (`allcores.cpus.cpu_count`).
        initializer: called in each worker as it starts.
        initargs: arguments of the initializer.
        maxtasksperchild: tasks after which a worker is replaced; None for never.
        context: says how the workers start; None for the default context.
        max_memory: what the workers may have together, in bytes or as a text such as ``"4 GiB"``:
            tasks wait until there is room. One that would exceed it all the same fails with
            `MemoryLimit`. None for no limit.
        relay: whether what workers print, log and warn comes to this process, and its context
            variables and filters of warnings go to them.

    Raises:
        ValueError: a count below 1.
        TypeError: a count that is no whole number; an initializer that can't be called.

    Example:
        >>> import allcores
        >>> with allcores.Pool(2) as pool:
        ...     pool.map(lambda x: x * x, range(5))
        [0, 1, 4, 9, 16]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        max_memory: int | str | None = None,
        relay: bool = True,
    ) -> None:
        self._pool: list[Any] = []
        self._state = INIT
        self._pid = os.getpid()
        self._processes = worker_count(
            processes, "processes", "Number of processes must be at least 1"
        )
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild < 1
        ):
            raise ValueError(
                f"maxtasksperchild must be a positive int or None, not {maxtasksperchild!r}"
            )
        check_initializer(initializer)
        cut.check_iterable(initargs, "initargs", "a tuple of the initializer's arguments")
        self._ctx = our_context(context)
        self._line = Line()
        self._crew = Crew(
            self._line,
            _maker(type(self), self._ctx),
            self._processes,
            initializer,
            tuple(initargs),
            maxtasksperchild,
            memory_limit(max_memory),
            relay,
        )
        self._pool = self._crew.workers
        try:
            self._crew.fill()
        except BaseException:
            for worker in self._pool:
                if worker.exitcode is None:
                    worker.terminate()
            for worker in self._pool:
                worker.join()
            self._line.release()
            raise
        # Only now: under fork the workers must not be copies of a process with this thread.
        self._keeper = Keeper(self._line, self._crew)
        self._finalizer = util.Finalize(
            self, _end, args=(self._line, self._crew, self._keeper), exitpriority=15
        )
        self._state = RUN

    @property
    def _cache(self) -> dict[int, Any]:
        return self._line.jobs

    def __del__(self, _warn: Any = warnings.warn, _run: str = RUN) -> None:
        if self._state == _run and self._pid == os.getpid():
            _warn(
                f"unclosed running multiprocessing pool {self!r}; use it in a `with` block, or "
                "call close() or terminate()",
                ResourceWarning,
                source=self,
            )

    # One call.

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Any = {},  # noqa: B006
        **keywords: Unpack[ApplyOptions],
    ) -> Any:
        """Call ``func(*args, **kwds)`` in a worker and return what it returns.

        Args:
            func: what to call.
            args: positional arguments.
            kwds: keyword arguments.
            keywords: `timeout`, `retries` and `seed`; see `allcores.task.options.Options`.

        Raises:
            Exception: what the call raised; ``__cause__`` has the worker's traceback.
            allcores.errors.WorkerDied: the worker died, and there were no `retries` left.
            allcores.errors.TaskTimeout: the call took longer than `timeout`.
            ValueError: the pool is closed or terminated.
        """
        return self._apply(func, args, kwds, None, None, keywords).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Any = {},  # noqa: B006
        callback: _Callback = None,
        error_callback: _ErrorCallback = None,
        **keywords: Unpack[ApplyOptions],
    ) -> ApplyResult:
        """Like `apply`, but return at once, with an `AsyncResult`.

        Args:
            func: what to call.
            args: positional arguments.
            kwds: keyword arguments.
            callback: called with the value, in a thread of this process; it should be quick,
                since other results wait behind it.
            error_callback: called with the exception instead.
            keywords: as for `apply`.
        """
        result = self._apply(func, args, kwds, callback, error_callback, keywords)
        self._line.leave(result)
        return result

    def _apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwds: Any,
        callback: _Callback,
        error_callback: _ErrorCallback,
        keywords: ApplyOptions,
    ) -> ApplyResult:
        self._check(func, callback, error_callback)
        if type(args) is not tuple:
            cut.check_iterable(args, "args", "a tuple of the call's arguments")
            args = tuple(args)
        cut.check_iterable(kwds, "kwds", "a dict of the call's keyword arguments")
        kwargs = dict(kwds)
        chosen = options.of(keywords, ApplyOptions)
        if chosen.seed is not None:
            from allcores.task.seeds import SeededCall

            func = SeededCall(func, chosen.seed)
        result = ApplyResult(self, callback, error_callback, (args, kwargs), chosen)
        self._begin(result, func, False, result.start)
        return result

    # A call for each item.

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        **keywords: Unpack[MapOptions],
    ) -> list[Any]:
        """Call ``func(item)`` for each item and return the list of what the calls return.

        Args:
            func: what to call.
            iterable: the items. What has to be read one by one, such as a generator, is read here
                a bounded distance ahead of the results; an error ends that.
            chunksize: items a task; None lets the pool choose. With `timeout`, `retries` or
                `on_error` it is 1.
            keywords: `timeout`, `retries`, `on_error`, `seed` and `progress`; see
                `allcores.task.options.Options`.

        Raises:
            Exception: the first that a call raised; the map is over then. Its attribute
                ``partial_results`` has the results that there were, by index.
        """
        return self._map(func, iterable, MAP, chunksize, keywords, here=True).get()  # type: ignore[no-any-return]

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _ErrorCallback = None,
        **keywords: Unpack[MapOptions],
    ) -> MapResult:
        """Like `map`, but return at once, with an `AsyncResult`.

        Args:
            func: what to call.
            iterable: the items; all of them are read before this returns.
            chunksize: items a task; None lets the pool choose.
            callback: called with the list of values, in a thread of this process.
            error_callback: called with the first exception instead.
            keywords: as for `map`.
        """
        result = self._map(func, iterable, MAP, chunksize, keywords, callback, error_callback)
        self._line.leave(result)
        return result

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        **keywords: Unpack[MapOptions],
    ) -> list[Any]:
        """Like `map`, with items that are the calls' arguments: ``func(*item)``.

        Args:
            func: what to call.
            iterable: tuples of arguments.
            chunksize: items a task; None lets the pool choose.
            keywords: as for `map`.
        """
        return self._map(func, iterable, STARMAP, chunksize, keywords, here=True).get()  # type: ignore[no-any-return]

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: _Callback = None,
        error_callback: _ErrorCallback = None,
        **keywords: Unpack[MapOptions],
    ) -> MapResult:
        """Like `starmap`, but return at once, with an `AsyncResult`.

        Args:
            func: what to call.
            iterable: tuples of arguments.
            chunksize: items a task; None lets the pool choose.
            callback: called with the list of values, in a thread of this process.
            error_callback: called with the first exception instead.
            keywords: as for `map`.
        """
        result = self._map(func, iterable, STARMAP, chunksize, keywords, callback, error_callback)
        self._line.leave(result)
        return result

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        kind: int,
        chunksize: int | None,
        keywords: MapOptions,
        callback: _Callback = None,
        error_callback: _ErrorCallback = None,
        here: bool = False,
    ) -> MapResult:
        """Begin a map.

        Args:
            func: what to call.
            iterable: the items.
            kind: MAP or STARMAP.
            chunksize: items a task.
            keywords: how the tasks are done.
            callback: called with the results.
            error_callback: called with an error instead.
            here: whether this thread will call ``get`` next; then the input is read in there.
        """
        self._check(func, callback, error_callback)
        cut.check_chunksize(chunksize)
        chosen = options.of(keywords)
        cut.check_iterable(iterable, "iterable", "an iterable of the items")
        if here and not cut.is_at_hand(iterable):
            return self._read_map(func, iterable, kind, chunksize, chosen)
        try:
            items = cut.sliceable(iterable)
        except Exception as error:
            if not hasattr(iterable, "__len__"):
                raise
            result = MapResult(self, kind, (None,), 1, callback, error_callback)
            fault = error
            self._begin(result, None, False, lambda _: result._fail(fault))
            return result
        bar = bars.make(chosen.progress, len(items))
        if chosen.seed is not None:
            from allcores.task.seeds import Numbered

            func, items = _seeded(func, kind, chosen.seed), Numbered(items)
        result = MapResult(self, kind, items, chunksize, callback, error_callback, chosen)
        result._bar = bar
        if len(items) == 0 and bar is not None:
            bar.close(0)
        self._begin(result, func if len(items) else None, len(items) > 1, result.start)
        return result

    def _read_map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        kind: int,
        chunksize: int | None,
        chosen: options.Options,
    ) -> MapResult:
        from allcores.task.reading import ReadResult

        bar = bars.make(chosen.progress, cut.length(iterable))
        if chosen.seed is not None:
            func = _seeded(func, kind, chosen.seed)
        result = ReadResult(self, kind, iterable, chunksize, chosen)
        result._bar = bar
        self._begin(result, func, True, result.start)
        return result

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = 1,
        **keywords: Unpack[MapOptions],
    ) -> IMapIterator:
        """Call ``func(item)`` for each item; return an iterator over what the calls return.

        The input is read a bounded distance ahead of what has been taken from the iterator, so
        it may be endless. (After `close`, `join` reads it to its end.)

        Args:
            func: what to call.
            iterable: the items. One that may block when asked for its next item is read by a
                thread.
            chunksize: items a task. With `timeout`, `retries` or `on_error` it is 1.
            keywords: `timeout`, `retries`, `on_error`, `seed` and `progress`; see
                `allcores.task.options.Options`. With "raise", an exception comes in the
                place of its result, and the iterator goes on behind it.
        """
        return self._imap(func, iterable, chunksize, True, keywords)

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = 1,
        **keywords: Unpack[MapOptions],
    ) -> IMapIterator:
        """Like `imap`, with the results in the order in which they arrive.

        Args:
            func: what to call.
            iterable: the items.
            chunksize: items a task, as for `imap`.
            keywords: as for `imap`.
        """
        return self._imap(func, iterable, chunksize, False, keywords)

    def _imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        ordered: bool,
        keywords: MapOptions,
    ) -> IMapIterator:
        self._check(func)
        cut.check_chunksize(chunksize)
        chosen = options.of(keywords)
        size = 1 if chunksize is None or chosen.by_item else chunksize
        cut.check_iterable(iterable, "iterable", "an iterable of the items")
        iterator = iter(iterable)
        bar = bars.make(chosen.progress, cut.length(iterable))
        if chosen.seed is not None:
            func, iterator = _seeded(func, MAP, chosen.seed), enumerate(iterator)
        result = IMapIterator(self, size, ordered, chosen)
        result._bar = bar

        def start(function: Any) -> None:
            result._feed = feed = Feed(result, function, iterator, self._ahead(size))
            if self._line.lazy:
                result._feed_at = math.inf  # not before somebody asks for a result
                return
            if type(iterable) not in NEVER_BLOCK:
                feed.in_thread()
            feed()
            self._line.leave(result)

        self._begin(result, func, True, start)
        return result

    def _ahead(self, chunksize: int) -> int:
        return 1 if self._line.lazy else ahead(self._processes, chunksize)

    def _begin(
        self,
        result: Any,
        func: Callable[..., Any] | None,
        often: bool,
        start: Callable[[Any], None],
    ) -> None:
        """Number a call, pack its function, if there is one, and make its first tasks with `start`.

        A call that is interrupted meanwhile is over: `join` would wait for ever for the tasks that
        are not on their way.
        """
        try:
            self._line.add(result)
            # Again, now that it would be waited for: another thread may have closed the pool since.
            if self._state != RUN:
                self._check_running()
            try:
                function = None if func is None else self._line.function(result, func, often)
            except Exception as error:
                result._fail(error)
            else:
                start(function)
        except BaseException as error:
            result._abort(error)
            raise

    # The end.

    def close(self) -> None:
        """Take no more calls; the workers leave when those made are done."""
        util.debug("closing pool")
        if self._state == RUN:
            self._state = CLOSE
            self._line.shut(CLOSE)

    def terminate(self) -> None:
        """End the workers at once; calls under way fail with `TaskCancelled`."""
        util.debug("terminating pool")
        self._state = TERMINATE
        finalizer = getattr(self, "_finalizer", None)
        if finalizer is not None:
            finalizer()

    def join(self) -> None:
        """Wait for the workers to leave; call `close` or `terminate` before.

        Raises:
            ValueError: neither has been called.
            RuntimeError: this is a callback of a pool that was closed.
        """
        util.debug("joining pool")
        if self._state == RUN:
            raise ValueError("Pool is still running; call close() or terminate() before join()")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        for job in list(self._line.jobs.values()):
            job._rush()
        self._join()

    def _join(self) -> None:
        if self._line.keeper == threading.get_ident() and self._line.state != TERMINATE:
            raise RuntimeError(
                "a callback can't join() its pool: the workers leave when all callbacks have "
                "returned; close() it there, and join() it elsewhere"
            )
        self._keeper.join()
        for worker in list(self._pool):
            worker.join()
        self._line.release()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    # Inside.

    def _repopulate_pool(self) -> None:
        self._line.ring_bell()

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError(
                "Pool not running: it has been closed or terminated (leaving its `with` block "
                "does that); make another one"
            )

    def _check(self, func: object, callback: object = None, error_callback: object = None) -> None:
        self._check_running()
        if self._line.broken is not None:
            raise self._line.broken()
        if callback is None and error_callback is None and callable(func):
            return
        for name, value in (
            ("func", func),
            ("callback", callback),
            ("error_callback", error_callback),
        ):
            if not callable(value) and (value is not None or name == "func"):
                raise TypeError(
                    f"{name} must be something that can be called, not {type(value).__name__} "
                    f"({value!r:.60})"
                )


def __getattr__(name: str) -> Any:
    if name in ("InlinePool", "ThreadPool"):
        from allcores import local_pools

        globals()[name] = found = getattr(local_pools, name)
        return found
    # Names that were never documented, and are used all the same.
    return getattr(_std, name)


def _seeded(func: Callable[..., Any], kind: int, seed: int) -> Callable[..., Any]:
    from allcores.task import seeds

    return (seeds.SeededStar if kind == STARMAP else seeds.Seeded)(func, seed)


def _maker(cls: type[Pool], ctx: Any) -> Callable[..., Any]:
    def make(**kwargs: Any) -> Any:
        return cls.Process(ctx, **kwargs)

    return make


def _end(line: Line, crew: Crew, keeper: Keeper) -> None:
    line.shut(TERMINATE)
    # The keeper first, or it would replace the workers that are ended here.
    keeper.join()
    crew.end()
    line.cancel()
    line.release()
