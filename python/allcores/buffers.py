"""Large buffers on their way: copied into shared memory once, and received without a copy.

Pickle protocol 5 hands large buffers out beside the pickle. Each is frozen: copied into a block of
the arena that nobody writes to any more. It arrives as a private view of that block
(``_core.View``): the receiver reads the pages where they are and may write, which goes into copies
of single pages that nobody else sees. So neither the sender's object nor another receiver's is
ever affected. A view that nobody has written to is the block still, and is sent on as that.

What travels instead is an *envelope*, a pickle that calls `_open` with the inner pickle and the
places of the buffers. So every way that a pickle can go, buffers can, and who unpickles needs to
know nothing of them. Whoever sends holds the blocks until the message does (`Refs`).
"""

from __future__ import annotations

import pickle
import sys
from array import array
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from multiprocessing.reduction import ForkingPickler
from pickle import PickleBuffer
from struct import calcsize
from struct import error as struct_error
from typing import Any

from allcores import _core
from allcores.errors import StaleHandle

__all__ = ["LARGE", "LARGE_PICKLE", "Known", "Refs", "aside", "enclose", "reducers", "registered"]

# From how many bytes on a buffer is frozen: a mapping and its page faults cost about what copying
# so much in and out of a pickle does, and a block takes as much at least.
LARGE = 1 << 16
# From how many bytes on the pickle itself is: it would be copied three times more on its way, into
# memory that is new each time (a guess).
LARGE_PICKLE = 1 << 20
# How many buffers that were frozen lately are remembered (a guess).
_REMEMBERED = 64
# How many that tasks of a call share are kept until it is done (a guess).
_SHARED = 16
# How many a call holds in case they come again (a guess): some are copies that were made only to be
# sent, of arrays with gaps, and would be gone otherwise.
_LATELY = 8
# Pickling these runs nothing of the user's; nor do types of these libraries, but for objects in
# their arrays.
_PLAIN = frozenset(
    (type(None), bool, int, float, complex, str, bytes, bytearray, array, memoryview)
)
_LIBRARIES = frozenset(("numpy", "pandas", "pyarrow", "scipy"))
# In how many objects of a message others are looked for, before it is as cheap to compare (a
# guess).
_LOOKED_AT = 1000

Key = tuple[int, int]


class Refs(list[int]):
    """Offsets of the blocks that travel with a message, and what keeps them until it is sent.

    Attributes:
        kept: frozen blocks that nothing else may keep.
        nbytes: that were copied for it.
        shared: it is for many.
        known: what other messages of the call had, when none of that changes meanwhile.
        content: what is sent, where `known` is given.
    """

    # (Most messages need neither of them: no instance has its own before it does.)
    kept: list[_core.Frozen] | tuple[()] = ()
    nbytes = 0
    shared = False
    known: Known | None = None
    content: Any = None
    _settled: bool | None = None

    def keep(self, frozen: _core.Frozen, nbytes: int) -> None:
        """Have a frozen block travel along.

        Args:
            frozen: the block.
            nbytes: that were copied to make it.
        """
        self.append(frozen.offset)
        if not self.kept:
            self.kept = []
        self.kept.append(frozen)
        self.nbytes += nbytes

    def is_settled(self) -> bool:
        """Tell whether `content` is of such kinds that pickling it changes nothing in it."""
        if self._settled is None:
            self._settled = _is_settled(self.content)
        return self._settled


class Known:
    """Large buffers of one call whose input doesn't change: what tasks share is copied once.

    Of a buffer that comes again the block is kept until the call is done. Which one will can't be
    told, so one that comes for the first time is kept until the next: what comes for the second
    time after others is perhaps copied twice.

    That the input doesn't change is not enough: a ``__reduce__`` of the user's may fill the same
    array for each item. So what is in a message that might have one is compared first.
    """

    def __init__(self) -> None:
        # Each with the buffer, which is held so that nothing else can be at its address.
        self._shared: OrderedDict[Key, tuple[PickleBuffer, _core.Frozen]] = OrderedDict()
        self._lately: OrderedDict[Key, tuple[PickleBuffer, tuple[int, int, int]]] = OrderedDict()
        self._last: _core.Frozen | None = None

    def find(self, key: Key) -> _core.Frozen | None:
        """Return what a buffer was frozen as, if that is still there.

        Args:
            key: where the buffer is.
        """
        if key in self._shared:
            return self._shared[key][1]
        if key not in self._lately:
            return None
        buffer, handle = self._lately[key]
        try:
            frozen = _core.Frozen.from_handle(*handle, key[1])
        except StaleHandle:
            return None
        self._share(key, buffer, frozen)
        return frozen

    def add(self, key: Key, buffer: PickleBuffer, frozen: _core.Frozen) -> None:
        """Remember what a buffer was frozen as.

        Args:
            key: where it is.
            buffer: it.
            frozen: its copy.
        """
        if key in self._lately or key in self._shared:
            self._share(key, buffer, frozen)
            return
        self._last = frozen
        self._lately[key] = buffer, frozen.handle()
        if len(self._lately) > _LATELY:
            self._lately.popitem(last=False)

    def _share(self, key: Key, buffer: PickleBuffer, frozen: _core.Frozen) -> None:
        self._lately.pop(key, None)
        self._shared[key] = buffer, frozen
        if len(self._shared) > _SHARED:
            self._shared.popitem(last=False)


