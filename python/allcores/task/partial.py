"""The results that a map had when it failed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class PartialResults(Mapping[int, Any]):
    """The results that a failed map had by then: index in the input to value.

    The exception that a map raises has it as its attribute ``partial_results``. They don't
    travel: a pickle of it is empty.

    Args:
        values: the values in their places.
        spans: the places that are filled, as (start, stop) in order.
    """

    def __init__(self, values: Sequence[Any], spans: Sequence[tuple[int, int]]) -> None:
        self._values = values
        self._spans = spans

    def __getitem__(self, index: int) -> Any:
        at = bisect_right(self._spans, index, key=lambda span: span[0])
        if at == 0 or index >= self._spans[at - 1][1]:
            raise KeyError(index)
        return self._values[index]

    def __iter__(self) -> Iterator[int]:
        for start, stop in self._spans:
            yield from range(start, stop)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self._spans)

    def __reduce__(self) -> tuple[Any, ...]:
        return PartialResults, ((), ())

    def __repr__(self) -> str:
        return f"<{len(self)} results of a map that failed>"


def attach(error: BaseException, values: Sequence[Any], spans: Sequence[tuple[int, int]]) -> None:
    """Let the exception of a map lead to the results that there were.

    Args:
        error: what the map raises.
        values: as of `PartialResults`.
        spans: as of `PartialResults`.
    """
    try:
        error.partial_results = PartialResults(values, spans)  # type: ignore[attr-defined]
    except Exception:
        pass  # an exception with slots, or one that guards its attributes


def spans_of(is_open: bytearray, stop: int) -> list[tuple[int, int]]:
    """Return the runs of zeros among the first bytes.

    Args:
        is_open: 0 for each item that is done.
        stop: how many bytes count.
    """
    spans = []
    start = is_open.find(0, 0, stop)
    while start != -1:
        end = is_open.find(1, start, stop)
        end = stop if end == -1 else end
        spans.append((start, end))
        start = is_open.find(0, end, stop)
    return spans
