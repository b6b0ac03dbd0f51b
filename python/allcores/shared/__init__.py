"""Objects in memory that all processes of a program share, one kind a file.

``lists``, ``dicts``, ``sets``, ``deques``: the containers, and ``nested``: plain lists and dicts in
them. ``keys`` says when keys are equal, ``views`` what ``keys()`` and the like return, ``items``
what containers hold, ``printing`` how they are printed. ``values``: ctypes values and arrays.
``array``: NumPy arrays. ``put``: objects stored once. ``manager``: what ``Manager()`` returns;
``simple`` and ``managed``: what it makes besides.

The names for programs are ``allcores.shared.list``, ``dict``, ``set``, ``deque`` and ``Namespace``.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from allcores.shared.deques import Deque as deque
    from allcores.shared.dicts import Dict as dict
    from allcores.shared.lists import List as list
    from allcores.shared.sets import Set as set
    from allcores.shared.simple import Namespace

__all__ = ["Namespace", "deque", "dict", "list", "set"]


_HOMES = {"Namespace": "simple", "deque": "deques", "dict": "dicts", "list": "lists", "set": "sets"}


def __getattr__(name: str) -> _Any:
    # Not before somebody wants them: a Value, say, needs none.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _import_module(f"{__name__}.{_HOMES[name]}")
    globals()[name] = found = getattr(module, name[0].upper() + name[1:])
    return found
