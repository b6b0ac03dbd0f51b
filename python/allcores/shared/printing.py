"""How containers that may hold themselves are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import local
from typing import Any

from allcores.errors import ManagerShutDown

__all__ = ["once", "shown"]


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


def shown(method: Callable[[Any], str]) -> Callable[[Any], str]:
    """Have a ``__repr__`` that doesn't fail when a manager has been shut down."""

    @wraps(method)
    def shown(self: Any) -> str:
        try:
            return method(self)
        except ManagerShutDown:
            return f"<{type(self).__name__} of a manager that has been shut down>"

    return shown
