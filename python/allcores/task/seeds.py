"""Random numbers that depend on nothing but a seed and an item's index.

With ``seed=`` the items of a call travel with their indices (`Numbered`), and the function in a
wrapper that gives each item states of its own of `random` and `numpy.random` while it runs. Which
worker does it, with what before it, in which task and in which engine, makes no difference then.

Where items run in threads of one process these have one `random` between them. So they take turns,
item by item.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from hashlib import blake2b
from itertools import count
from typing import Any

# The bytes of an item: of its number, of the seed of `random`, of that of `numpy.random`. Three
# parts, since the two generators are the same one and would give the same numbers for one seed.
_NUMBER, _RANDOM, _NUMPY = slice(0, 8), slice(8, 24), slice(24, 40)
# What every library takes for a seed: not negative as a C long.
_NUMBER_BITS = 63


class _Item:
    """An item that runs.

    Attributes:
        number: its own.
        turn: held in turns by the items of seeded calls that it makes itself.
    """

    __slots__ = ("number", "turn")

    def __init__(self, number: int) -> None:
        self.number = number
        self.turn = threading.RLock()


_running: ContextVar[_Item | None] = ContextVar("allcores_item", default=None)
# Held by the item of this process whose states are the current ones.
_turn = threading.RLock()


def _renew() -> None:
    global _turn
    # A thread that isn't here any more may have held them.
    _turn = threading.RLock()
    item = _running.get()
    if item is not None:
        item.turn = threading.RLock()


os.register_at_fork(after_in_child=_renew)


def task_seed() -> int:
    """Return a number to seed a generator with, in a task.

    With ``seed=`` it is the item's own: the same at each call and in each run, and another for
    every other item. Anywhere else it is a new one at each call, from the system's entropy.

    Returns:
        From 0 to 2**63 - 1. What takes no more than 32 bits gets ``task_seed() % 2**32``.

    Example:
        >>> import allcores, random
        >>> with allcores.Pool(2) as pool:
        ...     pool.apply(lambda: random.Random(allcores.task_seed()).randrange(100), seed=1)
        43
    """
    item = _running.get()
    return secrets.randbits(_NUMBER_BITS) if item is None else item.number


def check(seed: object) -> int | None:
    """Return a call's seed as an int.

    Args:
        seed: what the user gave.

    Raises:
        TypeError: neither a whole number nor None.
    """
    if seed is None or type(seed) is int:
        return seed
    index = getattr(type(seed), "__index__", None)
    if index is None or isinstance(seed, bool):
        raise TypeError(
            f"seed must be a whole number or None, not {type(seed).__name__}; "
            "int.from_bytes(text.encode()) makes one of a text"
        )
    return int(index(seed))


class Numbered:
    """Items and their indices; can be sliced, and travels as what it was made of.

    Args:
        items: has a length and can be sliced.
        start: the index of the first.
    """

    __slots__ = ("items", "start")

    def __init__(self, items: Any, start: int = 0) -> None:
        self.items = items
        self.start = start

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return zip(count(self.start), self.items, strict=False)

    def __getitem__(self, at: Any) -> Any:
        if type(at) is slice:
            first, _, _ = at.indices(len(self.items))
            return Numbered(self.items[at], self.start + first)
        return self.start + at, self.items[at]

    def __reduce__(self) -> Any:
        return Numbered, (self.items, self.start)


class Seeded:
    """A function that gives each call its states of the random number generators.

    Args:
        func: the user's.
        seed: of the whole call.
    """

    # In a process of the user's all of numpy's state is put back; see `_numpy_state`.
    _is_guest = True

    def __init__(self, func: Callable[..., Any], seed: int) -> None:
        self.func = func
        self.seed = seed
        self.__qualname__ = getattr(func, "__qualname__", None) or repr(func)
        # Items of a call that an item makes wait for each other, not for that one, which may
        # wait for them.
        outer = _running.get()
        self._turn = _turn if outer is None else outer.turn
        self._hash = blake2b(b"%x:" % seed, digest_size=40, person=b"allcores.task")

    def __reduce__(self) -> Any:
        return _arrive, (type(self), self.func, self.seed)

    def __call__(self, numbered: tuple[int, Any]) -> Any:
        """Call the function with an item.

        Args:
            numbered: its index and the item.
        """
        index, item = numbered
        with self._item(index):
            return self.func(item)

    @contextmanager
    def _item(self, index: int) -> Iterator[None]:
        """Have the states of an item.

        Args:
            index: which.
        """
        hasher = self._hash.copy()
        hasher.update(b"%x" % index)
        digest = hasher.digest()
        number = int.from_bytes(digest[_NUMBER], "little") >> 64 - _NUMBER_BITS
        with self._turn, _numpy_state(digest[_NUMPY], self._is_guest):
            before = random.getstate()
            token = _running.set(_Item(number))
            try:
                random.seed(int.from_bytes(digest[_RANDOM], "little"))
                yield
            finally:
                _running.reset(token)
                random.setstate(before)


class SeededStar(Seeded):
    """A function that is called with an item's parts."""

    def __call__(self, index: int, item: Any) -> Any:  # type: ignore[override]
        """Call the function.

        Args:
            index: of the item.
            item: what the arguments are taken from.
        """
        with self._item(index):
            return self.func(*item)


