"""What every job has in common: its options, and doing a part again that failed."""

from __future__ import annotations

from typing import Any

from allcores.buffers import Known
from allcores.task.options import PLAIN, Options
from allcores.task.progress import Bar


class Job:
    """A call, or many of one function, of which results are to come.

    A job hears of each of its parts: that it is done, or that it is lost, which is settled here:
    done again or failed.
    """

    _job = 0  # its number, once its engine has given it one
    _options: Options = PLAIN
    # How often parts have failed; made with the first that does.
    _tried: dict[int, int] | None = None
    _bar: Bar | None = None
    # Large buffers that its tasks carry, where the input can't change.
    _known: Known | None = None

    def _lost(self, part: int, error: BaseException) -> None:
        """Take the news that a part has failed in a worker, or with it."""
        if self._options.retries and _is_worth_it(error) and self._is_open(part):
            if self._tried is None:
                self._tried = {}
            tried = self._tried[part] = self._tried.get(part, 0) + 1
            if tried <= self._options.retries:
                self._repeat(part)
                return
        self._failed(part, error)

    def _failed(self, part: int, error: BaseException) -> None:
        """Take the news that a part has failed for good."""
        raise NotImplementedError

    def _rest(self) -> float:
        """Return for how many seconds who waits for it need not look for results."""
        return 0.0

    def _is_open(self, part: int) -> bool:
        """Return whether a part is neither done nor failed."""
        raise NotImplementedError

    def _repeat(self, part: int) -> None:
        """Have a part done again."""
        raise NotImplementedError

    def _first(self, part: int) -> int:
        """Return the index, in the call's input, of the first item of a part."""
        return 0

    def _arguments(self, part: int, item: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the function was called with for an item of a part."""
        raise NotImplementedError


def _is_worth_it(error: BaseException) -> bool:
    # Not what was meant to end something: Ctrl-C, sys.exit.
    return isinstance(error, Exception) and not isinstance(error, SystemExit)
