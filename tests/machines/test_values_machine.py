"""Value and Array hold what the same ctypes objects in ordinary memory hold."""

from __future__ import annotations

import ctypes
from typing import Any

import allcores as mp
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from machinery import Counting, outcome, run, same, travelled

TYPES = {
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "i": ctypes.c_int,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
}

codes = st.sampled_from(sorted(TYPES))
# Those that don't fit as well: ctypes cuts integers, and refuses other types.
numbers = st.integers() | st.floats() | st.text(max_size=2)
indices = st.integers(-12, 12)
bounds = st.none() | indices
slices = st.builds(slice, bounds, bounds, st.none() | st.sampled_from([1, 2, -1]))


class ValueMachine(Counting):
    @initialize(code=codes, locked=st.booleans())
    def start(self, code: str, locked: bool) -> None:
        self.model: Any = TYPES[code]()
        self.shared: Any = mp.Value(code, lock=locked)

    @rule(number=numbers)
    def put(self, number: Any) -> None:
        expected = outcome(lambda: setattr(self.model, "value", number))
        assert outcome(lambda: setattr(self.shared, "value", number)) == expected

    @rule()
    def travel(self) -> None:
        self.shared = travelled(self.shared)

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "model"):
            assert same(self.shared.value, self.model.value)


class ArrayMachine(Counting):
    @initialize(code=codes, first=st.lists(st.integers(0, 100), max_size=20), locked=st.booleans())
    def start(self, code: str, first: list[int], locked: bool) -> None:
        self.model: Any = (TYPES[code] * len(first))(*first)
        self.shared: Any = mp.Array(code, first, lock=locked)

    def both(self, method: str, *args: Any) -> None:
        expected = outcome(lambda: getattr(self.model, method)(*args))
        assert same(outcome(lambda: getattr(self.shared, method)(*args)), expected)

    @rule(at=indices | slices)
    def get(self, at: int | slice) -> None:
        self.both("__getitem__", at)

    @rule(at=indices, number=numbers)
    def put(self, at: int, number: Any) -> None:
        self.both("__setitem__", at, number)

    @rule(at=slices, some=st.lists(st.integers(0, 100), max_size=8))
    def put_slice(self, at: slice, some: list[int]) -> None:
        self.both("__setitem__", at, some)

    @rule()
    def travel(self) -> None:
        self.shared = travelled(self.shared)

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "model"):
            assert len(self.shared) == len(self.model)
            assert same(self.shared[:], self.model[:])


def test_a_value_is_a_ctypes_value() -> None:
    run(ValueMachine)


def test_an_array_is_a_ctypes_array() -> None:
    run(ArrayMachine)
