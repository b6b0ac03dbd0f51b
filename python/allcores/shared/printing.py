"""How containers that may hold themselves are printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

__all__ = ["once"]


class _Printing(local):
    def __init__(self) -> None:
        self.offsets: set[int] = set()


_printing = _Printing()


@contextmanager
def once(offset: int) -> Iterator[bool]:
    """Print the container at `offset` of the arena; False when this thread is at it already."""
    offsets = _printing.offsets
    if offset in offsets:
        yield False
        return
    offsets.add(offset)
    try:
        yield True
    finally:
        offsets.discard(offset)
