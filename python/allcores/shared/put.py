"""An object that is stored once in shared memory, for many to have: `put` and `Ref`."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from allcores import _core, pickling
from allcores.buffers import LARGE
from allcores.memory import show

__all__ = ["Ref", "put"]

_T = TypeVar("_T")


class Ref(Generic[_T]):
    """An object in shared memory. It travels as a handle, and arrives as the object.

    Where one is an argument, an item of a map, or part of either, what is called gets the object
    itself (with threads, or no workers at all: as an argument of its own). Each who gets it has one
    of its own: large buffers (of NumPy arrays, DataFrames, Arrow tables) are not copied for that,
    but read where they are, and what is written to them goes into a private copy of the page. Its
    memory lives as long as somebody holds the `Ref`, or an object that came of it.

    Attributes:
        nbytes: bytes in shared memory, those of parts that were there already included.

    Example:
        >>> numbers = put(list(range(1000)))
        >>> numbers.get()[-1]
        999
    """

    __slots__ = ("__weakref__", "_content", "_kept", "_refs", "_what", "nbytes")

    def __init__(self, obj: _T) -> None:
        self._what = type(obj).__name__
        data, self._refs = pickling.pack(obj, "the object to put", shared=True)
        self.nbytes = sum(frozen.nbytes for frozen in self._refs.kept)
        self._content: bytes | _core.Frozen = data
        if len(data) >= LARGE:
            self._content = _core.freeze(data)
            self.nbytes += len(data)
        # Shared objects in it are kept by what holds them.
        self._kept = obj if len(self._refs) > len(self._refs.kept) else None

    def get(self) -> _T:
        """Return the object, as another process would get it: new for each call."""
        obj: _T = pickling.loads(memoryview(self._content))
        return obj

    def __reduce__(self) -> tuple[Any, ...]:
        for offset in self._refs:
            pickling.note_sent(offset)
        if isinstance(self._content, bytes):
            return pickling.loads, (self._content,)
        pickling.note_sent(self._content.offset)
        return _arrive, (*self._content.handle(), self._content.nbytes)

    def __repr__(self) -> str:
        return f"<Ref to {self._what}, {show(self.nbytes)} shared>"


def _arrive(session: int, offset: int, generation: int, nbytes: int) -> Any:
    content = _core.Frozen.from_handle(session, offset, generation, nbytes)
    return pickling.loads(memoryview(content))


def put(obj: _T) -> Ref[_T]:
    """Store an object in shared memory, once, and return a `Ref` for any number of tasks.

    Later changes of `obj` are not seen by who gets it: it is copied, here and now.

    Args:
        obj: anything that can travel.

    Raises:
        NotPicklable: it can't travel; the message says which part of it, why, and what to do.
        MemoryError: there is no room for it.
    """
    return Ref(obj)
