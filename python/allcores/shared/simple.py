"""What a manager's ``Namespace``, ``Value`` and ``Array`` are: small things over shared containers.

As with the standard library's manager, a Value holds anything, whatever its typecode says, and an
Array what an ``array.array`` of that typecode would. (Those of ``allcores.Value`` and
``allcores.Array`` are memory of C types, see `allcores.shared.values`.)
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from types import GenericAlias, SimpleNamespace
from typing import TYPE_CHECKING, Any

from allcores import _core
from allcores.shared.dicts import Dict
from allcores.shared.lists import List
from allcores.shared.printing import once, shown
from allcores.shared.proxied import Proxied

__all__ = ["Array", "Namespace", "Value"]


class Namespace(Proxied):
    """Attributes that processes share. Those whose names begin with ``_`` are not shared.

    Args:
        **attributes: the first ones.
    """

    _dict: Dict

    def __init__(self, /, **attributes: Any) -> None:
        self._dict = Dict(attributes)

    @classmethod
    def under(cls, life: _core.Life, /, **attributes: Any) -> Namespace:
        """Make one that can't be used any more when a life is over."""
        return _namespace(cls, Dict.under(life, attributes))

    def __reduce__(self) -> tuple[Any, ...]:
        return _namespace, (type(self), self._dict)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            try:
                return self._dict[name]
            except KeyError:
                pass
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._dict[name] = value

    def __delattr__(self, name: str) -> None:
        if name.startswith("_"):
            object.__delattr__(self, name)
            return
        try:
            del self._dict[name]
        except KeyError:
            raise AttributeError(name, name=name, obj=self) from None

    def _getvalue(self) -> SimpleNamespace:
        return SimpleNamespace(**dict(self._dict._items()))

    def _callmethod(
        self, methodname: str, args: tuple[Any, ...] = (), kwds: Mapping[str, Any] | None = None
    ) -> Any:
        # As ``NamespaceProxy`` and what is derived from it call it.
        if methodname == "__getattribute__":
            return getattr(self, *args)
        return super()._callmethod(methodname, args, kwds)

    def __dir__(self) -> Iterable[str]:
        return sorted({*object.__dir__(self), *map(str, self._dict._keys())})

    @shown
    def __repr__(self) -> str:
        with once(self._dict.offset) as first:
            pairs = sorted(f"{name}={value!r}" for name, value in self._items(first))
            return f"{type(self).__name__}({', '.join(pairs) if first else '...'})"

    def _items(self, wanted: bool) -> Iterable[tuple[Any, Any]]:
        return self._dict._items() if wanted else ()


class Value(Proxied):
    """One object that processes share.

    Each access is one operation. To read and write in one, hold `lock`.

    Args:
        typecode: taken for the standard library's sake, and shown.
        value: what it is first.
        lock: not needed.
    """

    __slots__ = ("__weakref__", "_list", "_typecode")
    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(GenericAlias)
    _list: List

    def __init__(self, typecode: Any, value: Any, lock: Any = True) -> None:
        self._typecode = typecode
        self._list = List([value])

    @classmethod
    def under(cls, life: _core.Life, typecode: Any, value: Any, lock: Any = True, /) -> Value:
        """Make one that can't be used any more when a life is over."""
        return _value(cls, typecode, List.under(life, [value]))

    def __reduce__(self) -> tuple[Any, ...]:
        return _value, (type(self), self._typecode, self._list)

    def get(self) -> Any:
        """Return what it is."""
        return self._list[0]

    def set(self, value: Any) -> None:
        """Make it something else."""
        self._list[0] = value

    value = property(get, set, doc="What it is.")
    _getvalue = get

    @property
    def lock(self) -> _core.ContainerLock:
        """The lock that keeps all others from it for several operations."""
        return self._list.lock

    def get_lock(self) -> _core.ContainerLock:
        """Return `lock`."""
        return self.lock

    @shown
    def __repr__(self) -> str:
        with once(self._list.offset) as first:
            return f"{type(self).__name__}({self._typecode!r}, {self.get() if first else ...!r})"


class Array(Proxied):
    """Numbers of one type that processes share.

    Args:
        typecode: one of the module ``array``'s.
        sequence: the numbers.
        lock: not needed.

    Raises:
        ValueError: there is no such typecode.
        TypeError: an item is not of that type.
        OverflowError: an item is too large for it.
    """

    __slots__ = ("__weakref__", "_list", "_typecode")
    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(GenericAlias)
    _list: List

    def __init__(self, typecode: str, sequence: Iterable[Any], lock: Any = True) -> None:
        self._typecode = typecode
        self._list = List(array(typecode, sequence))

    @classmethod
    def under(
        cls, life: _core.Life, typecode: str, sequence: Iterable[Any], lock: Any = True, /
    ) -> Array:
        """Make one that can't be used any more when a life is over."""
        return _array(cls, typecode, List.under(life, array(typecode, sequence)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _array, (type(self), self._typecode, self._list)

    @property
    def lock(self) -> _core.ContainerLock:
        """The lock that keeps all others from it for several operations."""
        return self._list.lock

    def __len__(self) -> int:
        return len(self._list)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._list)

    def __getitem__(self, at: Any, /) -> Any:
        try:
            found = self._list[at]
        except IndexError:
            raise IndexError("array index out of range") from None
        return array(self._typecode, found) if isinstance(at, slice) else found

    def __setitem__(self, at: Any, value: Any, /) -> None:
        if not isinstance(at, slice):
            try:
                self._list[at] = array(self._typecode, [value])[0]
            except IndexError:
                raise IndexError("array assignment index out of range") from None
            return
        if isinstance(value, Array):
            value = value[:]
        if not isinstance(value, array):
            raise TypeError(f'can only assign array (not "{type(value).__name__}") to array slice')
        if value.typecode != self._typecode:
            raise TypeError(
                f"an array of {value.typecode!r} doesn't fit into one of {self._typecode!r}"
            )
        self._list[at] = value

    def _getvalue(self) -> array[Any]:
        return array(self._typecode, self._list[:])

    @shown
    def __repr__(self) -> str:
        return repr(self._getvalue())


def _namespace(cls: type[Namespace], attributes: Dict) -> Namespace:
    self = cls.__new__(cls)
    object.__setattr__(self, "_dict", attributes)
    return self


def _value(cls: type[Value], typecode: Any, items: List) -> Value:
    self = cls.__new__(cls)
    self._typecode, self._list = typecode, items
    return self


def _array(cls: type[Array], typecode: str, items: List) -> Array:
    self = cls.__new__(cls)
    self._typecode, self._list = typecode, items
    return self
