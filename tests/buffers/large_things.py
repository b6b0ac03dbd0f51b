"""A large array, and what tasks do with what they get. Imports no more than that needs."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
from allcores import _core

N = 50_000
NUMBERS = np.arange(N, dtype=float)


def same(obj: Any) -> Any:
    """Return what arrived."""
    return obj


def total(obj: Any, *_: Any) -> float:
    """Return the sum of an array."""
    return float(obj.sum())


def meet(barrier: Any) -> None:
    """Wait for the other workers: so each of them is there."""
    barrier.wait()


def address(obj: Any) -> tuple[int, int] | None:
    """Return which shared memory an array arrived in: place and generation."""
    found = _core.find(obj)
    return None if found is None else found[0].handle()[1:]


def exists(place: tuple[int, int] | None) -> bool:
    """Return whether anybody still has the memory that `address` has told of."""
    assert place is not None
    gc.collect()
    _core.recover()
    try:
        _core.Frozen.from_handle(_core.session(), *place, 1)
    except ValueError:
        return False
    return True


def live_bytes() -> int:
    """Return how many bytes of the arena are in use, once nobody dead holds any."""
    gc.collect()
    _core.arena_fd()
    _core.recover()
    return int(_core.stats()["live_bytes"])
