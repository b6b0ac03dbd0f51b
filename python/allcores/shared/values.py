"""ctypes values and arrays in shared memory: Value, Array, RawValue and RawArray.

The memory is a block of the arena with a ctypes object over it, so every process reads and
writes the same bytes, and ``numpy.frombuffer(array.get_obj())`` is a live view of them. The
block lives as long as any process has an object over it.

All of them travel anywhere as handles: as an argument, through a queue, in a result, inside
other objects, to processes that were started before.
"""

from __future__ import annotations

import ctypes
import multiprocessing.sharedctypes
import operator
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any
from weakref import WeakKeyDictionary

from allcores import _core, pickling

__all__ = [
    "Array",
    "RawArray",
    "RawValue",
    "Synchronized",
    "SynchronizedArray",
    "SynchronizedBase",
    "SynchronizedString",
    "Value",
    "copy",
    "synchronized",
    "typecode_to_type",
]

# Its classes and what it knows of them, without their types.
_std: Any = multiprocessing.sharedctypes
typecode_to_type: dict[str, Any] = _std.typecode_to_type

# The type of every ctypes instance; typeshed has no public name for it.
_Data: Any = ctypes._SimpleCData.__mro__[1]


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """Return a ctypes object in shared memory, without a lock.

    Reading and writing it is as safe between processes as between threads in C: a single
    aligned number is, ``value.value += 1`` is not. For that use `Value` and its lock.

    Args:
        typecode_or_type: a typecode such as ``"i"`` or ``"d"``, or a ctypes type.
        *args: what the type is called with; without any it is zeroed.

    Raises:
        TypeError: no such typecode, no ctypes type, or `args` don't suit the type.
        allcores.errors.ArenaFull: there is no memory left.

    Example:
        >>> RawValue("d", 1.5).value
        1.5
    """
    value = _new(_ctype(typecode_or_type))
    value.__init__(*args)
    return value


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """Return a ctypes array in shared memory, without a lock.

    Args:
        typecode_or_type: a typecode such as ``"i"`` or ``"d"``, or a ctypes type, of an item.
        size_or_initializer: how many items, all zero, or a sequence of what is in it first.

    Raises:
        TypeError: no such typecode, no ctypes type, or the items don't suit the type.
        ValueError: the size is negative.
        allcores.errors.ArenaFull: there is no memory left.

    Example:
        >>> RawArray("i", [1, 2, 3])[:]
        [1, 2, 3]
    """
    item = _ctype(typecode_or_type)
    size = _size(size_or_initializer)
    if size is not None:
        return _new(item * size)
    # Arrays of numbers give Python's numbers by this, which ctypes wants.
    items = getattr(size_or_initializer, "tolist", lambda: size_or_initializer)()
    if not hasattr(items, "__len__"):
        raise TypeError(
            f"an array is made from its size or from a sequence, not from "
            f"{type(items).__name__}; make a list of it first"
        )
    array = _new(item * len(items))
    array.__init__(*items)
    return array


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """Return a ctypes object in shared memory behind a lock.

    Each single access takes the lock. What reads and writes needs it around both::

        with counter.get_lock():
            counter.value += 1

    Args:
        typecode_or_type: a typecode such as ``"i"`` or ``"d"``, or a ctypes type.
        *args: what the type is called with; without any it is zeroed.
        lock: True for an RLock of its own, False for no lock and no wrapper (a `RawValue`),
            or the lock to use.
        ctx: the context that makes the lock; None is the default one.

    Raises:
        TypeError: no such typecode, no ctypes type, or `args` don't suit the type.
        AttributeError: `lock` has no method ``acquire``.
        allcores.errors.ArenaFull: there is no memory left.
    """
    return _behind(lock, ctx, RawValue, typecode_or_type, *args)


