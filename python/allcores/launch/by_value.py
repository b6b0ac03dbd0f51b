"""The sending side of travel by value: what another process can't import goes along itself.

A message is one pickle. Where it refers to functions or classes of `__main__`, these are not in
its body but in a *table* in front of it: one entry for each global name of `__main__` that
anything in the message uses, directly or through another entry, with its content pickled on its
own and a fingerprint of that. Functions of `__main__` get the receiver's `__main__` as their
globals, and find there what the table has put there. Recursion and mutual recursion need nothing
special, as the entries refer to each other by key (names.py).

What is defined inside functions, lambdas included, travels in the body. Functions whose globals
belong to an importable module get the receiver's copy of that module.

A global that can't travel is left out, and the receiver told why, in case it is used there: a
function shall not fail for a name that it mentions in a branch never taken.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import io
import marshal
import pickle
import sys
import typing
import weakref
from collections import ChainMap
from contextvars import ContextVar
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle.cloudpickle as _cp

from allcores import buffers, tensors
from allcores.buffers import Refs
from allcores.launch import adopt, names, rebuild, variables
from allcores.launch.fingerprint import fingerprint
from allcores.launch.rebuild import DEFINITION, MISSING, VALUE, Entry

# What the module of the program is called: in a process that the standard library has spawned it
# was run again, by the other name.
MAIN = ("__main__", "__mp_main__")
_NAME_OPERATIONS = {
    "LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL",
    "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS",  # in class bodies
}  # fmt: skip
_ATTRIBUTES = (
    "__qualname__", "__name__", "__module__", "__doc__",
    "__defaults__", "__kwdefaults__", "__annotations__", "__type_params__",
)  # fmt: skip

_codes: weakref.WeakKeyDictionary[CodeType, tuple[bytes, tuple[str, ...]]] = (
    weakref.WeakKeyDictionary()
)


def _describe_code(code: CodeType) -> tuple[bytes, tuple[str, ...]]:
    """Return the code as bytes, and the global names that it and the code within it use.

    Kept, since `marshal` may write the same code differently another time, which would change
    the fingerprint.
    """
    found = _codes.get(code)
    if found is None:
        used = dict.fromkeys(
            instruction.argval
            for instruction in dis.get_instructions(code)
            if instruction.opname in _NAME_OPERATIONS
        )
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                used.update(dict.fromkeys(_describe_code(constant)[1]))
        found = _codes[code] = marshal.dumps(code), tuple(used)
    return found


class LeftOut(Exception):
    """A definition that something can't do without is one that can't travel."""


class Message:
    """One message in the making.

    Args:
        refs: gets what travels along; None when nobody would keep it until the message arrives.
    """

    def __init__(self, refs: Refs | None) -> None:
        self._refs = refs
        self.entries: dict[str, Entry] = {}
        self._waiting: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}
        # By name of an entry: the definitions without which it can't be unpickled.
        self._bound_to: dict[str, set[str]] = {}

    def dumps(self, obj: Any) -> bytes:
        """Return the message that carries `obj`."""
        body, hard, _ = self._dump(obj, None)
        while self._waiting:
            name, value = self._waiting.popitem()
            self.entries[name] = self._entry(name, value)
        self._spread_errors()
        for name in sorted(hard & self._errors.keys()):
            raise self._errors[name]
        if not self.entries:
            return body
        # Two pickles, made one: the table's end becomes "drop the result", and the body goes on.
        # It takes no memo entries, or the body's would be counted wrong.
        stream = io.BytesIO()
        pickler = pickle.Pickler(stream, pickle.HIGHEST_PROTOCOL)
        pickler.fast = True
        pickler.dump(_Table([tuple(entry) for entry in self.entries.values()]))
        return b"".join((stream.getbuffer()[:-1], pickle.POP, body))

    def need(self, name: str, value: Any) -> None:
        """Put a global of `__main__` into the table."""
        if name not in self.entries and not name.startswith("__"):
            self._waiting.setdefault(name, value)

    def _dump(self, obj: Any, root: str | None) -> tuple[bytes, set[str], dict[str, None]]:
        stream = io.BytesIO()
        large: list[pickle.PickleBuffer] = []
        # A definition is kept as it came, to be sent on: what travels beside would be gone then.
        refs = self._refs if root is None else None
        aside = None if refs is None else buffers.aside(large)
        pickler = Pickler(stream, self, root, aside)
        pickler.dump(obj)
        data = stream.getvalue()
        if refs is not None and large:
            data = buffers.enclose(data, large, refs)
        return data, pickler.hard, pickler.soft

    def _entry(self, name: str, value: Any) -> Entry:
        definition = main_path(value) == name
        key = names.key_of(value) if definition else names.known_key(value)
        origin, serial = key or (names.token(), 0)
        if definition and key in rebuild.received:
            # On its way on, or home: as it came.
            entry = rebuild.received[key]
            scope = vars(sys.modules["__main__"])
            for used in entry.needs:
                if used in scope:
                    self.need(used, scope[used])
            return entry
        kind = DEFINITION if definition else VALUE
        try:
            blob, hard, soft = self._dump(value, name if definition else None)
        except Exception as error:
            self._errors[name] = error
            return Entry(name, MISSING, origin, serial, b"", None, (), why(value, error))
        self._bound_to[name] = hard
        mark = fingerprint(blob)
        return Entry(name, kind, origin, serial, mark, blob, tuple({**soft}), "")

    def _spread_errors(self) -> None:
        """What can't do without something left out is left out too."""
        changed = bool(self._errors)
        while changed:
            changed = False
            for name, hard in self._bound_to.items():
                lost = sorted(hard & self._errors.keys())
                if lost and name not in self._errors:
                    self._errors[name] = self._errors[lost[0]]
                    entry = self.entries[name]
                    reason = f"it needs {lost[0]!r}: {self.entries[lost[0]].reason}"
                    self.entries[name] = entry._replace(kind=MISSING, blob=None, reason=reason)
                    changed = True
        if get_spawning_popen() is not None:
            return  # it is for a fresh interpreter
        for name in list(self._errors):
            entry = self.entries[name]
            if entry.serial and names.had_at_a_fork((entry.origin, entry.serial)):
                # Forked children have it: it travels by name.
                mark = repr((entry.origin, entry.serial)).encode()
                self.entries[name] = entry._replace(kind=DEFINITION, fingerprint=mark)
                del self._errors[name]


