"""Cutting the input of a map into pieces."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

# Pieces a worker, unless told otherwise: few enough to be cheap, enough to even out.
_PIECES = 4


def chunksize_for(length: int, workers: int, chunksize: int | None) -> int:
    """Return how many items a task gets.

    Args:
        length: of the whole input.
        workers: how many there are.
        chunksize: what the caller wants; None for no wish.
    """
    if chunksize is not None:
        return chunksize
    size, rest = divmod(length, workers * _PIECES)
    return max(1, size + bool(rest))


def check_chunksize(chunksize: int | None) -> None:
    """Raise ValueError or TypeError unless `chunksize` is None or a whole number from 1 on."""
    if chunksize is None:
        return
    if not isinstance(chunksize, int):
        raise TypeError(f"chunksize must be a whole number or None, not {type(chunksize).__name__}")
    if chunksize < 1:
        raise ValueError(
            f"Chunksize must be 1+, not {chunksize}; leave it out and the pool chooses"
        )


def sliceable(iterable: Iterable[Any]) -> Any:
    """Return the input as something with a length and slices, reading it when it has none."""
    return iterable if _can_be_sliced(iterable) else list(iterable)


def pieces(iterable: Any, size: int) -> Iterator[Sequence[Any]]:
    """Return an iterator over the input in pieces of `size` items.

    Lists, tuples, ranges and arrays are sliced; anything else is read item by item.

    Raises:
        TypeError: it isn't iterable.
    """
    if _can_be_sliced(iterable):
        return (iterable[start : start + size] for start in range(0, len(iterable), size))
    return _read(iter(iterable), size)


def _read(iterator: Iterator[Any], size: int) -> Iterator[Sequence[Any]]:
    while piece := tuple(itertools.islice(iterator, size)):
        yield piece


def _can_be_sliced(iterable: Any) -> bool:
    kind = type(iterable)
    if kind in (list, tuple, range):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is numpy.ndarray and iterable.ndim > 0
