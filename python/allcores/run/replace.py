"""allcores in the place of multiprocessing, in a program that doesn't know of it.

Which module an import gives depends on who imports: the program and its libraries get allcores, the
standard library and allcores itself the original, on whose classes allcores is built. So
``sys.modules`` stays as it is, and ``import`` (`builtins.__import__`) and
``importlib.import_module`` look at the name of the module that they are called from.

*Why not put allcores into ``sys.modules``, or its classes into the original module:* then allcores,
which imports much of the original when it is first needed, would find itself there, and the
standard library, which starts processes in its own way (`concurrent.futures`, `asyncio`), would mix
both.

Compiled code that imports through the interpreter's C functions (Cython's) gets the original.
"""

from __future__ import annotations

import builtins
import importlib
import multiprocessing
import os
import sys
from types import ModuleType
from typing import Any

from allcores import _core, context

__all__ = ["ORIGINAL", "describe", "install"]

# Who gets the original, and why; docs/run.md has the same list.
ORIGINAL = {
    "allcores": "it is built on the original",
    "loky": "it has contexts, processes and queues of its own, made of private parts of the "
    "original and started by its own programs",
    "joblib": "its pools change private queues of the original's pool, and it brings loky along; "
    "allcores is one of its backends instead, the default one here",
    "multiprocess": "it is a copy of the original, and takes private parts from it",
}
# Parts of the standard library that import what others name.
_FOR_OTHERS = {"code", "codeop", "doctest", "pkgutil", "pydoc", "runpy", "timeit", "unittest"}
_STANDARD = os.path.dirname(os.__file__) + os.sep

_keep: list[str] = []
_method: str | None = None
_installed: _core.Importer | None = None
_decided: dict[tuple[str, str | None], bool] = {}
_faces: dict[str, ModuleType] = {}


def install(keep: list[str], method: str | None = None) -> None:
    """Replace multiprocessing from now on, in this process and in its children.

    Args:
        keep: more modules that get the original, with all that is in them.
        method: the default start method; None for the one that the original has.
    """
    global _installed, _method
    _keep[:] = keep
    _method = method
    _decided.clear()
    context.set_default(method or multiprocessing.get_all_start_methods()[0])
    if _installed is None:
        _installed = _core.Importer(
            builtins.__import__,
            importlib.import_module,
            ["multiprocessing", "concurrent"],
            _redirect,
        )
        builtins.__import__ = _installed
        importlib.import_module = _installed.import_module
        from allcores import joblib

        joblib.be_default()


def describe() -> tuple[list[str], str | None] | None:
    """Return the arguments of `install` for a child; None when nothing is replaced here."""
    return None if _installed is None else (_keep, _method)


def current() -> Any:
    """Return what imports in this process."""
    return builtins.__import__


def _redirect(name: str, scope: Any, wanted: Any) -> Any:
    """Return the module to import instead; None for the original.

    Args:
        name: absolute.
        scope: globals of who imports.
        wanted: names to be taken from the module, empty when it is the first package of `name`
            that is wanted; None when it is the module itself.
    """
    if _keeps(scope):
        return None
    if name.startswith("concurrent"):
        return _futures(name, wanted)
    ours = "allcores" + name[len("multiprocessing") :]
    if not ours.startswith("allcores.") and ours != "allcores":
        return None  # its name only begins so
    try:
        importlib.import_module(ours)
    except ModuleNotFoundError as error:
        if error.name != ours:
            raise
        return None  # a part of the original that allcores has no counterpart of
    if wanted is None:
        return sys.modules[ours]
    if wanted and "*" in wanted and ours == "allcores":
        return _only_original_names()
    return __import__(ours, None, None, wanted)


def _keeps(scope: Any) -> bool:
    """Tell whether a module gets the original."""
    name = scope.get("__name__") if isinstance(scope, dict) else None
    if not isinstance(name, str):
        return False
    file = scope.get("__file__")
    key = (name, file if isinstance(file, str) else None)
    found = _decided.get(key)
    if found is None:
        found = _decided[key] = _decide(*key)
    return found


def _decide(name: str, file: str | None) -> bool:
    first = name.partition(".")[0]
    if first in ORIGINAL:
        return True
    if any(name == kept or name.startswith(f"{kept}.") for kept in _keep):
        return True
    if first not in sys.stdlib_module_names or first in _FOR_OTHERS:
        return False
    # The program may have a module of the same name.
    return file is None or file.startswith(_STANDARD)


class _Face(ModuleType):
    """A module that looks like another one but for a few names.

    Args:
        behind: the other one.
        own: these names.
    """

    def __init__(self, behind: ModuleType, **own: Any) -> None:
        super().__init__(behind.__name__, behind.__doc__)
        for name in ("__file__", "__package__", "__path__", "__spec__", "__loader__", "__all__"):
            if hasattr(behind, name):
                setattr(self, name, getattr(behind, name))
        vars(self).update(own)
        vars(self)["_behind"] = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_behind"], name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._behind), *vars(self)})


def _only_original_names() -> ModuleType:
    """Return allcores for ``from multiprocessing import *``, which brings no names of our own."""
    face = _faces.get("*")
    if face is None:
        face = _Face(sys.modules["allcores"], __all__=list(multiprocessing.__all__))
        _faces["*"] = face
    return face


def _futures(name: str, wanted: Any) -> Any:
    """Return `concurrent.futures` or its like, with allcores' executor in it."""
    if name not in ("concurrent", "concurrent.futures", "concurrent.futures.process"):
        if wanted is not None and not wanted and name.startswith("concurrent.futures."):
            importlib.import_module(name)
            return _face("concurrent")
        return None
    importlib.import_module(name)
    if wanted:
        __import__(name, None, None, wanted)  # its submodules that are wanted, if there are any
    return _face(name if wanted or wanted is None else "concurrent")


def _face(name: str) -> ModuleType:
    face = _faces.get(name)
    if face is None:
        face = _faces[name] = _make_face(name)
    return face


def _make_face(name: str) -> ModuleType:
    behind = importlib.import_module(name)
    if name == "concurrent":
        importlib.import_module("concurrent.futures")
        return _Face(behind, futures=_face("concurrent.futures"))
    from allcores.executor import ProcessPoolExecutor

    if name == "concurrent.futures.process":
        return _Face(behind, ProcessPoolExecutor=ProcessPoolExecutor)
    importlib.import_module("concurrent.futures.process")
    process = _face("concurrent.futures.process")
    return _Face(behind, ProcessPoolExecutor=ProcessPoolExecutor, process=process)
