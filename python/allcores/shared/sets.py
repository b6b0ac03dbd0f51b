"""The shared set: what `set` can do, seen by every process.

Its elements are the keys of a shared dict, so the same ones are equal, with the same order of
insertion, the same speed and the same care for processes that die. What takes one element is one
operation. What takes several is one for each of them; hold `lock` where others must not come in
between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableSet
from collections.abc import Set as AnySet
from typing import Any

from allcores import _core
from allcores.shared.dicts import Dict
from allcores.shared.printing import once, shown
from allcores.shared.proxied import Proxied

__all__ = ["Set"]


class Set(Proxied):
    """A set that processes share. It travels anywhere as a handle.

    It lives as long as any process has it or it is in another shared object. Elements are found
    as a shared dict finds its keys, see `allcores.shared.dicts.Dict`.

    Args:
        iterable: what is in it first.

    Raises:
        TypeError: an element is not hashable.
        allcores.errors.NotPicklable: an element can't travel.
        MemoryError: there is no memory left.

    Example:
        >>> seen = Set(["a", "b"])
        >>> seen |= {"c"}
        >>> seen
        {'a', 'b', 'c'}
    """

    __slots__ = ("__weakref__", "_dict")
    __hash__ = None  # type: ignore[assignment]
    _dict: Dict

    def __init__(self, iterable: Iterable[Any] = (), /) -> None:
        self._dict = Dict()
        self.update(iterable)

    @classmethod
    def under(cls, life: _core.Life, iterable: Iterable[Any] = (), /) -> Set:
        """Make a set that can't be used any more when a life is over."""
        self = _open(cls, Dict.under(life))
        self.update(iterable)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (type(self), self._dict)

    @property
    def lock(self) -> _core.ContainerLock:
        """The lock that keeps all others out of the set for several operations."""
        return self._dict.lock

    # One element

    def add(self, element: Any, /) -> None:
        """Put an element in, unless one that is equal is there."""
        self._dict.setdefault(element)

    def discard(self, element: Any, /) -> None:
        """Take an element out if it is there."""
        self._dict.pop(element, None)

    def remove(self, element: Any, /) -> None:
        """Take an element out.

        Raises:
            KeyError: it is not there.
        """
        del self._dict[element]

    def pop(self) -> Any:
        """Take an element out and return it: the one that came last.

        Raises:
            KeyError: there is none.
        """
        try:
            return self._dict.popitem()[0]
        except KeyError:
            raise KeyError("pop from an empty set") from None

    def __contains__(self, element: object, /) -> bool:
        return element in self._dict

    # All elements

    def __len__(self) -> int:
        return len(self._dict)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over what is there at the start.

        Raises:
            RuntimeError: others added or removed elements meanwhile.
        """
        elements = self._dict._keys()
        for element in elements:
            if len(self._dict) != len(elements):
                raise RuntimeError("Set changed size during iteration; iterate over copy()")
            yield element

    def clear(self) -> None:
        """Take all elements out."""
        self._dict.clear()

    def copy(self) -> set[Any]:
        """Return the elements as a plain set."""
        return set(self._dict._keys())

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Set:
        return self

    def update(self, *others: Iterable[Any]) -> None:
        """Put in all elements of the others, one after the other."""
        for other in others:
            for element in _elements(other):
                self._dict.setdefault(element)

    def difference_update(self, *others: Iterable[Any]) -> None:
        """Take out all elements of the others, one after the other."""
        for other in others:
            for element in _elements(other):
                self._dict.pop(element, None)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        """Take out what is not in each of the others, one element after the other."""
        mine = self.copy()
        self.difference_update(mine - mine.intersection(*map(_elements, others)))

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        """Take out what is in the other as well, and put in what is only there."""
        mine, its = self.copy(), set(_elements(other))
        self.difference_update(mine & its)
        self.update(its - mine)

    def __ior__(self, other: Any, /) -> Any:
        return self._in_place(self.update, other)

    def __iand__(self, other: Any, /) -> Any:
        return self._in_place(self.intersection_update, other)

    def __isub__(self, other: Any, /) -> Any:
        return self._in_place(self.difference_update, other)

    def __ixor__(self, other: Any, /) -> Any:
        return self._in_place(self.symmetric_difference_update, other)

    def _in_place(self, change: Callable[[Any], None], other: Any) -> Any:
        if not isinstance(other, AnySet):
            return NotImplemented
        change(other)
        return self

    # Compared and combined, the result is a plain set

    def union(self, *others: Iterable[Any]) -> set[Any]:
        """Return what is here or in any of the others."""
        return self.copy().union(*map(_elements, others))

    def intersection(self, *others: Iterable[Any]) -> set[Any]:
        """Return what is here and in each of the others."""
        return self.copy().intersection(*map(_elements, others))

    def difference(self, *others: Iterable[Any]) -> set[Any]:
        """Return what is here and in none of the others."""
        return self.copy().difference(*map(_elements, others))

    def symmetric_difference(self, other: Iterable[Any], /) -> set[Any]:
        """Return what is either here or in the other."""
        return self.copy().symmetric_difference(_elements(other))

    def isdisjoint(self, other: Iterable[Any], /) -> bool:
        """Return whether nothing is in both."""
        return self.copy().isdisjoint(_elements(other))

    def issubset(self, other: Iterable[Any], /) -> bool:
        """Return whether all of this is in the other."""
        return self.copy().issubset(_elements(other))

    def issuperset(self, other: Iterable[Any], /) -> bool:
        """Return whether all of the other is in this."""
        return self.copy().issuperset(_elements(other))

    def _with(self, other: Any, how: str) -> Any:
        if not isinstance(other, AnySet):
            return NotImplemented
        return getattr(self.copy(), how)(set(_elements(other)))

    def __or__(self, other: Any, /) -> Any:
        return self._with(other, "__or__")

    def __and__(self, other: Any, /) -> Any:
        return self._with(other, "__and__")

    def __sub__(self, other: Any, /) -> Any:
        return self._with(other, "__sub__")

    def __xor__(self, other: Any, /) -> Any:
        return self._with(other, "__xor__")

    __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

    def __rsub__(self, other: Any, /) -> Any:
        return self._with(other, "__rsub__")

    def __eq__(self, other: object, /) -> Any:
        return self._with(other, "__eq__")

    def __ne__(self, other: object, /) -> Any:
        return self._with(other, "__ne__")

    def __lt__(self, other: Any, /) -> Any:
        return self._with(other, "__lt__")

    def __le__(self, other: Any, /) -> Any:
        return self._with(other, "__le__")

    def __gt__(self, other: Any, /) -> Any:
        return self._with(other, "__gt__")

    def __ge__(self, other: Any, /) -> Any:
        return self._with(other, "__ge__")

    @shown
    def __repr__(self) -> str:
        elements = self._dict._keys()
        with once(self._dict.offset) as first:
            if not first:
                return "set(...)"
            return f"{{{', '.join(map(repr, elements))}}}" if elements else "set()"


def _elements(other: Iterable[Any]) -> Iterable[Any]:
    """What there is in `other` now: our own set must not change under its own loop."""
    return other._dict._keys() if isinstance(other, Set) else other


def _open(cls: type[Set], keys: Dict) -> Set:
    self = cls.__new__(cls)
    self._dict = keys
    return self


MutableSet.register(Set)
