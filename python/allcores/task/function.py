"""The function of a call: packed once, unpacked once by each worker.

A small one travels inside each task. A large one, by value with what it refers to, is stored in
the arena, and its tasks carry a reference.
"""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from allcores import _core, pickling

# Up to here copying it into each task costs less than a block of its own (a guess).
_INLINE_BYTES = 512
# How many functions a worker remembers; each may hold large data.
_REMEMBERED = 8

_numbers = count(1)


class Function:
    """A function as the tasks of one call carry it.

    Args:
        func: what to call.
        often: whether several tasks will carry it; then workers remember it.

    Raises:
        NotPicklable: it can't travel.
    """

    __slots__ = ("generation", "inline", "kept", "name", "nbytes", "number", "offset", "refs")

    def __init__(self, func: Callable[..., Any], often: bool) -> None:
        self.name: str = getattr(func, "__qualname__", None) or repr(func)
        data, self.refs = pickling.pack(func, f"the function {self.name!r}")
        self.number = next(_numbers) if often else 0
        self.nbytes = len(data)
        self.offset = self.generation = 0
        self.inline = data
        # What it refers to has to live until the last task has been done.
        self.kept: Any = (func, None)
        if often and len(data) > _INLINE_BYTES:
            block = _core.Block(len(data))
            memoryview(block)[:] = data
            _, self.offset, self.generation = block.handle()
            self.inline = b""
            self.kept = (func, block)


class Packed:
    """The functions that a pool has packed before and need not pack again."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, tuple[object, Function]] = WeakKeyDictionary()

    def get(self, func: Callable[..., Any], often: bool) -> Function:
        """Return `func`, packed.

        Args:
            func: what to call.
            often: whether several tasks will carry it.

        Raises:
            NotPicklable: it can't travel.
        """
        if type(func) is not types.FunctionType or not _is_constant(func):
            return Function(func, often)
        code, packed = self._known.get(func, (None, None))
        if packed is None or code is not func.__code__:
            packed = Function(func, True)
            # It refers to nothing, so nothing has to be kept; and it must not keep its own key.
            packed.kept = packed.kept[1]
            self._known[func] = func.__code__, packed
        return packed


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


class Functions:
    """The functions that a worker has unpacked."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._session = _core.session()

    def get(
        self, number: int, offset: int, generation: int, nbytes: int, inline: memoryview
    ) -> Callable[..., Any]:
        """Return the function of a task.

        Args:
            number: names it among all functions of the pool's process; 0: don't remember it.
            offset: where it is stored; 0 when it is in `inline`.
            generation: of that place.
            nbytes: its size.
            inline: its bytes.
        """
        func = self._known.get(number)
        if func is not None:
            return func
        if offset:
            block = _core.Block.from_handle(self._session, offset, generation, nbytes)
            func = pickling.loads(memoryview(block))
        else:
            func = pickling.loads(inline)
        if number:
            self._known[number] = func
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return func  # type: ignore[no-any-return]