def aside(large: list[PickleBuffer]) -> Callable[[PickleBuffer], bool]:
    """Return a pickler's ``buffer_callback`` that puts large buffers aside.

    Args:
        large: gets them, in the order in which they will be asked for.
    """

    def callback(buffer: PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE:
            return True  # stays in the pickle
        large.append(buffer)
        return False

    return callback


def enclose(data: bytes, large: list[PickleBuffer], refs: Refs, all_beside: bool = False) -> bytes:
    """Freeze the buffers that were put aside, and return the pickle of the whole.

    Args:
        data: the pickle without them.
        large: what `aside` has put there.
        refs: gets the blocks.
        all_beside: a large pickle goes beside the envelope, too.

    Raises:
        MemoryError: there is no room for a buffer.
    """
    session = _core.session()
    places = [_freeze(buffer, refs) for buffer in large]
    content: bytes | tuple[int, int, int] = data
    if all_beside and len(data) >= LARGE_PICKLE:
        frozen = _core.freeze(data)
        refs.keep(frozen, len(data))
        content = (*frozen.handle()[1:], len(data))
    return pickle.dumps(_Envelope(content, session, places), 5)


Place = tuple[int, int, int, int, int, bool]


class _Envelope:
    def __init__(
        self, content: bytes | tuple[int, int, int], session: int, places: list[Place]
    ) -> None:
        self._all = content, session, places

    def __reduce__(self) -> Any:
        return _open, self._all


def _open(content: bytes | tuple[int, int, int], session: int, places: list[Place]) -> Any:
    """Return what was enclosed; the other side of `enclose`.

    Args:
        content: the pickle, or what it is frozen as: place, generation and size of the block.
        session: the arena's.
        places: of its buffers: offset and generation of the block, its size, where in it the buffer
            begins, the buffer's size, whether others are likely to get the same.
    """
    views = [
        _core.Frozen.from_handle(session, offset, generation, size).view(start, nbytes, shared)
        for offset, generation, size, start, nbytes, shared in places
    ]
    if isinstance(content, bytes):
        return pickle.loads(content, buffers=views)
    return pickle.loads(_core.Frozen.from_handle(session, *content), buffers=views)


# Handles of what was frozen lately, the latest last: sent again, it is compared with what is there
# instead of copied, which spares the memory and lets receivers know it again.
_recent: OrderedDict[Key, tuple[int, int, int]] = OrderedDict()


def _freeze(buffer: PickleBuffer, refs: Refs) -> Place:
    raw = buffer.raw()
    found = _core.find(raw)
    if found is not None:
        frozen, start = found
        refs.keep(frozen, 0)
        copied = False
    else:
        before = refs.nbytes
        frozen, start = _copy(buffer, raw, refs), 0
        copied = refs.nbytes > before
    _, offset, generation = frozen.handle()
    shared = refs.shared or not copied
    return offset, generation, frozen.nbytes, start, raw.nbytes, shared


def _copy(buffer: PickleBuffer, raw: memoryview, refs: Refs) -> _core.Frozen:
    key = _core.address(raw)
    known = refs.known
    before = None if known is None else known.find(key)
    if before is not None and refs.is_settled():
        refs.keep(before, 0)
        return before
    handle = None if before is not None else _recent.get(key)
    if handle is not None:
        try:
            before = _core.Frozen.from_handle(*handle, raw.nbytes)
        except StaleHandle:
            pass  # nobody has it any more
    frozen = _core.freeze(raw, before)
    refs.keep(frozen, 0 if frozen is before else raw.nbytes)
    if known is not None:
        known.add(key, buffer, frozen)
    try:
        _recent[key] = frozen.handle()
        _recent.move_to_end(key)
        if len(_recent) > _REMEMBERED:
            _recent.popitem(last=False)
    except KeyError:
        pass  # another thread was at it as well
    return frozen


def _is_settled(obj: Any) -> bool:
    waiting = [obj]
    for _ in range(_LOOKED_AT):
        if not waiting:
            return True
        value = waiting.pop()
        kind = type(value)
        if kind in (list, tuple, dict):
            if len(value) > _LOOKED_AT:
                return False
            waiting.extend(value)
            if kind is dict:
                waiting.extend(value.values())
        elif kind not in _PLAIN and (
            str(kind.__module__).partition(".")[0] not in _LIBRARIES
            or getattr(getattr(value, "dtype", None), "hasobject", False)
        ):
            return False
    return False


# What pickle itself copies, or can't do at all.


def _reduce_array(obj: array[Any]) -> Any:
    if obj.itemsize * len(obj) < LARGE:
        return obj.__reduce_ex__(5)
    return _array, (obj.typecode, PickleBuffer(obj))


def _array(typecode: str, buffer: Any) -> array[Any]:
    made = array(typecode)
    made.frombytes(memoryview(buffer).cast("B"))
    return made


def _reduce_memoryview(obj: memoryview) -> Any:
    try:
        _empty(obj.format, tuple(min(length, 1) for length in obj.shape or ()))
    except ValueError:
        # Said here, where the object is: who receives it could not even name it.
        raise TypeError(
            f"nothing makes a memoryview of format {obj.format!r} and shape {obj.shape} of bytes; "
            "send the object that it is a view of"
        ) from None
    if not obj.c_contiguous:
        return _memoryview, (obj.tobytes(), obj.format, obj.shape, obj.readonly)
    return _memoryview, (PickleBuffer(obj), obj.format, obj.shape, obj.readonly)


def _empty(form: str, shape: tuple[int, ...]) -> memoryview:
    """Return a view without items, for which `cast` would raise: a part of one that has some.

    Args:
        form: of the items.
        shape: its first length may be any; of the others none is 0.

    Raises:
        ValueError: there is no such view.
    """
    rest = shape[1:]
    if 0 in rest:
        raise ValueError("only the first length may be 0")
    try:
        one = memoryview(bytearray(calcsize(form) * prod(rest)))
    except struct_error as error:
        raise ValueError(str(error)) from None
    found: memoryview = one.cast(form, (1, *rest))[:0]  # type: ignore[call-overload]
    return found


def _memoryview(buffer: Any, form: str, shape: tuple[int, ...], readonly: bool) -> memoryview:
    if not readonly and isinstance(buffer, bytes):
        buffer = bytearray(buffer)
    view: memoryview = memoryview(buffer).cast("B")
    if 0 in shape:
        view = _empty(form, shape)
    elif form != "B" or len(shape) != 1:
        view = view.cast(form, shape)  # type: ignore[call-overload]
    return view.toreadonly() if readonly else view


def _reduce_ndarray(obj: Any) -> Any:
    if obj.nbytes < LARGE or obj.dtype.hasobject:
        return obj.__reduce_ex__(5)
    if not (obj.flags.c_contiguous or obj.flags.f_contiguous):
        obj = obj.copy()
    if obj.dtype.kind in "mM":  # times have no buffer
        return _times, (obj.view("i8"), obj.dtype)
    return obj.__reduce_ex__(5)


def _times(numbers: Any, dtype: Any) -> Any:
    return numbers.view(dtype)


_reducers: dict[type, Callable[[Any], Any]] = {
    array: _reduce_array,
    memoryview: _reduce_memoryview,
}


def reducers() -> dict[type, Callable[[Any], Any]]:
    """Return how objects are pickled whose own way would copy their memory, by type."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "ndarray"):  # (it may be just being imported)
        _reducers.setdefault(numpy.ndarray, _reduce_ndarray)
    return _reducers


def registered() -> dict[Any, Any]:
    """Return the reducers that were registered with the standard library, by type.

    Its own of `array.array` is left out: it is there once somebody has imported the managers, and
    copies the memory.
    """
    found: dict[Any, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    arrays = found.get(array)
    if arrays is None or arrays.__module__ != "multiprocessing.managers":
        return found
    return {kind: reduce for kind, reduce in list(found.items()) if kind is not array}
