"""What a worker has by its fork stays shared with its parent."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path

import allcores
import pytest


def _own_bytes() -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(kib) << 10 for kib in re.findall(r"Private_\w+: +(\d+) kB", text))


def collect(_: int) -> int:
    """Return by how much a collection makes this process's own memory grow."""
    before = _own_bytes()
    gc.collect()
    return _own_bytes() - before


@pytest.mark.skipif("t" in sys.abiflags, reason="such a Python's collections mark every object")
def test_collections_copy_nothing() -> None:
    """A collection in a forked worker doesn't copy the objects of its parent."""
    inherited: list[list[object]] = [[] for _ in range(300_000)]
    # What the parent writes to meanwhile, as a collection there does, becomes the worker's as well.
    gc.disable()
    try:
        with allcores.get_context("fork").Pool(1) as pool:
            grown = pool.apply(collect, (0,))
    finally:
        gc.enable()
    assert len(inherited) == 300_000
    # They take more than 20 MB.
    assert grown < 4 << 20


class Node:
    """Refers to itself, so that only a collection frees it."""

    freed = 0

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        Node.freed += 1


def cycles(count: int) -> int:
    """Make garbage, and return how much of it a collection frees."""
    for _ in range(count):
        Node()
    gc.collect()
    return Node.freed


def test_garbage_is_collected() -> None:
    """What tasks make is collected as ever."""
    with allcores.get_context("fork").Pool(1) as pool:
        assert pool.apply(cycles, (100,)) == 100
