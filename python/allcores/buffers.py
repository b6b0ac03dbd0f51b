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
from array import array
from collections import OrderedDict
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any

from allcores import _core
from allcores.errors import StaleHandle

__all__ = ["LARGE", "REDUCERS", "Refs", "aside", "enclose"]

# From how many bytes on a buffer is frozen: a mapping and its page faults cost about what copying
# so much in and out of a pickle does, and a block takes as much at least.
LARGE = 1 << 16
# How many buffers that were frozen lately are remembered (a guess).
_REMEMBERED = 64

Key = tuple[int, int]


class Refs(list[int]):
    """Offsets of the blocks that travel with a message, and what keeps them until it is sent.

    Attributes:
        kept: frozen blocks that nothing else may keep.
        nbytes: that were copied for it.
        known: buffers that can't change as long as this is used, by `_core.address`; None when
            any may.
    """

    # (Most messages need neither of them: no instance has its own before it does.)
    kept: list[_core.Frozen] | tuple[()] = ()
    nbytes = 0
    known: dict[Key, PickleBuffer] | None = None

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


def enclose(data: bytes, large: list[PickleBuffer], refs: Refs) -> bytes:
    """Freeze the buffers that were put aside, and return the pickle of the whole.

    Args:
        data: the pickle without them.
        large: what `aside` has put there.
        refs: gets the blocks.

    Raises:
        MemoryError: there is no room for a buffer.
    """
    session = _core.session()
    return pickle.dumps(_Envelope(data, session, [_freeze(buffer, refs) for buffer in large]), 5)


Place = tuple[int, int, int, int, int]


class _Envelope:
    def __init__(self, data: bytes, session: int, places: list[Place]) -> None:
        self._all = data, session, places

    def __reduce__(self) -> Any:
        return _open, self._all


def _open(data: bytes, session: int, places: list[Place]) -> Any:
    """Return what was enclosed; the other side of `enclose`.

    Args:
        data: the pickle.
        session: the arena's.
        places: of its buffers: offset and generation of the block, its size, where in it the buffer
            begins, the buffer's size.
    """
    views = [
        _core.Frozen.from_handle(session, offset, generation, size).view(start, nbytes)
        for offset, generation, size, start, nbytes in places
    ]
    return pickle.loads(data, buffers=views)


# Handles of what was frozen lately, the latest last: sent again, it is compared with what is there
# instead of copied, which spares the memory and lets receivers know it again.
_recent: OrderedDict[Key, tuple[int, int, int]] = OrderedDict()


def _freeze(buffer: PickleBuffer, refs: Refs) -> Place:
    raw = buffer.raw()
    found = _core.find(raw)
    if found is not None:
        frozen, start = found
        refs.keep(frozen, 0)
    else:
        key = _core.address(raw)
        frozen, start = _copy(raw, key, refs), 0
        if refs.known is not None:
            if len(refs.known) >= _REMEMBERED:
                refs.known.clear()
            refs.known[key] = buffer  # held, so that nothing else can be at that address
    _, offset, generation = frozen.handle()
    return offset, generation, frozen.nbytes, start, raw.nbytes


def _copy(raw: memoryview, key: Key, refs: Refs) -> _core.Frozen:
    before = None
    handle = _recent.get(key)
    if handle is not None:
        try:
            before = _core.Frozen.from_handle(*handle, raw.nbytes)
        except StaleHandle:
            pass  # nobody has it any more
    if before is not None and refs.known is not None and key in refs.known:
        refs.keep(before, 0)
        return before
    frozen = _core.freeze(raw, before)
    refs.keep(frozen, 0 if frozen is before else raw.nbytes)
    _recent[key] = frozen.handle()
    _recent.move_to_end(key)
    while len(_recent) > _REMEMBERED:
        try:
            _recent.popitem(last=False)
        except KeyError:
            break  # another thread was faster
    return frozen


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
    if not obj.contiguous or not obj.c_contiguous:
        return _memoryview, (obj.tobytes(), obj.format, obj.shape, obj.readonly)
    return _memoryview, (PickleBuffer(obj), obj.format, obj.shape, obj.readonly)


def _memoryview(buffer: Any, form: str, shape: tuple[int, ...], readonly: bool) -> memoryview:
    if not readonly and isinstance(buffer, bytes):
        buffer = bytearray(buffer)
    view = memoryview(buffer).cast("B")
    if form != "B" or len(shape) != 1:
        view = view.cast(form, shape)  # type: ignore[call-overload]
    return view.toreadonly() if readonly else view


REDUCERS: dict[type, Callable[[Any], Any]] = {
    array: _reduce_array,
    memoryview: _reduce_memoryview,
}
