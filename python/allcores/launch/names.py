"""Which object is which, across the processes of a program.

Each process has a *token*, a random number; a fork gives the child a new one. A function or
class that travels by value gets a *key*, the token of the process it comes from and a serial
number. So an object that comes home is recognised, and so is one that a forked child has had
from the start: keys given before the fork are known on both sides of it.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from itertools import count
from types import CodeType
from typing import Any

Key = tuple[int, int]

_serials = count(1)
_token = 0
_ancestors: set[int] = set()
# Of two keys that threads give an object at the same time, a message might have one in its table
# and the other where it refers to it. (Reentrant: a signal handler may pack functions, too.)
_giving = threading.RLock()
# By id(); an entry leaves with its object, or, where no weak reference is possible, is held
# until the next fork finds that `__main__` has lost it.
_keys: dict[int, tuple[Callable[[], Any], Key]] = {}
_held: dict[int, tuple[Any, Key]] = {}
_objects: dict[Key, Callable[[], Any]] = {}
# What `__main__` held at the forks that led to this process: token of the forked process ->
# name -> key.
_at_fork: dict[int, dict[str, Key]] = {}


def token() -> int:
    """Return the token of this process."""
    global _token
    if _token == 0:
        with _giving:
            if _token == 0:
                _token = int.from_bytes(os.urandom(8)) >> 1 | 1
    return _token


def lineage() -> list[int]:
    """Return the tokens of this process and all processes it descends from."""
    return [token(), *_ancestors]


def descend(tokens: list[int]) -> None:
    """Say, in a fresh child, what processes it descends from."""
    _ancestors.update(tokens)


def is_ancestor(origin: int) -> bool:
    """Tell whether this process descends from the process with that token."""
    return origin in _ancestors


def known_key(obj: Any) -> Key | None:
    """Return the key of `obj` when it has one."""
    entry = _keys.get(id(obj)) or _held.get(id(obj))
    return None if entry is None else entry[1]


def key_of(obj: Any) -> Key:
    """Return the key of a function or class, giving it one when it has none."""
    key = known_key(obj)
    if key is None:
        with _giving:
            key = known_key(obj)
            if key is None:
                key = (token(), next(_serials))
                register(key, obj)
    return key


def key_of_bare(obj: object) -> Key | None:
    """Return the key of an ``object()``, which is told from others by nothing else.

    None for one that has none and that `__main__` doesn't hold: it would be kept for ever.

    Args:
        obj: the object.
    """
    with _giving:
        key = known_key(obj)
        if key is None:
            main = sys.modules.get("__main__")
            if main and any(value is obj for value in list(vars(main).values())):
                key = (token(), next(_serials))
                _held[id(obj)] = (obj, key)
        return key


def bare(origin: int, serial: int) -> object:
    """Return the ``object()`` that has this key, made here when it is new."""
    with _giving:
        for obj, key in list(_held.values()):
            if key == (origin, serial):
                return obj
        made = object()
        _held[id(made)] = (made, (origin, serial))
        return made


def register(key: Key, obj: Any) -> None:
    """Remember that `obj` is the object called `key`."""
    number = id(obj)

    # Bound here: functions of `__main__` may go after this module's globals, at the exit.
    def forget(gone: object, keys: Any = _keys, objects: Any = _objects) -> None:
        keys.pop(number, None)
        if objects.get(key) is gone:  # else the name has a new definition by now
            objects.pop(key, None)

    reference = weakref.ref(obj, forget)
    _keys[number] = (reference, key)
    _objects[key] = reference


def alias(key: Key, obj: Any) -> None:
    """Remember that `obj`, whatever else it is called, answers to `key` as well."""

    def forget(gone: object, objects: Any = _objects) -> None:
        if objects.get(key) is gone:
            objects.pop(key, None)

    try:
        _objects[key] = weakref.ref(obj, forget)
    except TypeError:
        pass  # takes no weak references; who calls holds it


def find(key: Key) -> Any:
    """Return the object called `key`, None when this process doesn't have it."""
    reference = _objects.get(key)
    return None if reference is None else reference()


def note_fork() -> None:
    """Give keys to what `__main__` holds, just before a fork of this process."""
    main = sys.modules.get("__main__")
    if main is None:
        return
    snapshot: dict[str, Key] = {}
    held: dict[int, tuple[Any, Key]] = {}
    for name, value in list(vars(main).items()):
        if name.startswith("__"):
            continue
        # Names may share a value, None for one: all of them have to know it by the same key.
        key = held[id(value)][1] if id(value) in held else known_key(value)
        if key is None:
            try:
                key = key_of(value)
            except TypeError:  # takes no weak references
                key = (token(), next(_serials))
        if id(value) not in _keys:
            held[id(value)] = (value, key)
        snapshot[name] = key
    # Values that `__main__` has lost since the last fork need no key any longer.
    _held.clear()
    _held.update(held)
    _at_fork[token()] = snapshot


def had_at_fork(origin: int, name: str, key: Key) -> bool:
    """Tell whether `name` was that very object of `origin` when this process was forked."""
    return _at_fork.get(origin, {}).get(name) == key


def had_at_a_fork(key: Key) -> bool:
    """Tell whether a child of this process was forked when `__main__` had the object."""
    return any(key in snapshot.values() for snapshot in _at_fork.values())


def names_in(code: CodeType) -> tuple[str, ...]:
    """Return the names that a function and those within it ask for, as globals or attributes.

    Args:
        code: of the function.
    """
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return (*code.co_names, *(name for const in inner for name in names_in(const)))


def forget() -> None:
    """Let go of what is held for the sake of its key."""
    _held.clear()
    _at_fork.clear()


def _after_fork() -> None:
    global _token, _giving
    _giving = threading.RLock()  # another thread may have held it
    if _token:
        _ancestors.add(_token)
    _token = 0


os.register_at_fork(after_in_child=_after_fork)