class _Table:
    def __init__(self, entries: list[tuple[Any, ...]]) -> None:
        self._entries = entries

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild.open_table, (self._entries,)


def why(value: Any, error: Exception) -> str:
    """Return, in a line, why `value` can't travel."""
    from allcores.launch.culprit import reason

    return reason(value, error)


def main_path(obj: Any) -> str | None:
    """Return the dotted name under which `__main__` has this function or class, if it does."""
    if not isinstance(obj, (FunctionType, type, _CACHED)) or obj.__module__ not in MAIN:
        return None
    found: Any = obj.__globals__ if isinstance(obj, FunctionType) else None
    if found is None or found.get("__name__") not in MAIN:
        found = vars(sys.modules["__main__"])
    path: str = obj.__qualname__
    first, *rest = path.split(".")
    found = root = found.get(first)
    for part in rest:
        if not isinstance(found, type):
            return None
        found = vars(found).get(part)
    if found is not obj or (rest and main_path(root) is None):
        return None  # part of a class that itself travels by value takes its methods along
    return path


class Pickler(_cp.Pickler):  # type: ignore[misc]
    """Pickles one entry, or the body, of a message."""

    def __init__(
        self, stream: io.BytesIO, message: Message, root: str | None, aside: Any = None
    ) -> None:
        # The C pickler looks at it once, as it is initialised.
        self.dispatch_table = ChainMap(
            _tensors(),
            buffers.registered(),
            _REDUCERS,
            buffers.reducers(),
            _cp.Pickler.dispatch_table,
        )
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=aside)
        self._message = message
        self._root = root
        self._filled: set[int] = set()  # cells whose content has been written
        self._scopes: dict[int, dict[str, Any]] = {}
        self.hard: set[str] = set()
        self.soft: dict[str, None] = {}

    def reducer_override(self, obj: Any) -> Any:
        """Decide for each function and class whether it travels by name or by value."""
        if getattr(obj, "__module__", None) == "__mp_main__":
            _send_by_value("__mp_main__")
        if isinstance(obj, FunctionType):
            if _cp._should_pickle_by_reference(obj):
                return NotImplemented
            return self._refer(obj) or self._reduce_function(obj)
        if isinstance(obj, type):
            reduced = super().reducer_override(obj)
            if not isinstance(reduced, tuple) or len(reduced) < 6:
                return reduced
            return self._refer(obj) or self._reduce_class(obj, reduced)
        if isinstance(obj, _CACHED) and obj.__module__ in MAIN:
            return self._refer(obj) or _reduce_cached(obj)
        if type(obj).__module__ in adopt.MODULES:
            return adopt.reduce(obj)
        return NotImplemented

    def _refer(self, obj: Any) -> Any:
        path = main_path(obj)
        if path is None:
            return None
        first, _, rest = path.partition(".")
        if first == self._root:
            return None
        if rest:
            scope = vars(sys.modules["__main__"])
            root = scope[first] if first in scope else obj.__globals__[first]
            return rebuild.member, (root, rest)
        self.hard.add(path)
        self.soft[path] = None
        self._message.need(path, obj)
        return rebuild.main_object, (*names.key_of(obj), path)

    def _reduce_function(self, func: FunctionType) -> Any:
        code, used = _describe_code(func.__code__)
        scope = func.__globals__
        module = scope.get("__name__")
        found = {name: scope[name] for name in used if name in scope}
        values: dict[str, Any] | None = None
        where: Any = (rebuild.namespace, (module,))
        if module in MAIN:
            for name, value in found.items():
                self.soft[name] = None
                self._message.need(name, value)
            where = _Scope("__main__")
        elif _is_importable(module, scope):
            where = _Scope(str(module))
        else:
            # A made-up module: its functions share a fresh one, with what they use of it.
            where = self._scopes.setdefault(id(scope), {"__name__": module})
            values = found
        cells = func.__closure__
        contents: dict[int, Any] = {}
        for index, cell in enumerate(cells or ()):
            if id(cell) not in self._filled:
                self._filled.add(id(cell))
                try:
                    contents[index] = cell.cell_contents
                except ValueError:  # still empty
                    pass
        values_of = [*found.values(), *contents.values()]
        state = {
            "cells": contents,
            "scope": values,
            "dict": func.__dict__,
            "attributes": {name: getattr(func, name, None) for name in _ATTRIBUTES},
            # Imports, for a function that says `package.module` having imported both.
            "modules": _cp._find_imported_submodules(func.__code__, values_of),
        }
        if not hasattr(func, "__type_params__"):
            del state["attributes"]["__type_params__"]
        key = names.key_of(func) if self._root and main_path(func) == self._root else None
        args = (key, where, code, cells)
        return rebuild.make_function, args, state, None, None, rebuild.fill_function

    def _reduce_class(self, cls: type, reduced: tuple[Any, ...]) -> Any:
        maker, args, content, _, _, setter = reduced
        if maker is _cp._make_skeleton_class and "__slots__" in vars(cls):
            kwargs = {**args[3], "__slots__": vars(cls)["__slots__"]}
            # The bases as written, `NamedTuple` say, would make another class of its own.
            bases = cls.__bases__ if issubclass(cls, tuple) else args[2]
            args = (*args[:2], bases, kwargs, *args[4:])
        key = names.key_of(cls)
        made = (key, maker, args, cls.__qualname__)
        state = (key, setter, content)
        return rebuild.make_class, made, state, None, None, rebuild.fill_class


