"""The function of a call: packed once, unpacked once by each worker, as long as its content stays.

A function that may have changed since the last call is packed again, and when that gives the same
bytes, workers use what they have. So what tasks do to objects that a function refers to is seen by
later ones in the same worker.

One that many tasks carry, by value with what it refers to, is stored in the arena, and the tasks
carry a reference, so that they stay small. One for a single call travels inside that task.
"""

from __future__ import annotations

import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, TypeGuard
from weakref import WeakKeyDictionary

from allcores import _core, pickling
from allcores.buffers import Refs
from allcores.errors import NotPicklable
from allcores.launch.fingerprint import fingerprint
from allcores.launch.names import names_in
from allcores.task.records import HEAD, SETS_GLOBALS

if TYPE_CHECKING:
    from allcores.task.seeds import Seeded

# Up to here a task with a number for its argument still fits into a cell of the ring, with it
# inside.
_INLINE_BYTES = 40
# Contents of functions that a pool remembers, as many as each worker does, and up to how many bytes
# as they are.
_REMEMBERED = 8
_SHORT_BYTES = 1000
# And how many bytes of large buffers that they refer to, at most (a guess).
_KEPT_BYTES = 1 << 30
# In what launch/by_value.py packs, and in nothing else.
_BY_VALUE = b"allcores.launch.rebuild"

_numbers = count(1)


class Function:
    """A function as the tasks of one call carry it.

    Args:
        name: its name, for messages.
        data: it, packed.
        refs: arena offsets of the handles in that; keeps its large buffers.
        often: whether several tasks will carry it; then workers remember it.
        owner: keeps what the handles refer to.

    Attributes:
        numbered: whether the items come with their indices.
    """

    __slots__ = ("head", "kept", "name", "numbered", "refs")

    def __init__(
        self, name: str, data: bytes, refs: Refs, often: bool, owner: object = None
    ) -> None:
        self.name = name
        # Frozen blocks are kept here as long as a call of it is under way: no task has to do it.
        self.refs: list[int] = refs if len(refs) > len(refs.kept) else []
        self.numbered = False
        # What it refers to has to live until the last task has been done.
        self.kept: Any = (owner, refs, None)
        number = next(_numbers) if often else 0
        flags = SETS_GLOBALS if _BY_VALUE in data else 0
        if often and len(data) > _INLINE_BYTES:
            block = _core.Block(len(data))
            memoryview(block)[:] = data
            _, offset, generation = block.handle()
            self.head = HEAD.pack(number, offset, generation, len(data), flags)
            self.kept = (owner, refs, block)
        else:
            self.head = HEAD.pack(number, 0, 0, len(data), flags) + data


def _packed(func: Callable[..., Any]) -> tuple[str, bytes, Refs]:
    name: str = getattr(func, "__qualname__", None) or repr(func)
    what = f"the function {name!r}"
    try:
        return name, *pickling.pack(func, what, shared=True)
    except NotPicklable:
        if is_seeded(func):
            pickling.pack(func.func, what)  # raises one that says nothing of the wrapper
        raise


def is_seeded(func: Any) -> TypeGuard[Seeded]:
    """Tell whether a function takes its items with their indices, as seeded calls' do."""
    seeds = sys.modules.get("allcores.task.seeds")
    return seeds is not None and isinstance(func, seeds.Seeded)


class Packed:
    """The functions that a pool has packed before, so that workers have them."""

    def __init__(self) -> None:
        # Those that nothing can change, by themselves.
        self._known: WeakKeyDictionary[Any, tuple[object, Function]] = WeakKeyDictionary()
        # The latest, which the next call is likely to be of: (function, mark, packed, found), where
        # found is the module of one that is importable, or the names that a constant one asks for.
        self._latest: tuple[Any, object, Any, Any] = (self, None, None, ())
        # The others by name and content, the latest last; what keeps its large buffers, for one
        # of a single call: they are not copied again as long as they are the same.
        self._contents: OrderedDict[tuple[str, bytes], Function | Refs] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, func: Callable[..., Any], often: bool) -> Function:
        """Return `func`, packed.

        Args:
            func: what to call.
            often: whether several tasks will carry it.

        Raises:
            NotPicklable: it can't travel.
        """
        latest, mark, packed, found = self._latest
        if latest is func and mark is getattr(func, "__code__", None):
            if type(found) is tuple:
                if _is_constant(func, found):
                    return packed  # type: ignore[no-any-return]
            elif _is_in(func, found):
                return packed  # type: ignore[no-any-return]
        kind = type(func)
        mark = names = None
        if kind is types.FunctionType:
            mark = func.__code__
            if not _is_importable(func):
                names = names_in(func.__code__)
                if not _is_constant(func, names):
                    return self._by_content(func, often)
        elif kind is not types.BuiltinFunctionType or not _is_importable(func):
            return self._by_content(func, often)
        code, packed = self._known.get(func, (None, None))
        if packed is None or code is not mark:
            # It refers to nothing, so nothing has to be kept; and it must not keep its own key.
            packed = Function(*_packed(func), True)
            self._known[func] = mark, packed
        self._latest = func, mark, packed, sys.modules[func.__module__] if names is None else names
        return packed

    def _by_content(self, func: Callable[..., Any], often: bool) -> Function:
        """Return `func`, packed now, or as it was packed when it had the same content."""
        name, data, refs = _packed(func)
        if len(refs) > len(refs.kept):  # shared objects, which are the same whatever is in them
            packed = Function(name, data, refs, often, func)
            packed.numbered = is_seeded(func)
            return packed
        key = name, data if len(data) <= _SHORT_BYTES else fingerprint(data)
        contents = self._contents
        with self._lock:
            found = contents.get(key)
            if not isinstance(found, Function):
                # One for a single call is worth remembering when it comes for the second time.
                often = often or key in contents
                found = Function(name, data, refs, often)
                found.numbered = is_seeded(func)
                contents[key] = found if often else refs
                self._forget()
            contents.move_to_end(key)
            return found

    def _forget(self) -> None:
        """Let go of what hasn't been called for the longest time."""
        contents = self._contents
        if len(contents) > _REMEMBERED:
            contents.popitem(last=False)
        left = _KEPT_BYTES
        for key, known in reversed(list(contents.items())[:-1]):
            refs: Refs = known.kept[1] if isinstance(known, Function) else known
            left -= sum(frozen.nbytes for frozen in refs.kept)
            if left < 0 and refs.kept:
                del contents[key]


def _is_importable(func: Any) -> bool:
    """Tell whether workers find a function by its name, whatever has happened to it here."""
    module = sys.modules.get(func.__module__)
    return (
        module is not None
        and func.__module__ != "__main__"
        and _is_in(func, module)
        and getattr(module, "__spec__", None) is not None
    )


def _is_in(func: Any, module: Any) -> bool:
    return (
        getattr(module, func.__qualname__, None) is func
        and sys.modules.get(func.__module__) is module
    )


def _is_constant(func: Any, names: tuple[str, ...]) -> bool:
    """Tell whether packing a function again would give the same bytes, whatever happens.

    Args:
        func: written in Python.
        names: that it asks for.
    """
    if func.__closure__ or func.__defaults__ or func.__kwdefaults__ or func.__dict__:
        return False
    return not names or func.__globals__.keys().isdisjoint(names)
