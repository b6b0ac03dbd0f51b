"""The receiving side of travel by value: functions and classes are made again here.

by_value.py, the sending side, has the whole picture. This module imports nothing heavy: every
child loads it, and for plain functions it is all that is needed.
"""

from __future__ import annotations

import functools
import importlib
import marshal
import pickle
import sys
import threading
from collections.abc import Callable
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple

from allcores.launch import names, variables
from allcores.launch.names import Key

DEFINITION, VALUE, MISSING = range(3)


class Entry(NamedTuple):
    """A global name of the sender's `__main__`, and what it stood for."""

    name: str
    kind: int  # DEFINITION: a function or class; VALUE: anything else; MISSING: can't travel
    origin: int  # token of the process the object comes from
    serial: int  # 0 for a value that has no key
    fingerprint: bytes
    blob: bytes | None  # None for MISSING, and for what the receiver has had since its fork
    needs: tuple[str, ...]  # other names that it refers to
    reason: str  # why it is MISSING


_lock = threading.RLock()
_pending: dict[Key, Entry] = {}
# Keys of the classes that are being filled just now.
_filling: set[Key] = set()
# How many pickles are being loaded, one for another, that are new here or have changed.
_changing = 0
# By key: the attributes that a class of an entry came with.
_attributes: dict[Key, set[str]] = {}
# By name: the fingerprint of what `__main__` got last.
_bound: dict[str, bytes] = {}
# By key: the entry that a definition of this process came with, and the definition itself, held.
received: dict[Key, Entry] = {}
_alive: dict[Key, Any] = {}
missing: dict[str, str] = {}


def open_table(entries: list[tuple[Any, ...]]) -> None:
    """Make the names of a message known here; the first thing that unpickling it does.

    What is known already, by key or by fingerprint, isn't made again. A name of `__main__` is
    set when it is new here, or when it comes from a process that this one descends from and
    has changed there since it last came: what a worker made of it stays.
    """
    with _lock:
        table = [Entry(*entry) for entry in entries]
        definitions = [entry for entry in table if entry.kind == DEFINITION]
        for entry in definitions:
            _pending[entry.origin, entry.serial] = entry
        try:
            is_new = [_define(entry) for entry in definitions]
        finally:
            for entry in definitions:
                _pending.pop((entry.origin, entry.serial), None)
        for entry in table:
            if entry.kind == MISSING:
                missing[entry.name] = entry.reason
            elif entry.kind == VALUE and (names.is_ancestor(entry.origin) or any(is_new)):
                _set_value(entry)


def forget() -> list[Any]:
    """Let go of everything that came to this process by value; return the definitions."""
    with _lock:
        gone = list(_alive.values())
        for known in (_pending, _bound, received, _alive, missing, _attributes):
            known.clear()
        _filling.clear()
        names.forget()
        variables.forget()
    return gone


def _main() -> dict[str, Any]:
    return vars(sys.modules["__main__"])


def _is_current(entry: Entry) -> bool:
    key = (entry.origin, entry.serial)
    last = _bound.get(entry.name)
    if last is None and names.had_at_fork(entry.origin, entry.name, key):
        _bound[entry.name] = last = entry.fingerprint
    return last == entry.fingerprint


def _set_value(entry: Entry) -> None:
    main = _main()
    if _is_current(entry) or entry.blob is None:
        return
    if entry.name in main and not names.is_ancestor(entry.origin):
        return
    main[entry.name] = load_changed(entry.blob)
    _bound[entry.name] = entry.fingerprint


def _define(entry: Entry) -> bool:
    """Make sure the definition exists here; return whether it had to be made."""
    key = (entry.origin, entry.serial)
    obj = names.find(key)
    if entry.origin == names.token():
        # It comes home. Only when nobody here uses it any longer has it to be made again.
        if obj is None:
            _alive[key] = _make(entry)
        return obj is None
    main = _main()
    current = _is_current(entry)
    before = received.get(key)
    made = False
    if obj is None and current and entry.name in main:
        # The same text was run again over there (a notebook cell): what it defines hasn't
        # changed, and the caches that hang on it are worth keeping.
        obj = main[entry.name]
        names.alias(key, obj)
    elif obj is None or (before is not None and before.fingerprint != entry.fingerprint):
        obj = _make(entry)
        made = True
    received[key] = entry
    _alive[key] = obj
    if not current and (entry.name not in main or names.is_ancestor(entry.origin)):
        main[entry.name] = obj
        _bound[entry.name] = entry.fingerprint
    return made


