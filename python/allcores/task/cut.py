"""What can be cut into tasks, and into how large ones."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from typing import Any

_AT_HAND: tuple[type[Any], ...] = (
    set,
    frozenset,
    dict,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
    str,
    bytes,
    bytearray,
    deque,
)


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


def check_iterable(value: object, name: str, what: str) -> None:
    """Raise TypeError unless `value` can be gone through.

    Args:
        value: what the caller gave.
        name: of the argument.
        what: what it is to be.
    """
    kind = type(value)
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
        raise TypeError(f"{name} must be {what}, not {kind.__name__} ({value!r:.60})")


def is_at_hand(iterable: Any) -> bool:
    """Tell whether all items are there, so that nothing is gained by reading them bit by bit."""
    return type(iterable) in _AT_HAND or _can_be_sliced(iterable)


def sliceable(iterable: Iterable[Any]) -> Any:
    """Return the input as something with a length and slices, reading it when it has none."""
    return iterable if _can_be_sliced(iterable) else list(iterable)


def length(iterable: Any) -> int | None:
    """Return how many items an iterable says it has."""
    try:
        return len(iterable)
    except Exception:  # most have no length; some raise what they like
        return None


def _can_be_sliced(iterable: Any) -> bool:
    kind = type(iterable)
    if kind in (list, tuple, range):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind in (numpy.ndarray, numpy.memmap) and iterable.ndim > 0