class SeededCall(Seeded):
    """A function that is called once.

    Args:
        func: the user's.
        seed: of the call, or of all those that it is one of.
        index: which of them it is.
    """

    def __init__(self, func: Callable[..., Any], seed: int, index: int = 0) -> None:
        super().__init__(func, seed)
        self.index = index

    def __reduce__(self) -> Any:
        return _arrive, (type(self), self.func, self.seed, self.index)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
        """
        with self._item(self.index):
            return self.func(*args, **kwargs)


def _arrive(kind: type[Seeded], func: Callable[..., Any], *more: int) -> Seeded:
    """Make the function of a call again, in a worker."""
    seeded = kind(func, *more)
    seeded._is_guest = False
    _find_numpy()
    return seeded


# numpy.random

_unset: Any = object()
_numpy: Any = _unset
# Generators for items, and their bit generators: one is in use for each item that runs, and an
# item may make seeded calls of its own.
_spare: list[tuple[Any, Any]] = []


def _find_numpy() -> Any:
    """Return numpy.random, if there is one.

    It is imported even if nothing has done so: the function may, in the middle of an item, and
    would have a state that nobody has seeded.
    """
    global _numpy
    if _numpy is _unset:
        try:
            import numpy.random as _numpy
        except Exception:  # a broken installation raises anything
            _numpy = None
    return _numpy


def _numpy_state(seed: bytes, is_guest: bool) -> AbstractContextManager[None]:
    """Have a state of numpy.random.

    Args:
        seed: its bytes.
        is_guest: whether the state before is somebody's.
    """
    numpy = _find_numpy()
    if numpy is None:
        return nullcontext()
    # The generator of the module's functions works on another state meanwhile: 7 µs where saving
    # and restoring its own takes 60.
    if hasattr(numpy, "set_bit_generator"):
        return _numpy_lent(numpy, seed, is_guest)
    return _numpy_saved(numpy, seed)


@contextmanager
def _numpy_lent(numpy: Any, seed: bytes, is_guest: bool) -> Iterator[None]:
    before = numpy.get_bit_generator()
    # The one thing that is lost with an exchange: the second of a pair of normal deviates. (In a
    # worker there is nobody who would miss it, and looking takes 28 µs.)
    kept = None
    if is_guest and type(before) is numpy.MT19937:
        state = numpy.get_state(legacy=False)
        kept = state if state["has_gauss"] else None
    try:
        generator, bits = _spare.pop()
    except IndexError:
        bits = numpy.MT19937(0)
        generator = numpy.RandomState(bits)
    generator.seed(_words(seed))
    try:
        numpy.set_bit_generator(bits)
        yield
    finally:
        numpy.set_bit_generator(before)
        if kept is not None:
            numpy.set_state(kept)
        _spare.append((generator, bits))


@contextmanager
def _numpy_saved(numpy: Any, seed: bytes) -> Iterator[None]:
    before = numpy.get_state()
    try:
        numpy.seed(_words(seed))
        yield
    finally:
        numpy.set_state(before)


def _words(seed: bytes) -> list[int]:
    return [int.from_bytes(seed[i : i + 4], "little") for i in range(0, len(seed), 4)]