def _make(entry: Entry) -> Any:
    key = (entry.origin, entry.serial)
    if entry.blob is None:
        raise pickle.UnpicklingError(
            f"{entry.name!r} of __main__ can't travel ({entry.reason}), and this process was "
            "not forked while it existed; define it in a module that can be imported"
        )
    _filling.add(key)
    try:
        return load_changed(entry.blob)
    finally:
        _filling.discard(key)


def load_changed(blob: bytes | memoryview) -> Any:
    """Return what a pickle contains that is new here, or not what it was when it last came.

    Args:
        blob: of an entry, or a message.
    """
    global _changing
    _changing += 1
    try:
        return pickle.loads(blob)
    finally:
        _changing -= 1


def main_object(origin: int, serial: int, name: str) -> Any:
    """Return the function or class `name` of `__main__` that has this key."""
    key = (origin, serial)
    obj = names.find(key)
    if obj is None:
        with _lock:
            entry = _pending.get(key)
            if entry is not None:
                _define(entry)
                obj = names.find(key)
    if obj is None:
        obj = _alive.get(key)
    if obj is None:
        raise pickle.UnpicklingError(f"the definition of {name!r} of __main__ did not arrive")
    return obj


def member(root: Any, path: str) -> Any:
    """Return ``root.<path>``."""
    for part in path.split("."):
        root = getattr(root, part)
    return root


def module(name: str) -> Any:
    """Return the module of that name."""
    return importlib.import_module(name)


def main_module() -> Any:
    """Return this process's `__main__`."""
    return sys.modules["__main__"]


def namespace(module: str) -> dict[str, Any]:
    """Return the globals of functions that were defined in `module`."""
    return _main() if module == "__main__" else vars(importlib.import_module(module))


def make_cell() -> CellType:
    """Return an empty closure cell."""
    return CellType()


def make_function(
    key: Key | None, scope: dict[str, Any], code: bytes, cells: tuple[CellType, ...] | None
) -> FunctionType:
    """Return a function without defaults and with empty cells; `fill_function` does the rest."""
    scope.setdefault("__builtins__", sys.modules["builtins"])
    body: CodeType = marshal.loads(code)
    before = None if key is None else names.find(key)
    if (
        isinstance(before, FunctionType)
        and names.known_key(before) == key
        and before.__globals__ is scope
        and not (cells or before.__closure__)
    ):
        # It has changed. What has got it already, a dict or a class, is to have the changed one.
        before.__code__ = body
        before.__dict__.clear()
        return before
    func = FunctionType(body, scope, body.co_name, None, cells)
    if key is not None:
        # Others may ask for it while its defaults are still on their way.
        names.register(key, func)
    return func


def fill_function(func: FunctionType, state: dict[str, Any]) -> None:
    """Give a function from `make_function` all that may refer to the function itself."""
    for index, content in state["cells"].items():
        assert func.__closure__ is not None
        func.__closure__[index].cell_contents = content
    if state["scope"]:
        func.__globals__.update(state["scope"])
    func.__dict__.update(state["dict"])
    for name, value in state["attributes"].items():
        setattr(func, name, value)


def make_cached(maxsize: int | None, typed: bool, func: Any) -> Any:
    """Return `func` with an empty cache of its own."""
    return functools.lru_cache(maxsize, typed)(func)


def fill_cached(func: Any, state: dict[str, Any]) -> None:
    """Give a function from `make_cached` the attributes that it had."""
    vars(func).update(state)


def make_class(key: Key, maker: Callable[..., Any], args: tuple[Any, ...], qualname: str) -> Any:
    """Return the class called `key`, made by ``maker(*args)`` when it isn't here yet."""
    cls = names.find(key)
    if cls is None:
        cls = maker(*args)
        cls.__qualname__ = qualname
        names.register(key, cls)
        _filling.add(key)
    return cls


def fill_class(cls: Any, state: tuple[Key, Callable[[Any, Any], Any], Any]) -> None:
    """Set the attributes of a class that is new here or has changed; leave others alone."""
    key, setter, content = state
    # Classes that are part of something else, another class or a closure, have changed with it.
    if key in _filling or (_changing and key[0] != names.token()):
        _filling.discard(key)
        setter(cls, content)
        if key in _pending:
            given = set(content[0])
            for name in _attributes.get(key, given) - given:
                if name in vars(cls):
                    delattr(cls, name)
            _attributes[key] = given


def explain(error: NameError) -> None:
    """Say, in a NameError about a global that couldn't travel, why it isn't here."""
    name = getattr(error, "name", None)
    if name in missing and not hasattr(error, "__notes__"):
        error.add_note(
            f"The global {name!r} of __main__ did not come to this process: {missing[name]}"
        )
