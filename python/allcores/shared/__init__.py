"""Objects in memory that all processes of a program share, one kind a file.

``lists``, ``dicts``, ``sets``, ``deques``: the containers, and ``nested``: plain lists and dicts in
them. ``keys`` says when keys are equal, ``views`` what ``keys()`` and the like return, ``items``
what containers hold, ``printing`` how they are printed. ``values``: ctypes values and arrays.
``manager``: what ``Manager()`` returns; ``simple`` and ``managed`` what it makes besides containers.

The names without a manager are ``allcores.shared.list``, ``dict``, ``set`` and ``deque``, and
``Namespace``.
"""

from allcores.shared.deques import Deque as deque
from allcores.shared.dicts import Dict as dict
from allcores.shared.lists import List as list
from allcores.shared.sets import Set as set
from allcores.shared.simple import Namespace

__all__ = ["Namespace", "deque", "dict", "list", "set"]
