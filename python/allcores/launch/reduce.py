"""How functions and classes are taken apart that travel by value.

A function is reduced here; the code as `marshal` has it, its cells, and names for what it finds in
its module. Of classes, and of rare types of the interpreter's, cloudpickle knows how to.
"""

from __future__ import annotations

import copyreg
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
from multiprocessing.reduction import ForkingPickler
from types import CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from allcores import buffers, tensors
from allcores.launch import adopt, names, rebuild, variables

if TYPE_CHECKING:
    from allcores.launch.by_value import Message

# What the module of the program is called: in a process that the standard library has spawned it
# was run again, by the other name.
MAIN = ("__main__", "__mp_main__")
_NAME_OPERATIONS = {
    "LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL",
    "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS",  # in class bodies
}  # fmt: skip
# Modules of types that cloudpickle has reducers for.
_ITS_MODULES = (
    "abc", "builtins", "collections", "dataclasses", "logging", "typing", "_io", "_weakrefset",
)  # fmt: skip
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


class Pickler(pickle.Pickler):
    """Pickles one entry, or the body, of a message."""

    def __init__(
        self, stream: io.BytesIO, message: Message, root: str | None, aside: Any = None
    ) -> None:
        # The C pickler looks at it once, as it is initialised.
        tables: list[Any] = [
            _tensors(),
            buffers.registered(),
            _REDUCERS,
            buffers.reducers(),
            _Cloudpickles(),
            copyreg.dispatch_table,
        ]
        self.dispatch_table = ChainMap(*tables)
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
            if _is_by_reference(obj):
                return NotImplemented
            return self._refer(obj) or self._reduce_function(obj)
        if isinstance(obj, type):
            if _is_by_reference(obj):
                return NotImplemented
            reduced = _cloudpickle().Pickler.reducer_override(self, obj)
            if not isinstance(reduced, tuple) or len(reduced) < 6:
                return reduced
            return self._refer(obj) or self._reduce_class(obj, reduced)
        if isinstance(obj, _CACHED) and obj.__module__ in MAIN:
            return self._refer(obj) or _reduce_cached(obj)
        if type(obj) is object:
            # Functions have it as a default, and compare with the global.
            bare = names.key_of_bare(obj)
            return NotImplemented if bare is None else (names.bare, bare)
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
        state: dict[str, Any] = {
            "cells": contents,
            "scope": values,
            "dict": func.__dict__,
            "attributes": {name: getattr(func, name, None) for name in _ATTRIBUTES},
            # Imports, for a function that says `package.module` having imported both.
            "modules": _submodules(func.__code__, values_of),
        }
        if not hasattr(func, "__type_params__"):
            del state["attributes"]["__type_params__"]
        key = names.key_of(func) if self._root and main_path(func) == self._root else None
        args = (key, where, code, cells)
        return rebuild.make_function, args, state, None, None, rebuild.fill_function

    def _reduce_class(self, cls: type, reduced: tuple[Any, ...]) -> Any:
        maker, args, content, _, _, setter = reduced
        if maker is _cloudpickle()._make_skeleton_class and "__slots__" in vars(cls):
            kwargs = {**args[3], "__slots__": vars(cls)["__slots__"]}
            # The bases as written, `NamedTuple` say, would make another class of its own.
            bases = cls.__bases__ if issubclass(cls, tuple) else args[2]
            args = (*args[:2], bases, kwargs, *args[4:])
        key = names.key_of(cls)
        made = (key, maker, args, cls.__qualname__)
        state = (key, setter, content)
        return rebuild.make_class, made, state, None, None, rebuild.fill_class


def _send_by_value(module: str) -> None:
    its = _cloudpickle()
    if module in sys.modules and module not in its.list_registry_pickle_by_value():
        its._PICKLE_BY_VALUE_MODULES.add(module)


def _cloudpickle() -> Any:
    # When it is needed: that takes longer than importing all the rest of this.
    import cloudpickle.cloudpickle

    return cloudpickle.cloudpickle


class _Cloudpickles:
    """A table of cloudpickle's reducers."""

    def __getitem__(self, kind: type) -> Any:
        if kind.__module__ not in _ITS_MODULES:
            raise KeyError(kind)
        if kind.__module__ == "dataclasses":
            import dataclasses

            if kind is type(dataclasses.MISSING):
                return lambda value: (getattr, (dataclasses, "MISSING"))
        return _cloudpickle().Pickler.dispatch_table[kind]


def _is_by_reference(obj: Any) -> bool:
    """Tell whether a function or class is found by its name in a module that isn't the program."""
    module = obj.__module__
    if module in MAIN:
        return False
    if not isinstance(module, str) or "cloudpickle" in sys.modules:
        # It looks for the module, and knows of modules that are to travel by value.
        return bool(_cloudpickle()._should_pickle_by_reference(obj))
    found: Any = sys.modules.get(module)
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def _submodules(code: CodeType, values: list[Any]) -> list[ModuleType]:
    """Return the modules, in packages that a function uses, that it may find as attributes.

    Args:
        code: of the function.
        values: that it uses.
    """
    packages = [
        value.__name__ + "."
        for value in values
        if isinstance(value, ModuleType) and getattr(value, "__package__", None)
    ]
    if not packages:
        return []
    used = set(names.names_in(code))
    return [
        module
        for name, module in list(sys.modules.items())
        for package in packages
        if name.startswith(package) and used.issuperset(name.removeprefix(package).split("."))
    ]


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
    return _cloudpickle()._module_reduce(module)


def _reduce_file(file: Any) -> Any:
    for name in ("stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError("an open file can't be pickled")


def _reduce_cached(func: Any) -> Any:
    limits = func.cache_parameters()
    made = (limits["maxsize"], limits["typed"], func.__wrapped__)
    return rebuild.make_cached, made, dict(vars(func)), None, None, rebuild.fill_cached


def _reduce_property(cached: Any) -> Any:
    # Before Python 3.12 it has a lock.
    state = {name: value for name, value in vars(cached).items() if name != "lock"}
    return functools.cached_property, (cached.func,), state


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
    functools.cached_property: _reduce_property,
    typing.NewType: lambda new: (typing.NewType, (new.__name__, new.__supertype__)),
    typing.ParamSpec: _reduce_variable,
    typing.TypeVarTuple: _reduce_variable,
    weakref.WeakKeyDictionary: lambda d: (weakref.WeakKeyDictionary, (dict(d),)),
    weakref.WeakValueDictionary: lambda d: (weakref.WeakValueDictionary, (dict(d),)),
    ContextVar: variables.reduce,
    CellType: lambda cell: (rebuild.make_cell, ()),
    ModuleType: _reduce_module,
    io.TextIOWrapper: _reduce_file,
}
