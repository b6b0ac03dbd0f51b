"""What a one-call form (calls.py) does: the engine is chosen, a pool is made, used and ended."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from allcores.task import cut, options
from allcores.task.records import MAP, STARMAP

if TYPE_CHECKING:
    from allcores.pool import Pool
    from allcores.task.spread import MapResult
    from allcores.task.stream import IMapIterator

Engine = Literal["auto", "processes", "threads", "inline"]
ENGINES = ("auto", "processes", "threads", "inline")


class Plan:
    """What is to be called, and by whom; checked.

    Args:
        func: what to call.
        iterables: arguments, side by side.
        workers: how many, 0 for none, None for one a core.
        engine: one of `ENGINES`.
        chunksize: items a task.
        keywords: options of the calls (task/options.py).
        beside: whether the caller has other things to do meanwhile.

    Attributes:
        workers: how many there will be.
        engine: the one that was chosen.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        workers: int | None,
        engine: str,
        chunksize: int | None,
        keywords: dict[str, Any],
        beside: bool = False,
    ) -> None:
        if not callable(func):
            raise TypeError(
                f"func must be something that can be called, not {type(func).__name__} "
                f"({func!r:.60})"
            )
        if not iterables:
            raise TypeError("there is nothing to go through: give an iterable behind the function")
        cut.check_chunksize(chunksize)
        self._func = func
        self._iterables = iterables
        self._chunksize = chunksize
        chosen = options.of(keywords)
        length = _length(iterables)
        if chosen.progress is not None and length is not None and _all_last(iterables):
            keywords["progress"] = {"total": length} | chosen.progress
        self._keywords: Any = keywords
        self.workers = _workers(workers, length)
        alone = self.workers == 1 or (length is not None and length <= 1)
        pays = beside or not alone or chosen.timeout is not None
        self.engine = _engine(engine, self.workers, pays)

    def forks(self) -> bool:
        """Return whether the workers will be forks of this process."""
        from allcores.context import default_context

        return self.engine == "processes" and default_context.get_start_method() == "fork"

    def open(self) -> Pool:
        """Return the pool, with its workers started."""
        from allcores import pool

        if self.engine == "inline":
            return pool.InlinePool()
        if self.engine == "threads":
            return pool.ThreadPool(self.workers)
        return pool.Pool(self.workers)

    def map(
        self, pool: Pool, watch: Callable[[Iterable[Any]], Iterable[Any]] | None = None
    ) -> MapResult:
        """Begin with all of it; the thread that calls this calls ``get`` next.

        Args:
            pool: does it.
            watch: gets an input that may take its time, and returns what to read instead.
        """
        items, kind = self._iterables[0], MAP
        if len(self._iterables) > 1:
            items, kind = zip(*self._iterables, strict=False), STARMAP
        if watch is not None and not hasattr(items, "__len__"):
            items = watch(items)
        return pool._map(self._func, items, kind, self._chunksize, self._keywords, here=True)

    def imap(self, pool: Pool, ordered: bool) -> IMapIterator:
        """Begin with some of it.

        Args:
            pool: does it.
            ordered: whether results are to come in the order of the input.
        """
        func, items = self._func, self._iterables[0]
        if len(self._iterables) > 1:
            func, items = _Star(func), zip(*self._iterables, strict=False)
        return pool._imap(func, items, self._chunksize, ordered, self._keywords)


class _Star:
    """A function of one tuple, for a function of its items."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.__qualname__: str = getattr(func, "__qualname__", None) or repr(func)

    def __call__(self, args: tuple[Any, ...]) -> Any:
        return self.func(*args)


def _length(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """Return how many steps there will be at most; None when that isn't known.

    Raises:
        ValueError: they can't end together.
        TypeError: one that can't be gone through.
    """
    known: dict[int, int] = {}
    for index, iterable in enumerate(iterables):
        if not (hasattr(iterable, "__iter__") or hasattr(iterable, "__getitem__")):
            raise TypeError(
                f"iterable {index + 1} must be something to go through, not "
                f"{type(iterable).__name__} ({iterable!r:.60}); what is the same for all calls can "
                "be given as itertools.repeat(value)"
            )
        if hasattr(iterable, "__len__"):
            known[index] = len(iterable)  # type: ignore[arg-type]
    if len(set(known.values())) > 1:
        lengths = ", ".join(f"{length} in iterable {i + 1}" for i, length in known.items())
        raise ValueError(
            f"the iterables differ in length: {lengths}. Cut the longer ones; an iterator "
            "(iter(x), itertools.repeat(x)) may be longer than the rest"
        )
    return min(known.values(), default=None)


def _all_last(iterables: tuple[Iterable[Any], ...]) -> bool:
    """Return whether none is a stranger, which may end before the others."""
    return all(
        hasattr(iterable, "__len__") or isinstance(iterable, (itertools.repeat, itertools.count))
        for iterable in iterables
    )


def _workers(workers: int | None, length: int | None) -> int:
    from allcores.task.settings import worker_count

    if isinstance(workers, bool):
        raise TypeError(f"workers must be a whole number or None for one a core, not {workers}")
    if workers == 0:
        return 0
    count = worker_count(workers, "workers", "workers must be 0 (the calls are made here) or more")
    return count if length is None else max(1, min(count, length))


def _engine(engine: str, workers: int, pays: bool) -> str:
    """Return the engine that does it.

    Args:
        engine: the caller's wish.
        workers: how many there are to be.
        pays: whether there is any use in a worker.
    """
    if engine not in ENGINES:
        known = ", ".join(repr(name) for name in ENGINES)
        raise ValueError(f"there is no engine {engine!r:.60}; there are {known}")
    if workers == 0 or engine == "inline":
        return "inline"
    if engine != "auto":
        return engine
    return "processes" if pays else "inline"


@contextlib.contextmanager
def ending(pool: Pool) -> Iterator[None]:
    """End a pool: when all is done its workers leave, when something went wrong they are ended.

    Args:
        pool: the pool.
    """
    try:
        yield
    except BaseException:
        abandon(pool)
        raise
    pool.close()
    pool.join()


def abandon(pool: Pool) -> None:
    """End a pool, whatever its workers do.

    Args:
        pool: the pool.
    """
    pool._line.interrupt()
    pool.terminate()
