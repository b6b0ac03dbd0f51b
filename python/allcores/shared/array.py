"""NumPy arrays that all processes see live: `shared_array`."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any

from allcores import _core, pickling

try:
    import numpy as np
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "shared_array makes NumPy arrays, and NumPy is not installed: pip install numpy. Array and "
        "RawArray need none",
        name=error.name,
    ) from None

__all__ = ["SharedArray", "shared_array"]


class SharedArray(np.ndarray[Any, Any]):
    """An array in shared memory: what one process writes, all others see.

    It travels as a handle, and so do its slices and other views: who receives one has the same
    memory. That lives as long as any process has an array over it. What is computed from it
    (``a + 1``, ``a[a > 0]``) is an ordinary array. Nothing guards it: processes that write to the
    same items need a lock.
    """

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        if array is self:  # ``a += 1``
            return array
        return array[()] if return_scalar else array.view(np.ndarray)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if type(found) is SharedArray and _block_of(found) is None:
            return found.view(np.ndarray)  # a copy, as from a list of indices
        return found

    def __reduce_ex__(self, protocol: Any) -> Any:
        block = _block_of(self)
        if block is None:
            return self.view(np.ndarray).__reduce_ex__(protocol)
        pickling.note_sent(block.offset)
        begin = self.__array_interface__["data"][0] - _core.address(block)[0]
        numbers = (*block.handle(), block.nbytes)
        writeable = self.flags.writeable
        return _open, (numbers, begin, self.shape, self.strides, self.dtype, writeable)


def _block_of(array: Any) -> _core.Block | None:
    """Return the shared memory that an array is in; None for one that is elsewhere."""
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, _core.Block) else None


def _open(
    numbers: tuple[int, int, int, int],
    begin: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
    writeable: bool,
) -> SharedArray:
    block: Any = _core.Block.from_handle(*numbers)
    array = SharedArray(shape, dtype, block, begin, strides)
    array.flags.writeable = writeable
    return array


def shared_array(shape_or_array: Any, dtype: Any = None) -> SharedArray:
    """Return a NumPy array in shared memory, that every process sees live.

    Args:
        shape_or_array: an int or a tuple of ints is a shape, and the array is zero at first;
            anything else (an array, a list) is the content, which is copied, in its memory order.
        dtype: type of the items; None takes the content's, or ``float64``. Objects can't be
            shared: put them into ``Manager().list()``.

    Raises:
        TypeError: items that are Python objects.
        ValueError: a negative length, or content of no regular shape.
        MemoryError: there is no room for it.

    Example:
        >>> numbers = shared_array((2, 3), "i4")
        >>> numbers[0] = 7
        >>> int(numbers.sum())
        21
    """
    content = None
    shape = _shape(shape_or_array)
    order: Any = "C"
    if shape is None:
        content = np.asarray(shape_or_array, dtype)
        shape, dtype = content.shape, content.dtype
        if content.flags.f_contiguous and not content.flags.c_contiguous:
            order = "F"
    found = np.dtype(dtype)
    if found.hasobject:
        raise TypeError(
            f"an array of {found} holds Python objects, which are in one process's memory only; "
            "use a dtype of numbers or of texts of a fixed length ('U20'), or put the objects into "
            "Manager().list()"
        )
    if any(length < 0 for length in shape):
        raise ValueError(f"lengths of a shape must be 0 or more, not {shape}")
    # (What no word can hold is as much too large.)
    nbytes = min(max(1, math.prod(shape) * found.itemsize), sys.maxsize)
    block: Any = _core.Block(nbytes)
    array = SharedArray(shape, found, block, 0, None, order)
    if content is not None:
        array[...] = content
    return array


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape that was asked for; None for content."""
    if isinstance(value, tuple):
        try:
            return tuple(operator.index(length) for length in value)
        except TypeError:
            return None
    if hasattr(value, "__index__") and not hasattr(value, "__len__"):
        return (operator.index(value),)
    return None
