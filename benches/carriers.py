"""How each library is told to bring a NumPy array of numbers to a worker, and one back.

Where the item isn't the array it has `sum` as arrays do, which the task calls.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

Carry = Callable[[Any], AbstractContextManager[Any]]


def ones(count: int) -> Any:
    """The array that all send."""
    return importlib.import_module("numpy").ones(count)


def _last(array: Any) -> float:
    return float(array[-1])


class Carrier(NamedTuple):
    """The ways of a library.

    Attributes:
        once: makes the item of an ordinary array, for a single map.
        put: of an ordinary array, for many.
        shared: of an array that was made to be shared.
        made: what a worker returns for an array of so many ones, made by it.
        last: the last number of that.
    """

    once: Carry = nullcontext
    put: Carry = nullcontext
    shared: Carry = nullcontext
    made: Callable[[int], Any] = ones
    last: Callable[[Any], float] = _last


def _allcores(name: str) -> Carry:
    return lambda array: nullcontext(getattr(importlib.import_module("allcores"), name)(array))


def _tensor(array: Any) -> Any:
    return importlib.import_module("torch").from_numpy(array)


def _tensor_of_ones(count: int) -> Any:
    return _tensor(ones(count))


def _shared_tensor(array: Any) -> Any:
    return nullcontext(_tensor(array).share_memory_())


class Handle(NamedTuple):
    """An array in a shared memory that has a name."""

    name: str
    length: int

    def sum(self) -> float:
        with _memory(self.name) as memory:
            return float(_view(memory, self.length).sum())


def _memory(name: str | None = None, **options: Any) -> Any:
    """The memory; it is closed afterwards, so no array of it may be left."""
    module = importlib.import_module("multiprocessing.shared_memory")
    return contextlib.closing(module.SharedMemory(name, **options))


def _view(memory: Any, count: int) -> Any:
    return importlib.import_module("numpy").ndarray(count, buffer=memory.buf)


def _copied(array: Any) -> Handle:
    with _memory(create=True, size=array.nbytes) as memory:
        _view(memory, len(array))[:] = array
        return Handle(memory.name, len(array))


@contextmanager
def _by_name(array: Any) -> Iterator[Handle]:
    handle = _copied(array)
    try:
        yield handle
    finally:
        with _memory(handle.name) as memory:
            memory.unlink()


def _ones_by_name(count: int) -> Handle:
    return _copied(ones(count))


def _last_by_name(handle: Handle) -> float:
    with _memory(handle.name) as memory:
        memory.unlink()
        return float(_view(memory, handle.length)[-1])


PLAIN = Carrier()
ALLCORES = Carrier(put=_allcores("put"), shared=_allcores("shared_array"))
# A tensor's memory is moved into shared memory when it is sent for the first time.
TORCH = Carrier(
    lambda array: nullcontext(_tensor(array)), _shared_tensor, _shared_tensor, _tensor_of_ones
)
BY_HAND = Carrier(_by_name, _by_name, _by_name, _ones_by_name, _last_by_name)
