"""The shared dict: what `dict` can do, seen by every process.

Keys and values live in the arena. Numbers, texts, bytes and None, True and False are kept as
they are. Plain lists and dicts become shared ones (see `allcores.shared.nested`). Other objects
are kept as pickles, so that reading one gives a new object each time, and changing what was read
doesn't change the dict: assign it again. Shared objects in the dict (a list, an Array, a queue, a
lock) are the shared ones.

Each operation on a key happens as a whole, also when its process is killed in the middle of
it; `update` is one such operation for each of its keys. Several together are not one:
``d[k] += 1`` reads, then writes. `add` and `update_key` do that in one.

Keys are equal as Python says, in every process, whatever its hash seed: 1, 1.0, True and
``Decimal(1)`` are one key, and the one inserted first stays. See `Dict` for what is known of
other kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from allcores import _core, pickling
from allcores.shared.printing import once, shown
from allcores.shared.proxied import Proxied
from allcores.shared.views import ItemsView, KeysView, ValuesView

__all__ = ["Dict"]


class Dict(Proxied, _core.Dict):
    """A dict that processes share. It travels anywhere as a handle.

    It lives as long as any process has it or it is in another shared object. A dict that
    holds itself by way of another one is never freed before the program ends.

    Keys are found in constant time if they are numbers (Decimal, Fraction and NumPy's as
    well), texts, bytes, None, dates and times, UUIDs, paths, members of enumerations, frozen
    dataclasses, classes and functions with a name, or tuples and frozensets of these. Other
    hashable objects are compared by their ``__eq__``, with those keys whose ``__eq__`` comes from
    the same class: quickly with those that this process inserted, one after the other with those
    that others did. An object that is equal to nothing but itself is never found again, as
    what is in the dict is a copy. Every NaN is the same key.

    Args:
        mapping: a mapping, or an iterable of pairs, that is in it first.
        **items: more of them, with names as keys.

    Raises:
        TypeError: a key is not hashable.
        allcores.errors.NotPicklable: a key or a value can't travel.
        MemoryError: there is no memory left.

    Example:
        >>> stock = Dict(apples=3)
        >>> stock.add("apples", 2)
        5
        >>> stock
        {'apples': 5}
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __new__(cls, mapping: Any = (), /, **items: Any) -> Dict:  # noqa: D102
        self = super().__new__(cls)
        self.update(mapping, **items)
        return self

    @classmethod
    def under(cls, life: _core.Life, mapping: Any = (), /, **items: Any) -> Dict:
        """Make a dict that can't be used any more when a life is over."""
        self = _core.Dict.__new__(cls, life=life)
        self.update(mapping, **items)
        return self

    @classmethod
    def from_handle(cls, session: int, offset: int, generation: int) -> Dict:
        """Open a dict by its three numbers.

        Raises:
            allcores.errors.StaleHandle: it is gone, or another program's.
        """
        return _core.Dict.__new__(cls, handle=(session, offset, generation))

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], value: Any = None, /) -> Dict:
        """Return a new shared dict with these keys, all with the same value."""
        self = cls()
        for key in iterable:
            self[key] = value
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        pickling.note_sent(self.offset)
        if self.life is None:
            return _open, (type(self), *self.handle())
        return _open, (type(self), *self.handle(), self.life)

    def __copy__(self) -> dict[Any, Any]:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Dict:
        return self

    def copy(self) -> dict[Any, Any]:
        """Return keys and values as a plain dict."""
        return dict(self._items())

    def keys(self) -> KeysView:
        """Return a live view of the keys."""
        return KeysView(self)

    def values(self) -> ValuesView:
        """Return a live view of the values."""
        return ValuesView(self)

    def items(self) -> ItemsView:
        """Return a live view of the pairs of keys and values."""
        return ItemsView(self)

    def update(self, mapping: Any = (), /, **items: Any) -> None:
        """Set all keys of a mapping, or of an iterable of pairs, one after the other.

        Args:
            mapping: where the keys and values come from.
            **items: more of them.

        Raises:
            TypeError: a key is not hashable, or `mapping` is neither of both.
            ValueError: an element of the iterable is no pair.
        """
        for key, value in _pairs(mapping):
            self[key] = value
        for key, value in items.items():
            self[key] = value

    def __or__(self, other: Any, /) -> dict[Any, Any]:
        if isinstance(other, (dict, _core.Dict)):
            return self.copy() | dict(_pairs(other))
        return NotImplemented

    def __ror__(self, other: Any, /) -> dict[Any, Any]:
        if isinstance(other, dict):
            return other | self.copy()
        return NotImplemented

    def __ior__(self, other: Any, /) -> Dict:
        self.update(other)
        return self

    def __eq__(self, other: object, /) -> Any:
        if isinstance(other, _core.Dict):
            if other.handle() == self.handle():
                return True
            other = dict(other._items())
        if isinstance(other, Mapping):
            return self.copy() == other
        return NotImplemented

    @shown
    def __repr__(self) -> str:
        with once(self.offset) as first:
            return repr(self.copy()) if first else "{...}"


def _pairs(mapping: Any) -> Iterable[tuple[Any, Any]]:
    """What a dict would take from its argument."""
    if isinstance(mapping, dict):
        return mapping.items()
    if isinstance(mapping, _core.Dict):
        return mapping._items()
    if hasattr(mapping, "keys"):
        return [(key, mapping[key]) for key in mapping.keys()]  # noqa: SIM118
    return _checked(mapping)


def _checked(pairs: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    for number, pair in enumerate(pairs):
        try:
            parts = tuple(pair)
        except TypeError:
            raise TypeError(
                f"cannot convert dictionary update sequence element #{number} to a sequence"
            ) from None
        if len(parts) != 2:
            raise ValueError(
                f"dictionary update sequence element #{number} has length {len(parts)}; "
                f"2 is required"
            )
        yield parts


def _open(
    cls: type[Dict], session: int, offset: int, generation: int, life: _core.Life | None = None
) -> Dict:
    return _core.Dict.__new__(cls, handle=(session, offset, generation), life=life)


MutableMapping.register(Dict)
