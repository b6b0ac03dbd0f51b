"""The shared deque: what `collections.deque` can do, seen by every process.

Its items are those of a shared list, which adds and takes at either end in constant time: it moves
where it begins in its memory. With `maxlen`, an item that comes in and the one that has to leave
for it are one step, also when the process is killed in the middle.
"""

from __future__ import annotations

import operator
import sys
from collections import deque
from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any, SupportsIndex

from allcores import _core
from allcores.shared.lists import List
from allcores.shared.printing import once, shown
from allcores.shared.proxied import Proxied

__all__ = ["Deque"]


class Deque(Proxied):
    """A deque that processes share. It travels anywhere as a handle.

    It lives as long as any process has it or it is in another shared object.

    Args:
        iterable: what is in it first.
        maxlen: how many items it has at most; None is any number.

    Raises:
        allcores.errors.NotPicklable: an item can't travel.
        MemoryError: there is no memory left.
        ValueError: `maxlen` is negative.

    Example:
        >>> latest = Deque([1, 2, 3], maxlen=3)
        >>> latest.append(4)
        >>> latest
        deque([2, 3, 4], maxlen=3)
    """

    __slots__ = ("__weakref__", "_list", "_most")
    __hash__ = None  # type: ignore[assignment]
    _list: List
    _most: int | None

    def __init__(self, iterable: Iterable[Any] = (), maxlen: int | None = None) -> None:
        items = deque(_items(iterable), maxlen)
        self._most = items.maxlen
        self._list = List(items)

    @classmethod
    def under(
        cls, life: _core.Life, iterable: Iterable[Any] = (), maxlen: int | None = None, /
    ) -> Deque:
        """Make a deque that can't be used any more when a life is over."""
        items = deque(_items(iterable), maxlen)
        return _open(cls, List.under(life, items), items.maxlen)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (type(self), self._list, self._most)

    @property
    def maxlen(self) -> int | None:
        """How many items it has at most; None is any number."""
        return self._most

    @property
    def lock(self) -> _core.ContainerLock:
        """The lock that keeps all others out of the deque for several operations."""
        return self._list.lock

    # At the ends

    def append(self, item: Any, /) -> None:
        """Add an item at the right end; a full deque loses the one at the left."""
        self._list.push(item, False, self._most)

    def appendleft(self, item: Any, /) -> None:
        """Add an item at the left end; a full deque loses the one at the right."""
        self._list.push(item, True, self._most)

    def extend(self, iterable: Iterable[Any], /) -> None:
        """Add items at the right end: all at once without `maxlen`, else one by one."""
        if self._most is None:
            self._list.extend(_items(iterable))
            return
        for item in _items(iterable):
            self.append(item)

    def extendleft(self, iterable: Iterable[Any], /) -> None:
        """Add items at the left end one by one, so that the last one comes first."""
        for item in _items(iterable):
            self.appendleft(item)

    def pop(self) -> Any:
        """Take the item at the right end out.

        Raises:
            IndexError: there is none.
        """
        return self._take(-1)

    def popleft(self) -> Any:
        """Take the item at the left end out.

        Raises:
            IndexError: there is none.
        """
        return self._take(0)

    def _take(self, at: int) -> Any:
        try:
            return self._list.pop(at)
        except IndexError:
            raise IndexError("pop from an empty deque") from None

    def rotate(self, n: SupportsIndex = 1, /) -> None:
        """Take `n` items from the right end to the left, in one operation."""
        steps = operator.index(n)

        def turned(count: int) -> list[int]:
            first = -steps % count
            return [*range(first, count), *range(first)]

        self._list.rearrange(turned, "rotate")

    # In the middle

    def insert(self, at: SupportsIndex, item: Any, /) -> None:
        """Add an item before the one at an index.

        Raises:
            IndexError: the deque has `maxlen` items.
        """
        if self._most is None:
            self._list.insert(at, item)
            return
        with self.lock:
            if len(self._list) >= self._most:
                raise IndexError("deque already at its maximum size")
            self._list.insert(at, item)

    def remove(self, value: Any, /) -> None:
        """Take the first item out that is equal to `value`.

        Raises:
            ValueError: there is none.
        """
        try:
            self._list.remove(value)
        except ValueError as error:
            if str(error).startswith("list.remove"):
                raise ValueError(f"{value!r} is not in deque") from None
            raise

    def index(
        self, value: Any, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize, /
    ) -> int:
        """Return the index of the first item that is equal to `value`.

        Raises:
            ValueError: there is none.
        """
        return deque(self._list[:]).index(value, start.__index__(), stop.__index__())

    def count(self, value: Any, /) -> int:
        """Return how many items are equal to `value`."""
        return self._list.count(value)

    def reverse(self) -> None:
        """Turn the order round."""
        self._list.reverse()

    def clear(self) -> None:
        """Take all items out."""
        self._list.clear()

    def __getitem__(self, at: SupportsIndex, /) -> Any:
        return self._list[_index(at)]

    def __setitem__(self, at: SupportsIndex, item: Any, /) -> None:
        self._list[_index(at)] = item

    def __delitem__(self, at: SupportsIndex, /) -> None:
        del self._list[_index(at)]

    # All items

    def __len__(self) -> int:
        return len(self._list)

    def __contains__(self, value: object, /) -> bool:
        return value in self._list

    def __iter__(self) -> Iterator[Any]:
        """Iterate by the index, as over a shared list: others may go on with the deque."""
        return iter(self._list)

    def __reversed__(self) -> Iterator[Any]:
        found: Iterator[Any] = reversed(self._list)
        return found

    def copy(self) -> deque[Any]:
        """Return the items as a plain deque."""
        return deque(self._list[:], self._most)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Deque:
        return self

    def __add__(self, other: Any, /) -> Any:
        if isinstance(other, (deque, Deque)):
            return self.copy() + deque(_items(other))
        return NotImplemented

    def __radd__(self, other: Any, /) -> Any:
        return other + self.copy() if isinstance(other, deque) else NotImplemented

    def __iadd__(self, other: Iterable[Any], /) -> Deque:  # type: ignore[misc]
        self.extend(other)
        return self

    def __mul__(self, times: SupportsIndex, /) -> deque[Any]:
        return self.copy() * operator.index(times)

    __rmul__ = __mul__

    def __imul__(self, times: SupportsIndex, /) -> Deque:
        if self._most is None:
            self._list *= times
            return self
        with self.lock:
            self._list[:] = self.copy() * operator.index(times)
        return self

    def _compare(self, other: object, how: str) -> Any:
        if isinstance(other, Deque):
            other = other.copy()
        return getattr(self.copy(), how)(other) if isinstance(other, deque) else NotImplemented

    def __eq__(self, other: object, /) -> Any:
        return self._compare(other, "__eq__")

    def __ne__(self, other: object, /) -> Any:
        return self._compare(other, "__ne__")

    def __lt__(self, other: Any, /) -> Any:
        return self._compare(other, "__lt__")

    def __le__(self, other: Any, /) -> Any:
        return self._compare(other, "__le__")

    def __gt__(self, other: Any, /) -> Any:
        return self._compare(other, "__gt__")

    def __ge__(self, other: Any, /) -> Any:
        return self._compare(other, "__ge__")

    @shown
    def __repr__(self) -> str:
        with once(self._list.offset) as first:
            return repr(self.copy()) if first else "deque([...])"


def _items(iterable: Iterable[Any]) -> Iterable[Any]:
    """What there is in it now, if it is one of ours: it may be what is being changed."""
    return iterable._list[:] if isinstance(iterable, Deque) else iterable


def _index(at: Any) -> int:
    if not hasattr(at, "__index__"):
        raise TypeError(f"sequence index must be integer, not {type(at).__name__!r}")
    index: int = at.__index__()
    return index


def _open(cls: type[Deque], items: List, most: int | None) -> Deque:
    self = cls.__new__(cls)
    self._list, self._most = items, most
    return self


MutableSequence.register(Deque)
