"""Which context variable is which, across the processes of a program.

A variable can't be pickled, and one that is made anew is another one. So it goes by where it is: at
the top of a module, or in a dict there, as PEP 567 has it. One of `__main__`, which other processes
can't import, or one that is anywhere else, gets a key, and is made once in each process.
"""

from __future__ import annotations

import importlib
import sys
from contextvars import Context, ContextVar
from itertools import count
from types import ModuleType
from typing import Any

from allcores.launch import names
from allcores.launch.names import Key

__all__ = ["Place", "default_of", "find", "forget", "place_of", "reduce"]

# Where a variable is: module, name, and key where the name is a dict's.
Place = tuple[str, str, str | None]

# Dicts that are larger are not looked into, and so many variables are remembered. (Guesses.)
_MOST_ITEMS = 200
_MOST_PLACES = 1000

_places: dict[int, tuple[ContextVar[Any], Place | None]] = {}
_serials = count(1)
_keys: dict[int, Key] = {}
_variables: dict[Key, ContextVar[Any]] = {}


def place_of(variable: ContextVar[Any]) -> Place | None:
    """Return where a variable is, None when it is nowhere where others would find it."""
    known = _places.get(id(variable))
    if known is None:
        if len(_places) > _MOST_PLACES:
            _places.clear()
        known = _places[id(variable)] = (variable, _search(variable))
    return known[1]


def _search(variable: ContextVar[Any]) -> Place | None:
    # Who defines it is imported after who imports it from there: the last one is the right one.
    for name, module in reversed(list(sys.modules.items())):
        if not isinstance(module, ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            if value is variable:
                return name, attribute, None
            if type(value) is dict and len(value) <= _MOST_ITEMS:
                for key, item in list(value.items()):
                    if item is variable and isinstance(key, str):
                        return name, attribute, key
    return None


def default_of(variable: ContextVar[Any]) -> tuple[Any, ...]:
    """Return the default of a variable, in a tuple, which is empty where there is none."""
    try:
        return (Context().run(variable.get),)
    except LookupError:
        return ()


def make(name: str, default: tuple[Any, ...]) -> ContextVar[Any]:
    """Return a new variable.

    Args:
        name: its name.
        default: as from `default_of`.
    """
    return ContextVar(name, default=default[0]) if default else ContextVar(name)


def find(place: Place, name: str, default: tuple[Any, ...]) -> ContextVar[Any] | None:
    """Return the variable at a place in this process, None where there is nothing of the kind.

    Args:
        place: where it is; one that is missing in a dict is put there.
        name: of the variable.
        default: its default.
    """
    module, attribute, key = place
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception:
        return None  # a module that only the sender's process can import
    if key is not None and isinstance(found, dict):
        if key not in found:
            found[key] = make(name, default)
        found = found[key]
    return found if isinstance(found, ContextVar) else None


def reduce(variable: ContextVar[Any]) -> Any:
    """Return how to pickle a variable, for the pickler of reduce.py."""
    place = place_of(variable)
    default = default_of(variable)
    if place is not None and place[0] not in ("__main__", "__mp_main__"):
        return _find_or_make, (place, variable.name, default)
    key = _keys.get(id(variable))
    if key is None:
        key = _keys[id(variable)] = (names.token(), next(_serials))
        _variables[key] = variable
    return _known_or_make, (key, variable.name, default)


def _find_or_make(place: Place, name: str, default: tuple[Any, ...]) -> ContextVar[Any]:
    return find(place, name, default) or make(name, default)


def _known_or_make(key: Key, name: str, default: tuple[Any, ...]) -> ContextVar[Any]:
    variable = _variables.get(key)
    if variable is None:
        variable = _variables[key] = make(name, default)
        _keys[id(variable)] = key
    return variable


def forget() -> None:
    """Let go of the variables that came to this process."""
    _places.clear()
    _keys.clear()
    _variables.clear()
