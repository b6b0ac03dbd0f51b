"""An executor's `map`: calls go out, and their results come back in order."""

from __future__ import annotations

import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from allcores.task.future import Future
from allcores.task.options import Options
from allcores.task.records import CALL, MAP, STARMAP

if TYPE_CHECKING:
    from allcores.executor import ProcessPoolExecutor


def calls(iterables: tuple[Iterable[Any], ...], size: int) -> Iterator[tuple[int, int, Any]]:
    """Return what to submit: kind of task, index of its first item, and its call or items.

    Args:
        iterables: the input.
        size: items a task.
    """
    steps = zip(*iterables, strict=False)
    if size == 1:
        return ((CALL, index, (step, {})) for index, step in enumerate(steps))
    what: int = STARMAP
    items: Iterator[Any] = iter(steps)
    if len(iterables) == 1:
        what, items = MAP, iter(iterables[0])
    chunks = iter(lambda: list(itertools.islice(items, size)), [])
    return ((what, index * size, chunk) for index, chunk in enumerate(chunks))


def results(
    futures: deque[Future],
    executor: ProcessPoolExecutor | None,
    fn: Callable[..., Any],
    calls: Iterator[tuple[int, int, Any]],
    end: float | None,
    chunks: bool,
    chosen: Options,
) -> Iterator[Any]:
    """Return the results one after another, and submit a call for each that was taken.

    Args:
        futures: of the calls that were submitted before, in order.
        executor: takes those that are left, as long as it is there; None when there are none.
        fn: what to call.
        calls: those that are left.
        end: when waiting is over, by `time.monotonic`; None for never.
        chunks: whether a result is a list of several.
        chosen: options of the calls.
    """
    later = None if executor is None else weakref.ref(executor)
    del executor

    def generate() -> Iterator[Any]:
        try:
            while futures:
                future = futures[0]
                if later is not None and (found := later()) is not None:
                    for what, first, call in itertools.islice(calls, 1):
                        futures.append(found._submit(fn, call, what, first, chosen))
                    del found
                value = future.result(None if end is None else end - time.monotonic())
                futures.popleft()
                del future
                if chunks:
                    value.reverse()
                    while value:
                        yield value.pop()
                else:
                    # A list, so that the generator doesn't hold what it has yielded.
                    box = [value]
                    del value
                    yield box.pop()
        finally:
            for future in futures:
                future.cancel()

    return generate()
