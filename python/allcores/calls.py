"""``map``, ``imap`` and ``amap``: a call for each item on all cores, without a pool to look after.

::

    import allcores as mp

    squares = mp.map(lambda x: x * x, range(1000))

Each makes a pool, uses it and ends it. What they do is what `Pool` does (pool.py); they differ in
how one waits: `map` returns a list, `imap` an iterator, ``await amap`` a list without keeping the
event loop from other work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar, Unpack, overload

from allcores.engines.plan import Engine, Plan, abandon, ending
from allcores.task.options import OnError

if TYPE_CHECKING:
    from allcores.pool import Pool
    from allcores.task.stream import IMapIterator

__all__ = ["Results", "amap", "imap", "map"]

R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class _Common(TypedDict, total=False):
    """The keywords that say nothing about the type of the results."""

    workers: int | None
    engine: Engine
    chunksize: int | None
    timeout: float | None
    retries: int
    progress: bool | str | Mapping[str, Any]
    seed: int | None


class _Keywords(_Common, total=False):
    on_error: Literal["raise", "skip"]


class _Stream(_Keywords, total=False):
    ordered: bool


class _StreamOfAny(_Common, total=False):
    ordered: bool


@overload
def map(func: Callable[[A], R], a: Iterable[A], /, **keywords: Unpack[_Keywords]) -> list[R]: ...
@overload
def map(
    func: Callable[[A, B], R], a: Iterable[A], b: Iterable[B], /, **keywords: Unpack[_Keywords]
) -> list[R]: ...
@overload
def map(
    func: Callable[[A, B, C], R],
    a: Iterable[A],
    b: Iterable[B],
    c: Iterable[C],
    /,
    **keywords: Unpack[_Keywords],
) -> list[R]: ...
@overload
def map(
    func: Callable[..., R],
    a: Iterable[Any],
    b: Iterable[Any],
    c: Iterable[Any],
    d: Iterable[Any],
    /,
    *more: Iterable[Any],
    **keywords: Unpack[_Keywords],
) -> list[R]: ...
@overload
def map(
    func: Callable[..., R],
    /,
    *iterables: Iterable[Any],
    on_error: Literal["return"],
    **keywords: Unpack[_Common],
) -> list[R | BaseException]: ...


def map(
    func: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Engine = "auto",
    chunksize: int | None = None,
    timeout: float | None = None,
    retries: int = 0,
    on_error: OnError = "raise",
    progress: bool | str | Mapping[str, Any] = False,
    seed: int | None = None,
) -> list[Any]:
    """Call ``func`` with each item, on all cores; return the list of what the calls return.

    The results are in the order of the input. Several iterables are gone through side by side, as
    by the builtin ``map``: it ends with the shortest. Lists and others with a length have to be
    equally long, though, as it is a mistake, most likely, when they aren't.

    Args:
        func: what to call.
        iterables: the items; of several iterables, the arguments of each call.
        workers: how many; None for one a usable core, but never more than there are items. 0 means
            none: the calls are made here, one after the other, for a debugger.
        engine: what the workers are. "processes" use all cores for Python code; a crash costs one
            call. "threads" have no start-up and share all objects, and are for calls that wait, or
            compute outside the interpreter's lock. "inline" is no workers. "auto" is "processes",
            but "inline" with one worker or one item, when nothing can happen at the same time
            (and there is no `timeout`, which needs a worker that can be ended).
        chunksize: items that travel together; None measures how long they take.
        timeout: seconds for each call; one that takes longer fails with `TaskTimeout`, and its
            worker is ended.
        retries: how often a call that failed is made again.
        on_error: "raise" ends everything with the first error, and the exception's attribute
            ``partial_results`` has the results that there were; "return" puts exceptions in the
            places of results; "skip" leaves these out.
        progress: True shows a bar; or its description, or a dict of tqdm's arguments.
        seed: makes `random` and `numpy.random` give each call numbers that depend on nothing but
            this and the item's index: not on the workers, the chunks or the engine.

    Raises:
        ValueError: sized iterables of different length; a number below what makes sense; an
            unknown engine.
        TypeError: no iterable; something of the wrong type.
        Exception: the first that a call raised.

    Example:
        >>> import allcores as mp
        >>> mp.map(pow, [1, 2, 3], [2, 2, 2])
        [1, 4, 9]
    """
    plan = Plan(
        func,
        iterables,
        workers,
        engine,
        chunksize,
        {
            "timeout": timeout,
            "retries": retries,
            "on_error": on_error,
            "progress": progress,
            "seed": seed,
        },
    )
    pool = plan.open()
    with ending(pool):
        values: list[Any] = plan.map(pool).get()
    return values


@overload
def imap(func: Callable[[A], R], a: Iterable[A], /, **keywords: Unpack[_Stream]) -> Results[R]: ...
@overload
def imap(
    func: Callable[[A, B], R], a: Iterable[A], b: Iterable[B], /, **keywords: Unpack[_Stream]
) -> Results[R]: ...
@overload
def imap(
    func: Callable[[A, B, C], R],
    a: Iterable[A],
    b: Iterable[B],
    c: Iterable[C],
    /,
    **keywords: Unpack[_Stream],
) -> Results[R]: ...
@overload
def imap(
    func: Callable[..., R],
    a: Iterable[Any],
    b: Iterable[Any],
    c: Iterable[Any],
    d: Iterable[Any],
    /,
    *more: Iterable[Any],
    **keywords: Unpack[_Stream],
) -> Results[R]: ...
@overload
def imap(
    func: Callable[..., R],
    /,
    *iterables: Iterable[Any],
    on_error: Literal["return"],
    **keywords: Unpack[_StreamOfAny],
) -> Results[R | BaseException]: ...


def imap(
    func: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Engine = "auto",
    chunksize: int | None = None,
    timeout: float | None = None,
    retries: int = 0,
    on_error: OnError = "raise",
    progress: bool | str | Mapping[str, Any] = False,
    seed: int | None = None,
    ordered: bool = True,
) -> Results[Any]:
    """Like `map`, but return at once, with an iterator over the results.

    The input is read a bounded distance ahead of what has been taken from the iterator, so it may
    be endless. (Inline it isn't read ahead at all, and each call is made when its result is taken.)

    The workers end with the iterator: when it is at its end, has raised, is closed, or is
    forgotten.

    Args:
        func: what to call.
        iterables: as in `map`.
        workers: as in `map`.
        engine: as in `map`.
        chunksize: items that travel together; None for 1.
        timeout: as in `map`.
        retries: as in `map`.
        on_error: as in `map`, except that "raise" raises in the place of the result.
        progress: as in `map`.
        seed: as in `map`.
        ordered: False gives results as they come.

    Example:
        >>> import itertools
        >>> import allcores as mp
        >>> with mp.imap(abs, itertools.count(-2)) as results:
        ...     [next(results) for _ in range(4)]
        [2, 1, 0, 1]
    """
    plan = Plan(
        func,
        iterables,
        workers,
        engine,
        chunksize,
        {
            "timeout": timeout,
            "retries": retries,
            "on_error": on_error,
            "progress": progress,
            "seed": seed,
        },
    )
    pool = plan.open()
    try:
        return Results(pool, plan.imap(pool, ordered))
    except BaseException:
        abandon(pool)
        raise


class Results(Iterator[R], Generic[R]):
    """The results of `imap`, one by one.

    In a ``with`` block it is closed at the block's end.
    """

    def __init__(self, pool: Pool, results: IMapIterator) -> None:
        self._pool: Pool | None = pool
        self._results = results

    def __iter__(self) -> Results[R]:
        return self

    def __next__(self) -> R:
        pool = self._pool
        if pool is None:
            raise StopIteration
        try:
            return next(self._results)  # type: ignore[no-any-return]
        except StopIteration:
            if self._results._is_over():
                self._pool = None
                pool.close()
                pool.join()
            raise
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Make no more calls, and end the workers."""
        pool, self._pool = self._pool, None
        if pool is not None:
            abandon(pool)

    def __enter__(self) -> Results[R]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            self.close()


@overload
async def amap(
    func: Callable[[A], R], a: Iterable[A], /, **keywords: Unpack[_Keywords]
) -> list[R]: ...
@overload
async def amap(
    func: Callable[[A, B], R], a: Iterable[A], b: Iterable[B], /, **keywords: Unpack[_Keywords]
) -> list[R]: ...
@overload
async def amap(
    func: Callable[[A, B, C], R],
    a: Iterable[A],
    b: Iterable[B],
    c: Iterable[C],
    /,
    **keywords: Unpack[_Keywords],
) -> list[R]: ...
@overload
async def amap(
    func: Callable[..., R],
    a: Iterable[Any],
    b: Iterable[Any],
    c: Iterable[Any],
    d: Iterable[Any],
    /,
    *more: Iterable[Any],
    **keywords: Unpack[_Keywords],
) -> list[R]: ...
@overload
async def amap(
    func: Callable[..., R],
    /,
    *iterables: Iterable[Any],
    on_error: Literal["return"],
    **keywords: Unpack[_Common],
) -> list[R | BaseException]: ...


async def amap(
    func: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    workers: int | None = None,
    engine: Engine = "auto",
    chunksize: int | None = None,
    timeout: float | None = None,
    retries: int = 0,
    on_error: OnError = "raise",
    progress: bool | str | Mapping[str, Any] = False,
    seed: int | None = None,
) -> list[Any]:
    """Like `map`, for `asyncio`: ``await`` it, and the event loop does other work meanwhile.

    Cancelling who awaits it (``task.cancel()``, ``asyncio.timeout``) ends the calls that run, with
    their workers; these are gone when `CancelledError` comes out.

    A thread of its own starts the workers and reads the input, so neither holds the loop up. Only
    when they are to be made inline do the calls hold it up; "auto" never chooses that here.

    Args:
        func: what to call; a plain function, not a coroutine's.
        iterables: as in `map`.
        workers: as in `map`.
        engine: as in `map`.
        chunksize: as in `map`.
        timeout: as in `map`.
        retries: as in `map`.
        on_error: as in `map`.
        progress: as in `map`.
        seed: as in `map`.

    Example:
        >>> import asyncio
        >>> import allcores as mp
        >>> async def main():
        ...     return await mp.amap(abs, [-1, 2, -3])
        >>> asyncio.run(main())
        [1, 2, 3]
    """
    plan = Plan(
        func,
        iterables,
        workers,
        engine,
        chunksize,
        {
            "timeout": timeout,
            "retries": retries,
            "on_error": on_error,
            "progress": progress,
            "seed": seed,
        },
        beside=True,
    )
    if plan.engine == "inline":
        pool = plan.open()
        with ending(pool):
            values: list[Any] = plan.map(pool).get()
        return values
    from allcores.engines.awaited import Awaited

    return await Awaited(plan).run()