def Array(
    typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None
) -> Any:
    """Return a ctypes array in shared memory behind a lock.

    Each access to an item or a slice takes the lock. ``"c"`` makes an array with `value` and
    `raw`, which are bytes.

    Args:
        typecode_or_type: a typecode such as ``"i"`` or ``"d"``, or a ctypes type, of an item.
        size_or_initializer: how many items, all zero, or a sequence of what is in it first.
        lock: True for an RLock of its own, False for no lock and no wrapper (a `RawArray`),
            or the lock to use.
        ctx: the context that makes the lock; None is the default one.

    Raises:
        TypeError: no such typecode, no ctypes type, or the items don't suit the type.
        ValueError: the size is negative.
        AttributeError: `lock` has no method ``acquire``.
        allcores.errors.ArenaFull: there is no memory left.
    """
    return _behind(lock, ctx, RawArray, typecode_or_type, size_or_initializer)


def copy(obj: Any) -> Any:
    """Return a copy of a ctypes object, in shared memory of its own and without a lock."""
    duplicate = _new(type(obj))
    ctypes.memmove(ctypes.addressof(duplicate), ctypes.addressof(obj), ctypes.sizeof(obj))
    return duplicate


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> SynchronizedBase:
    """Return a wrapper that accesses a shared ctypes object under a lock.

    Args:
        obj: what `RawValue`, `RawArray` or `copy` returned.
        lock: the lock to use; None makes an RLock.
        ctx: the context that makes the lock; None is the default one.
    """
    assert not isinstance(obj, _std.SynchronizedBase), "object already synchronized"
    if lock is None:
        lock = _rlock(ctx)
    if isinstance(obj, ctypes._SimpleCData):
        return Synchronized(obj, lock)
    if isinstance(obj, ctypes.Array):
        kind = SynchronizedString if obj._type_ is ctypes.c_char else SynchronizedArray
        return kind(obj, lock)
    return _struct_wrapper(type(obj))(obj, lock)


def _behind(lock: Any, ctx: Any, make: Callable[..., Any], *args: Any) -> Any:
    if lock not in (True, False, None) and not hasattr(lock, "acquire"):
        raise AttributeError(
            f"{lock!r} has no method 'acquire': lock has to be True, False, or a lock"
        )
    obj = make(*args)
    if lock is False:
        return obj
    return synchronized(obj, None if lock is True else lock, ctx)


def _rlock(ctx: Any) -> Any:
    if ctx is None:
        from allcores.context import default_context as ctx
    return ctx.RLock()


def _ctype(typecode_or_type: Any) -> Any:
    if isinstance(typecode_or_type, str):
        try:
            return typecode_to_type[typecode_or_type]
        except KeyError:
            codes = " ".join(typecode_to_type)
            raise TypeError(
                f"no typecode {typecode_or_type!r}; there are {codes} (as in the array module), "
                f"or give a ctypes type such as ctypes.c_int64"
            ) from None
    if isinstance(typecode_or_type, type) and issubclass(typecode_or_type, _Data):
        return typecode_or_type
    raise TypeError(
        f"need a typecode such as 'i' or a ctypes type such as ctypes.c_int64, "
        f"not {typecode_or_type!r}"
    )


def _size(size_or_initializer: Any) -> int | None:
    """Return the number of items that was asked for, or None for a sequence."""
    if hasattr(size_or_initializer, "__len__") or not hasattr(size_or_initializer, "__index__"):
        return None
    size = operator.index(size_or_initializer)
    if size < 0:
        raise ValueError(f"the size of an array must be 0 or more, not {size}")
    return size


#
# Memory, and how it travels
#


class _Memory:
    """The memory of a ctypes object, by the name that the standard library uses as well."""

    __slots__ = ("block",)

    def __init__(self, block: _core.Block) -> None:
        self.block = block

    def create_memoryview(self) -> memoryview:
        """Return the bytes."""
        return memoryview(self.block)

    def __reduce__(self) -> tuple[Any, ...]:
        pickling.note_sent(self.block.offset)
        return _open, (*self.block.handle(), self.block.nbytes)


def _open(session: int, offset: int, generation: int, nbytes: int) -> _Memory:
    return _Memory(_core.Block.from_handle(session, offset, generation, nbytes))