def _send_by_value(module: str) -> None:
    if module in sys.modules and module not in _cp.list_registry_pickle_by_value():
        _cp._PICKLE_BY_VALUE_MODULES.add(module)


class _Scope:
    """Stands for the globals of a module in the receiving process."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild.namespace, (self._module,)


def _is_importable(name: Any, scope: dict[str, Any]) -> bool:
    module = sys.modules.get(name) if isinstance(name, str) else None
    return module is not None and vars(module) is scope and module.__spec__ is not None


def _reduce_module(module: ModuleType) -> Any:
    if module is sys.modules.get("__main__"):
        return rebuild.main_module, ()
    if sys.modules.get(module.__name__) is module:
        return rebuild.module, (module.__name__,)
    return _cp._module_reduce(module)


def _reduce_file(file: Any) -> Any:
    for name in ("stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError("an open file can't be pickled")


def _reduce_cached(func: Any) -> Any:
    limits = func.cache_parameters()
    made = (limits["maxsize"], limits["typed"], func.__wrapped__)
    return rebuild.make_cached, made, dict(vars(func)), None, None, rebuild.fill_cached


def _reduce_variable(variable: Any) -> Any:
    return type(variable), (variable.__name__,)


def _tensors() -> dict[Any, Any]:
    tensor = tensors.tensor_type()
    theirs = ForkingPickler._extra_reducers.get(tensor)  # type: ignore[attr-defined]
    if theirs is None:
        return {}
    return {tensor: lambda obj: tensors.reduce(obj) or theirs(obj)}


_CACHED = type(functools.cache(len))
_REDUCERS: dict[Any, Any] = {
    _CACHED: _reduce_cached,
    typing.NewType: lambda new: (typing.NewType, (new.__name__, new.__supertype__)),
    typing.ParamSpec: _reduce_variable,
    typing.TypeVarTuple: _reduce_variable,
    weakref.WeakKeyDictionary: lambda d: (weakref.WeakKeyDictionary, (dict(d),)),
    weakref.WeakValueDictionary: lambda d: (weakref.WeakValueDictionary, (dict(d),)),
    ContextVar: variables.reduce,
    CellType: lambda cell: (rebuild.make_cell, ()),
    ModuleType: _reduce_module,
    io.TextIOWrapper: _reduce_file,
    type(dataclasses.MISSING): lambda value: (getattr, (dataclasses, "MISSING")),
}


def dumps(obj: Any, refs: Refs | None = None) -> bytes:
    """Return a message that carries `obj`, functions and classes of `__main__` included.

    Args:
        obj: what to send.
        refs: gets what travels along; None for nothing.
    """
    return Message(refs).dumps(obj)
