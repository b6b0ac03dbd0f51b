"""The function of a call: packed once, unpacked once by each worker.

One that many tasks carry, by value with what it refers to, is stored in the arena, and the tasks
carry a reference, so that they stay small. One for a single call travels inside that task.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from allcores import _core, pickling
from allcores.task.records import HEAD

# Up to here a task with a number for its argument still fits into a cell of the ring, with it
# inside.
_INLINE_BYTES = 40

_numbers = count(1)


class Function:
    """A function as the tasks of one call carry it.

    Args:
        func: what to call.
        often: whether several tasks will carry it; then workers remember it.

    Raises:
        NotPicklable: it can't travel.
    """

    __slots__ = ("head", "kept", "name", "refs")

    def __init__(self, func: Callable[..., Any], often: bool) -> None:
        self.name: str = getattr(func, "__qualname__", None) or repr(func)
        data, self.refs = pickling.pack(func, f"the function {self.name!r}")
        # What it refers to has to live until the last task has been done.
        self.kept: Any = (func, None)
        number = next(_numbers) if often else 0
        if often and len(data) > _INLINE_BYTES:
            block = _core.Block(len(data))
            memoryview(block)[:] = data
            _, offset, generation = block.handle()
            self.head = HEAD.pack(number, offset, generation, len(data), 0)
            self.kept = (func, block)
        else:
            self.head = HEAD.pack(number, 0, 0, len(data), 0) + data


class Packed:
    """The functions that a pool has packed before and need not pack again."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, tuple[object, Function]] = WeakKeyDictionary()
        # The latest, which the next call is likely to be of: (function, mark, packed).
        self._latest: tuple[Any, object, Function | None] = (None, None, None)

    def get(self, func: Callable[..., Any], often: bool) -> Function:
        """Return `func`, packed.

        Args:
            func: what to call.
            often: whether several tasks will carry it.

        Raises:
            NotPicklable: it can't travel.
        """
        kind = type(func)
        if kind is types.FunctionType:
            mark: object = func.__code__
            if not (_is_importable(func) or _is_constant(func)):  # type: ignore[arg-type]
                return Function(func, often)
        elif kind is types.BuiltinFunctionType and _is_importable(func):
            mark = None
        else:
            return Function(func, often)
        latest, code, packed = self._latest
        if latest is func and code is mark and packed is not None:
            return packed
        code, packed = self._known.get(func, (None, None))
        if packed is None or code is not mark:
            packed = Function(func, True)
            # It refers to nothing, so nothing has to be kept; and it must not keep its own key.
            packed.kept = packed.kept[1]
            self._known[func] = mark, packed
        self._latest = func, mark, packed
        return packed


def _is_importable(func: Any) -> bool:
    """Tell whether workers find a function by its name, whatever has happened to it here."""
    module = sys.modules.get(func.__module__)
    return (
        module is not None
        and func.__module__ != "__main__"
        and getattr(module, func.__qualname__, None) is func
        and getattr(module, "__spec__", None) is not None
    )


def _is_constant(func: types.FunctionType) -> bool:
    """Tell whether packing a function again would give the same bytes, whatever happens."""
    if func.__closure__ or func.__defaults__ or func.__kwdefaults__ or func.__dict__:
        return False
    return _names_nothing(func.__code__, func.__globals__)


def _names_nothing(code: types.CodeType, names: dict[str, Any]) -> bool:
    if any(name in names for name in code.co_names):
        return False
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return all(_names_nothing(const, names) for const in inner)
