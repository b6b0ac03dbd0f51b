"""What ``keys()``, ``values()`` and ``items()`` of a shared dict return.

Live views, as a dict's. The standard library's manager returns lists there, so these
can also be indexed, added to lists and compared with them.
"""

from __future__ import annotations

from collections.abc import ItemsView as _ItemsView
from collections.abc import Iterator, Mapping
from collections.abc import KeysView as _KeysView
from collections.abc import ValuesView as _ValuesView
from typing import Any

__all__ = ["ItemsView", "KeysView", "ValuesView"]


class _View:
    """What the three have in common. Iterating goes over what is there when it begins."""

    __slots__ = ()
    _name = ""
    _mapping: Any

    def _list(self) -> list[Any]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return iter(self._list())

    def __reversed__(self) -> Iterator[Any]:
        return iter(self._list()[::-1])

    def __getitem__(self, index: Any, /) -> Any:
        return self._list()[index]

    def __add__(self, other: Any, /) -> Any:
        if isinstance(other, (list, _View)):
            return [*self, *other]
        return NotImplemented

    def __radd__(self, other: Any, /) -> Any:
        return [*other, *self] if isinstance(other, list) else NotImplemented

    def __repr__(self) -> str:
        return f"{self._name}({self._list()!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._mapping,)

    @property
    def mapping(self) -> Mapping[Any, Any]:
        """The dict."""
        mapping: Mapping[Any, Any] = self._mapping
        return mapping


class KeysView(_View, _KeysView[Any]):
    """The keys of a shared dict, live: set-like, in the order of insertion."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]
    _name = "dict_keys"

    def _list(self) -> list[Any]:
        keys: list[Any] = self._mapping._keys()
        return keys

    def __eq__(self, other: object, /) -> bool:
        return self._list() == other if isinstance(other, list) else super().__eq__(other)

    @classmethod
    def _from_iterable(cls, it: Any) -> set[Any]:
        return set(it)


class ItemsView(_View, _ItemsView[Any, Any]):
    """The pairs of a shared dict, live: set-like, in the order of insertion."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]
    _name = "dict_items"

    def _list(self) -> list[Any]:
        items: list[Any] = self._mapping._items()
        return items

    def __eq__(self, other: object, /) -> bool:
        return self._list() == other if isinstance(other, list) else super().__eq__(other)

    @classmethod
    def _from_iterable(cls, it: Any) -> set[Any]:
        return set(it)


class ValuesView(_View, _ValuesView[Any]):
    """The values of a shared dict, live, in the order of their keys."""

    __slots__ = ()
    __hash__ = object.__hash__
    _name = "dict_values"

    def _list(self) -> list[Any]:
        values: list[Any] = self._mapping._values()
        return values

    def __contains__(self, value: object, /) -> bool:
        return value in self._list()

    def __eq__(self, other: object, /) -> bool:
        return self._list() == other if isinstance(other, list) else self is other
