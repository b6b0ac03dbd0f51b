"""A child's `__main__`: like the parent's to look at, but never run.

What the child needs of it arrives with the functions that use it (see by_value.py).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

# What a module is, apart from what it contains: travels when it is a plain value.
_FACTS = ("__file__", "__package__", "__doc__")

# The module that `python -c` made for the child's own start. It is kept, because modules that
# are dropped have their names set to None, and functions of it may still be running.
_replaced: list[ModuleType] = []


def describe() -> dict[str, Any]:
    """Return what a child needs to make a `__main__` that looks like this process's."""
    main = sys.modules.get("__main__")
    facts = {name: getattr(main, name, None) for name in _FACTS}
    return {name: value for name, value in facts.items() if isinstance(value, str)}


def install(facts: dict[str, Any]) -> None:
    """Put an empty `__main__` that looks like the parent's in the place of this process's."""
    main = ModuleType("__main__")
    vars(main).update(facts)
    vars(main)["__builtins__"] = sys.modules["builtins"]
    vars(main)["__annotations__"] = {}
    previous = sys.modules.get("__main__")
    if previous is not None:
        _replaced.append(previous)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main


def renew() -> None:
    """Put an empty one in the place of this process's `__main__`, and let go of that."""
    install(describe())
    del _replaced[1:]
