"""Objects in memory that all processes of a program share, one kind a file.

``lists``, ``dicts``, ``sets``, ``deques``: the containers, and ``nested``: plain lists and dicts in
them. ``keys`` says when keys are equal, ``views`` what ``keys()`` and the like return, ``items``
what containers hold, ``printing`` how they are printed. ``values``: ctypes values and arrays.
``array``: NumPy arrays. ``put``: objects stored once. ``manager``: what ``Manager()`` returns;
``simple`` and ``managed``: what it makes besides. ``offers``: programs that are not related.

The names for programs are ``allcores.shared.list``, ``dict``, ``set``, ``deque``, ``Namespace``,
``offer`` and ``join``.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from allcores.shared.deques import Deque as deque
    from allcores.shared.dicts import Dict as dict
    from allcores.shared.lists import List as list
    from allcores.shared.offers import join, offer
    from allcores.shared.sets import Set as set
    from allcores.shared.simple import Namespace

__all__ = ["Namespace", "deque", "dict", "join", "list", "offer", "set"]


_HOMES = {
    "Namespace": ("simple", "Namespace"),
    "deque": ("deques", "Deque"),
    "dict": ("dicts", "Dict"),
    "join": ("offers", "join"),
    "list": ("lists", "List"),
    "offer": ("offers", "offer"),
    "set": ("sets", "Set"),
}


def __getattr__(name: str) -> _Any:
    # Not before somebody wants them: a Value, say, needs none.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, found = _HOMES[name]
    globals()[name] = value = getattr(_import_module(f"{__name__}.{module}"), found)
    return value
