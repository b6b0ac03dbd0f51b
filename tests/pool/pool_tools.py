"""Helpers of the pool's tests.

Not in conftest.py: there are several modules of that name, and a child that imports a test
module by name would get any of them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from allcores import _core


def eventually(claim: Callable[[], bool]) -> None:
    """Wait until `claim` holds; the watchdog ends a wait for what never comes."""
    while not claim():
        time.sleep(0.005)


def blocks() -> int:
    """Return how many blocks of the arena are in use, once nobody dead holds any."""
    gc.collect()
    _core.arena_fd()
    _core.recover()
    return int(_core.stats()["live_blocks"])


def take(size: int) -> bytearray:
    """Return memory that is really there: each of its pages has been written to."""
    block = bytearray(size)
    block[::4096] = b"\1" * len(block[::4096])
    return block
