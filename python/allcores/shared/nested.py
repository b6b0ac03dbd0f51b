"""Plain lists and dicts in shared containers, which stay live.

After ``d["a"] = {"b": []}`` the dict under "a" is a shared one, and so is the list in it. What is
read is a `NestedDict` or a `NestedList`: a dict or a list with the shared one behind it. Its
methods work on the shared one. Its own memory, the inherited one, is filled when it is read, and
again by each use that finds another version there. That is for code that doesn't go by methods:
the encoder of ``json``, ``"".join``, extensions in C. DESIGN.md says why it is done like this.

For pickle and copy it is plain data; to another process of the program it travels as a handle.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from operator import call
from typing import Any
from weakref import WeakValueDictionary

from allcores import pickling
from allcores.shared.dicts import Dict
from allcores.shared.lists import List

__all__ = ["NestedDict", "NestedList", "nest"]

# What is the same thing in shared memory and here.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
# Keys that a dict compares as the shared one does; it doesn't with NaN.
_KEYS = _PLAIN - {float}


class _State(threading.local):
    # This thread fills containers: what it meets on the way is filled later.
    filling = False
    # The plain containers that it is making shared ones of, by identity, and those.
    nesting: dict[int, tuple[Any, Any]] | None = None


_state = _State()

# One object for each nested container, so that reading it twice gives the same one, as it does in
# a list, and one that holds itself comes to an end.
_known: WeakValueDictionary[tuple[int, int, int], Any] = WeakValueDictionary()

# Content and version of a container's own memory change together.
_commit = threading.RLock()


def _renew() -> None:
    global _commit
    _commit = threading.RLock()


os.register_at_fork(after_in_child=_renew)


#
# Into shared memory
#


def nest(plain: Any) -> tuple[bytes, Any]:
    """Make a plain list or dict a shared one, and the plain lists and dicts in it as well.

    Returns:
        A pickle that opens it, and the shared one, which lives by whoever holds it.
    """
    memo = _state.nesting
    if memo is not None:
        shared = _shared(plain, memo)
    else:
        _state.nesting = memo = {}
        try:
            shared = _shared(plain, memo)
        finally:
            _state.nesting = None
    return pickle.dumps(_Reference(shared), 5), shared


def _shared(plain: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    known = memo.get(id(plain))
    if known is not None:
        return known[1]
    # In the memo before it is filled: it may hold itself.
    shared: Any
    if type(plain) is list:
        shared = List()
        memo[id(plain)] = plain, shared
        shared.extend(plain)
    else:
        shared = Dict()
        memo[id(plain)] = plain, shared
        for key, value in plain.items():
            shared[key] = value
    return shared


class _Reference:
    """What a container's item says of a nested one. The item itself keeps it."""

    __slots__ = ("_shared",)

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_list if isinstance(self._shared, List) else _read_dict, self._shared.handle()


#
# Out of it
#


def _read_list(session: int, offset: int, generation: int) -> Any:
    return _over(list.__new__, NestedList, List.from_handle(session, offset, generation))


def _read_dict(session: int, offset: int, generation: int) -> Any:
    return _over(dict.__new__, NestedDict, Dict.from_handle(session, offset, generation))


def _over(make: Callable[[Any], Any], kind: Any, shared: Any) -> Any:
    """Return this process's object for a nested container, filled."""
    _, offset, generation = shared.handle()
    life = shared.life
    key = offset, generation, 0 if life is None else life.offset
    nested = _known.get(key)
    if nested is None:
        nested = make(kind)
        nested._shared, nested._version, nested._inner = shared, -1, ()
        nested = _known.setdefault(key, nested)
    if not _state.filling:
        _fill(nested)
    return nested


def _fill(nested: Any) -> None:
    """Bring the own memory of a container, and of all in it, to what is in shared memory."""
    before, _state.filling = _state.filling, True
    try:
        seen, todo = {id(nested)}, [nested]
        while todo:
            one = todo.pop()
            if one._shared.version != one._version:
                one._renew()
            for inner in one._inner:
                if id(inner) not in seen:
                    seen.add(id(inner))
                    todo.append(inner)
    finally:
        _state.filling = before


