"""The shared list: what `list` can do, seen by every process.

The items live in the arena. Numbers, texts, bytes and None, True and False are kept as they
are. Plain lists and dicts become shared ones (see `allcores.shared.nested`). Other objects are
kept as pickles, so that reading one gives a new object each time, and changing what was read
doesn't change the list: assign it again. Shared objects in the list (a list, an Array, a queue, a
lock) are the shared ones.

Each operation happens as a whole, also when its process is killed in the middle of it.
Several together don't: ``l[0] += 1`` reads, then writes.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, MutableSequence
from typing import Any, SupportsIndex

from allcores import _core, pickling
from allcores.shared.printing import once, shown
from allcores.shared.proxied import Proxied

__all__ = ["List"]

# How often an operation that needs to look first, then change, starts again because the list
# was changed in between. A guess: each time means that another process got on.
_TRIES = 1000


class List(Proxied, _core.List):
    """A list that processes share. It travels anywhere as a handle.

    It lives as long as any process has it or it is in another shared object. A list that
    holds itself by way of another one is never freed before the program ends.

    Args:
        iterable: what is in it first.

    Example:
        >>> squares = List(range(3))
        >>> squares.append(9)
        >>> squares
        [0, 1, 2, 9]
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def under(cls, life: _core.Life, iterable: Iterable[Any] = (), /) -> List:
        """Make a list that can't be used any more when a life is over."""
        return _core.List.__new__(cls, iterable, life=life)

    def __reduce__(self) -> tuple[Any, ...]:
        pickling.note_sent(self.offset)
        if self.life is None:
            return _open, (type(self), *self.handle())
        return _open, (type(self), *self.handle(), self.life)

    def __copy__(self) -> list[Any]:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> List:
        return self

    def extend(self, iterable: Iterable[Any], /) -> None:  # type: ignore[override]
        """Add the items of `iterable` at the end, all at once."""
        super().extend(iterable)

    def copy(self) -> list[Any]:
        """Return the items as a plain list."""
        items: list[Any] = self[:]
        return items

    def count(self, value: Any, /) -> int:
        """Return how many items are equal to `value`."""
        return self[:].count(value)

    def index(
        self, value: Any, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize, /
    ) -> int:
        """Return the index of the first item that is equal to `value`.

        Args:
            value: what to look for.
            start: index to begin at.
            stop: index to end before.

        Raises:
            ValueError: there is none.
        """
        return self[:].index(value, start, stop)

    def remove(self, value: Any, /) -> None:
        """Remove the first item that is equal to `value`.

        Raises:
            ValueError: there is none.
        """
        for _ in range(_TRIES):
            items, version = self.snapshot()
            try:
                at = items.index(value)
            except ValueError:
                raise ValueError("list.remove(x): x not in list") from None
            if self.delete_if(at, version):
                return
        raise _crowded("remove")

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort the list. Items that compare equal keep their order.

        The comparisons run while others may use the list; when they change it, the sorting
        starts again.

        Args:
            key: called with each item; what it returns is compared instead.
            reverse: the largest first.

        Raises:
            ValueError: others changed the list so often that it was never sorted.
        """
        for _ in range(_TRIES):
            items, version = self.snapshot()
            keys = items if key is None else [key(item) for item in items]
            order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
            if self.reorder(order, version):
                return
        raise _crowded("sort")

    def rearrange(self, order: Callable[[int], list[int]], what: str) -> None:
        """Bring what is at ``order(length)[i]`` to `i`, in one operation.

        Args:
            order: says the order for a length, which is not 0.
            what: it is to the user, for the message of an error.
        """
        for _ in range(_TRIES):
            version = self.version
            count = len(self)
            if not count or self.reorder(order(count), version):
                return
        raise _crowded(what)

    def __contains__(self, value: object, /) -> bool:
        version = self.version
        if any(item is value or item == value for item in self):
            return True
        # When others took some away meanwhile, the rest moved up, perhaps past what was read.
        return self.version != version and value in self[:]

    def __reversed__(self) -> Any:
        at = len(self) - 1
        while at >= 0:
            try:
                item = self[at]
            except IndexError:
                # Others have made the list shorter.
                at = len(self)
            else:
                yield item
            at -= 1

    def __add__(self, other: Any, /) -> list[Any]:
        if isinstance(other, (list, _core.List)):
            return self[:] + other[:]
        return NotImplemented

    def __radd__(self, other: Any, /) -> list[Any]:
        if isinstance(other, list):
            return other + self[:]
        return NotImplemented

    def __iadd__(self, other: Iterable[Any], /) -> List:  # type: ignore[misc]
        self.extend(other)
        return self

    def __mul__(self, times: SupportsIndex, /) -> list[Any]:
        return self[:] * times

    __rmul__ = __mul__

    def __imul__(self, times: SupportsIndex, /) -> List:
        more = operator.index(times) - 1
        if more < 0:
            self.clear()
        if more <= 0:
            return self
        for _ in range(_TRIES):
            items, version = self.snapshot()
            if super().extend(items * more, version):
                return self
        raise _crowded("*=")

    def __eq__(self, other: object, /) -> Any:
        return self._compare(other, operator.eq)

    def __ne__(self, other: object, /) -> Any:
        return self._compare(other, operator.ne)

    def __lt__(self, other: Any, /) -> Any:
        return self._compare(other, operator.lt)

    def __le__(self, other: Any, /) -> Any:
        return self._compare(other, operator.le)

    def __gt__(self, other: Any, /) -> Any:
        return self._compare(other, operator.gt)

    def __ge__(self, other: Any, /) -> Any:
        return self._compare(other, operator.ge)

    def _compare(self, other: Any, how: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, _core.List):
            if other.handle() == self.handle() and how in (
                operator.eq,
                operator.le,
                operator.ge,
            ):
                return True
            other = other[:]
        if isinstance(other, list):
            # Not its method: a list in a shared container has one of its own, which is asked first.
            return how(self[:], other)
        return NotImplemented

    @shown
    def __repr__(self) -> str:
        with once(self.offset) as first:
            return repr(self[:]) if first else "[...]"


def _open(
    cls: type[List], session: int, offset: int, generation: int, life: _core.Life | None = None
) -> List:
    return _core.List.__new__(cls, handle=(session, offset, generation), life=life)


def _crowded(what: str) -> ValueError:
    return ValueError(
        f"list modified during {what}, again and again: other processes change it without a "
        f"pause; hold a lock around the changes"
    )


MutableSequence.register(List)