def _new(type_: Any) -> Any:
    return _over(type_, _Memory(_core.Block(ctypes.sizeof(type_))))


def _over(type_: Any, memory: _Memory) -> Any:
    """Return the ctypes object over the memory; it keeps the memory alive."""
    # All instances of a type travel the way that is registered for the type, wherever they
    # come from: ctypes has no hook of its own.
    if ForkingPickler._extra_reducers.get(type_) is not _reduce:  # type: ignore[attr-defined]
        ForkingPickler.register(type_, _reduce)
    obj = type_.from_buffer(memory.block)
    obj._wrapper = memory
    return obj


def _reduce(obj: Any) -> Any:
    """Reduce a ctypes object: ours to a handle, others as they would be without us."""
    memory = getattr(obj, "_wrapper", None)
    if isinstance(memory, _Memory):
        return _rebuild, (*_take_apart(type(obj)), memory)
    if memory is not None:
        return _std.reduce_ctype(obj)
    return obj.__reduce_ex__(2)


def _take_apart(type_: Any) -> tuple[Any, tuple[int, ...]]:
    """Return an array type as what can be imported by name, and lengths from the inside out."""
    lengths: list[int] = []
    while issubclass(type_, ctypes.Array):
        lengths.append(type_._length_)
        type_ = type_._type_
    return type_, tuple(reversed(lengths))


def _rebuild(type_: Any, lengths: tuple[int, ...], memory: _Memory) -> Any:
    for length in lengths:
        type_ = type_ * length
    return _over(type_, memory)


#
# Wrappers with a lock
#


def _locked_property(name: str) -> Any:
    """Return a property that reads and writes an attribute of the object under the lock."""

    def get(self: SynchronizedBase) -> Any:
        self.acquire()
        try:
            return getattr(self._obj, name)
        finally:
            self.release()

    def set(self: SynchronizedBase, value: Any) -> None:
        self.acquire()
        try:
            setattr(self._obj, name, value)
        finally:
            self.release()

    return property(get, set, doc=f"The object's `{name}`, read and written under the lock.")


class SynchronizedBase(_std.SynchronizedBase):  # type: ignore[misc]
    """A shared ctypes object and its lock; ``with`` holds the lock."""

    _obj: Any
    _lock: Any

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        self._obj = obj
        self._lock = _rlock(ctx) if lock is None else lock
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __reduce__(self) -> tuple[Any, ...]:
        return synchronized, (self._obj, self._lock)

    def get_obj(self) -> Any:
        """Return the ctypes object itself, without the lock."""
        return self._obj

    def get_lock(self) -> Any:
        """Return the lock."""
        return self._lock


class Synchronized(SynchronizedBase, _std.Synchronized):  # type: ignore[misc]
    """A shared ctypes value and its lock."""

    value = _core.LockedValue()


class SynchronizedArray(SynchronizedBase, _std.SynchronizedArray):  # type: ignore[misc]
    """A shared ctypes array and its lock."""

    def __len__(self) -> int:
        return len(self._obj)

    def __getitem__(self, index: Any) -> Any:
        with self._lock:
            return self._obj[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        with self._lock:
            self._obj[index] = value


class SynchronizedString(SynchronizedArray, _std.SynchronizedString):  # type: ignore[misc]
    """A shared array of `ctypes.c_char` and its lock."""

    value = _locked_property("value")
    raw = _locked_property("raw")


_struct_wrappers: WeakKeyDictionary[type, type[SynchronizedBase]] = WeakKeyDictionary()


def _struct_wrapper(type_: type) -> type[SynchronizedBase]:
    """Return the wrapper class for a structure: a property for each field."""
    wrapper = _struct_wrappers.get(type_)
    if wrapper is None:
        names = [
            field[0] for base in reversed(type_.__mro__) for field in vars(base).get("_fields_", ())
        ]
        properties = {name: _locked_property(name) for name in names}
        wrapper = type("Synchronized" + type_.__name__, (SynchronizedBase,), properties)
        _struct_wrappers[type_] = wrapper
    return wrapper