def _fresh(nested: Any) -> None:
    """Do `_fill`, quickly where there is nothing to do."""
    if nested._inner or nested._shared.version != nested._version:
        _fill(nested)


def _reading(kind: type, name: str) -> Any:
    """Return the method of `kind`, of what is in shared memory now."""
    inherited = getattr(kind, name)

    def method(self: Any, *args: Any) -> Any:
        _fresh(self)
        return inherited(self, *args)

    method.__name__, method.__doc__ = name, inherited.__doc__
    return method


def _writing(kind: type, name: str, step: int = 0) -> Any:
    """Return the method of the shared container behind.

    `step` is the least that it adds to the version. If nothing else has happened to a container of
    plain values, the own memory gets the same change; it is filled anew otherwise.
    """
    inherited = getattr(kind, name)
    has_default = kind is dict and name == "pop"

    def method(self: Any, *args: Any, **named: Any) -> Any:
        before = self._version
        shared = self._shared
        result = getattr(shared, name)(*args, **named)
        if step and not self._inner and not named and shared.version == before + step:
            plain = all(type(value) in _PLAIN for value in args)
            # (What returns the default has perhaps changed nothing: then the step was another's.)
            if has_default and len(args) > 1 and result is args[1]:
                plain = False
            if plain and (kind is list or not args or type(args[0]) in _KEYS):
                with _commit:
                    if self._version == before:
                        inherited(self, *args)
                        self._version = before + step
                        return self if result is shared else result
        _fill(self)
        return self if result is shared else result

    method.__name__, method.__doc__ = name, inherited.__doc__
    return method


class NestedList(list[Any]):
    """A list that is in a shared container: all processes see the same.

    Calling the class makes a plain list, as ``type(x)(...)`` in code that copies needs.
    """

    __slots__ = ("__weakref__", "_inner", "_shared", "_version")
    _inner: tuple[Any, ...]
    _shared: List
    _version: int

    def __new__(cls, *args: Any) -> Any:  # noqa: D102
        return list(*args)

    def _renew(self) -> None:
        items, version = self._shared.snapshot()
        inner = tuple(item for item in items if type(item) in _NESTED)
        with _commit:
            if version < self._version:
                return  # another thread was faster
            list.__setitem__(self, slice(None), items)
            self._inner, self._version = inner, version

    def __reduce_ex__(self, protocol: Any) -> Any:
        if pickling.collects():
            pickling.note_sent(self._shared.offset)
            return _open_list, (self._shared,)
        _fresh(self)
        return list, (list.copy(self),)

    def __copy__(self) -> list[Any]:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        _fresh(self)
        plain: list[Any] = []
        memo[id(self)] = plain
        plain.extend(deepcopy(item, memo) for item in list.copy(self))
        return plain

    for _name in [
        "__add__",
        "__contains__",
        "__eq__",
        "__ge__",
        "__getitem__",
        "__gt__",
        "__iter__",
        "__le__",
        "__len__",
        "__lt__",
        "__mul__",
        "__ne__",
        "__repr__",
        "__reversed__",
        "__rmul__",
        "copy",
        "count",
        "index",
    ]:
        locals()[_name] = _reading(list, _name)
    for _name in [
        "__delitem__",
        "__setitem__",
        "append",
        "clear",
        "insert",
        "pop",
        "remove",
    ]:
        locals()[_name] = _writing(list, _name, 1)
    # `reverse` changes nothing where there is nothing to reverse: the step may be another's.
    for _name in ["__iadd__", "__imul__", "extend", "reverse", "sort"]:
        locals()[_name] = _writing(list, _name)
    del _name
    __hash__ = None

    def __radd__(self, other: Any) -> Any:
        _fresh(self)
        return list.__add__(other, self) if isinstance(other, list) else NotImplemented


