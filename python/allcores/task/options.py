"""What a caller may ask of the tasks of one call, and the check of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypedDict

from allcores.task import progress as bars

OnError = Literal["raise", "return", "skip"]


class CallOptions(TypedDict, total=False):
    """Keywords of a single call: see `Options`."""

    timeout: float | None
    retries: int


class ApplyOptions(CallOptions, total=False):
    """Keywords of a single call to a pool: see `Options`."""

    seed: int | None


class MapOptions(ApplyOptions, total=False):
    """Keywords of a map: see `Options`."""

    on_error: OnError
    progress: bool | str | Mapping[str, Any]


class Options(NamedTuple):
    """How the tasks of a call are done.

    Attributes:
        timeout: seconds that a task may take in a worker, what it waits for its turn and its
            function's first imports there not counted; one that takes longer fails with
            `TaskTimeout`, and its worker is replaced. None for as long as it takes.
        retries: how often a task that failed is done again: it raised an exception, overran its
            timeout, or its worker died.
        on_error: what a task that failed for good does to a map. "raise" ends it with the
            task's exception; "return" puts the exception in the result's place; "skip" leaves
            the result out.
        seed: makes `random` and `numpy.random` give each item numbers that depend on nothing but
            this and the item's index. None leaves them alone.
        progress: tqdm's arguments for the bar that shows how many items are done; None for no
            bar. (Callers say True, a description, or a dict of such arguments.)
    """

    timeout: float | None = None
    retries: int = 0
    on_error: OnError = "raise"
    seed: int | None = None
    progress: dict[str, Any] | None = None

    @property
    def by_item(self) -> bool:
        """Whether each item has to be a task of its own."""
        return self.timeout is not None or self.retries > 0 or self.on_error != "raise"


PLAIN = Options()


def of(keywords: Mapping[str, Any], known: type[Any] = MapOptions) -> Options:
    """Return the options that keywords of a call say.

    Args:
        keywords: as the caller gave them.
        known: those that the call takes, as a TypedDict.

    Raises:
        TypeError: an unknown keyword, or a value of the wrong type.
        ValueError: a value that makes no sense.
    """
    if not keywords:
        return PLAIN
    names = known.__annotations__
    for name in keywords:
        if name not in names:
            raise TypeError(
                f"unknown keyword {name!r}; this call takes {', '.join(sorted(names))} beside "
                "its arguments"
            )
    return _checked(**keywords)


def _checked(
    timeout: Any = None,
    retries: Any = 0,
    on_error: Any = "raise",
    seed: Any = None,
    progress: Any = None,
) -> Options:
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
            try:
                timeout = float(timeout)
            except (TypeError, ValueError):
                raise TypeError(
                    "timeout must be a number of seconds for each task, or None, not "
                    f"{type(timeout).__name__} ({timeout!r:.60})"
                ) from None
        if not timeout > 0:
            raise ValueError(
                f"timeout must be more than 0 seconds for each task, not {timeout!r}; None means "
                "no limit"
            )
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise TypeError(f"retries must be a whole number, not {type(retries).__name__}")
    if retries < 0:
        raise ValueError(f"retries must be 0 or more, not {retries}")
    if on_error not in ("raise", "return", "skip"):
        raise ValueError(f'on_error must be "raise", "return" or "skip", not {on_error!r:.60}')
    if seed is not None:
        from allcores.task import seeds

        seed = seeds.check(seed)
    found = Options(timeout, retries, on_error, seed, bars.check(progress))
    return PLAIN if found == PLAIN else found