def _plain(nested: NestedDict) -> dict[Any, Any]:
    """Return the own memory of a dict as a plain one.

    Not by ``dict.copy``: that asks for one key after the other where there is a ``__getitem__``,
    and others may take one away meanwhile.
    """
    return dict(list(dict.items(nested)))


def _copy_of(other: dict[Any, Any]) -> dict[Any, Any]:
    return other.copy() if type(other) is NestedDict else other


class NestedDict(dict[Any, Any]):
    """A dict that is in a shared container: all processes see the same.

    Calling the class makes a plain dict, as ``type(x)(...)`` in code that copies needs.
    """

    __slots__ = ("__weakref__", "_inner", "_shared", "_version")
    _inner: tuple[Any, ...]
    _shared: Dict
    _version: int

    def __new__(cls, *args: Any, **items: Any) -> Any:  # noqa: D102
        return dict(*args, **items)

    def _renew(self) -> None:
        items, version = self._shared.snapshot()
        inner = tuple(value for _, value in items if type(value) in _NESTED)
        content = dict(items)
        with _commit:
            if version < self._version:
                return  # another thread was faster
            # Other threads read without the lock. Emptied and filled in one call, so that none of
            # them runs in between and misses a key that is there all the time.
            replace = partial(dict.clear, self), partial(dict.update, self, content)
            before = list(dict.items(self))  # what objects do when they go comes after that
            list(map(call, replace))
            self._inner, self._version = inner, version
        del before

    def __reduce_ex__(self, protocol: Any) -> Any:
        if pickling.collects():
            pickling.note_sent(self._shared.offset)
            return _open_dict, (self._shared,)
        _fresh(self)
        return dict, (_plain(self),)

    def copy(self) -> dict[Any, Any]:
        """Return a plain dict of what is in it now."""
        _fresh(self)
        return _plain(self)

    __copy__ = copy

    def __or__(self, other: Any, /) -> dict[Any, Any]:
        return self.copy() | _copy_of(other) if isinstance(other, dict) else NotImplemented

    def __ror__(self, other: Any, /) -> dict[Any, Any]:
        return _copy_of(other) | self.copy() if isinstance(other, dict) else NotImplemented

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        _fresh(self)
        plain: dict[Any, Any] = {}
        memo[id(self)] = plain
        for key, value in _plain(self).items():
            plain[deepcopy(key, memo)] = deepcopy(value, memo)
        return plain

    @classmethod
    def fromkeys(cls, iterable: Any, value: Any = None, /) -> dict[Any, Any]:
        """Return a plain dict with these keys, all with the same value."""
        return dict.fromkeys(iterable, value)

    def add(self, key: Any, n: Any = 1, /) -> Any:
        """Add `n` to a value and return the sum, in one operation; see `Dict`."""
        result = self._shared.add(key, n)
        _fill(self)
        return result

    def update_key(self, key: Any, function: Callable[[Any], Any], /, *default: Any) -> Any:
        """Put ``function(value)`` in a value's place, in one operation; see `Dict`."""
        result = self._shared.update_key(key, function, *default)
        _fill(self)
        return result

    for _name in [
        "__contains__",
        "__eq__",
        "__getitem__",
        "__iter__",
        "__len__",
        "__ne__",
        "__repr__",
        "__reversed__",
        "get",
        "items",
        "keys",
        "values",
    ]:
        locals()[_name] = _reading(dict, _name)
    for _name in ["__delitem__", "__setitem__", "clear", "pop"]:
        locals()[_name] = _writing(dict, _name, 2)
    for _name in ["__ior__", "popitem", "setdefault", "update"]:
        locals()[_name] = _writing(dict, _name)
    del _name
    __hash__ = None


_NESTED = (NestedList, NestedDict)


def _open_list(shared: List) -> Any:
    return _over(list.__new__, NestedList, shared)


def _open_dict(shared: Dict) -> Any:
    return _over(dict.__new__, NestedDict, shared)
