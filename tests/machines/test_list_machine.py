"""A shared list does what a list does, in any order of operations."""

from __future__ import annotations

from typing import Any

import allcores as mp
from allcores.shared.lists import List
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from machinery import Counting, in_child, kind, outcome, plain, run, same, travelled, values

indices = st.integers(-12, 12) | st.integers()
bounds = st.none() | indices
slices = st.builds(slice, bounds, bounds, st.none() | st.integers(-3, 3))
several = st.lists(values, max_size=6)


class ListMachine(Counting):
    @initialize(items=several)
    def start(self, items: list[Any]) -> None:
        self.model = list(items)
        self.shared = List(items)
        self.other = List(["inside"])

    def both(self, method: str, *args: Any, **kwargs: Any) -> None:
        expected = outcome(lambda: getattr(self.model, method)(*args, **kwargs))
        found = outcome(lambda: getattr(self.shared, method)(*args, **kwargs))
        assert same(found, expected), (method, found, expected)

    @rule(value=values)
    def append(self, value: Any) -> None:
        self.both("append", value)

    @rule()
    def append_a_shared_one(self) -> None:
        self.both("append", self.other)

    @rule(value=values, times=st.integers(100, 300))
    def append_many(self, value: Any, times: int) -> None:
        self.both("extend", [value] * times)

    @rule(items=several)
    def extend(self, items: list[Any]) -> None:
        self.both("extend", tuple(items))

    @rule(at=indices, value=values)
    def insert(self, at: int, value: Any) -> None:
        self.both("insert", at, value)

    @rule(at=indices)
    def get(self, at: int) -> None:
        self.both("__getitem__", at)

    @rule(at=slices)
    def get_slice(self, at: slice) -> None:
        self.both("__getitem__", at)

    @rule(at=indices, value=values)
    def put(self, at: int, value: Any) -> None:
        self.both("__setitem__", at, value)

    @rule(at=slices, items=several)
    def put_slice(self, at: slice, items: list[Any]) -> None:
        self.both("__setitem__", at, items)

    @rule(at=indices | slices)
    def delete(self, at: int | slice) -> None:
        self.both("__delitem__", at)

    @rule(at=indices)
    def pop(self, at: int) -> None:
        self.both("pop", at)

    @rule(value=plain, method=st.sampled_from(["remove", "index", "count", "__contains__"]))
    def look_for(self, value: Any, method: str) -> None:
        self.both(method, value)

    @rule(at=st.integers(0, 12), method=st.sampled_from(["remove", "index", "count"]))
    def look_for_one_that_is_there(self, at: int, method: str) -> None:
        # NaN is not equal to itself when it comes back as another object.
        if at < len(self.model) and isinstance(self.model[at], (int, str, bytes)):
            self.both(method, self.model[at])

    @rule(reverse=st.booleans())
    def sort(self, reverse: bool) -> None:
        # Not by the text itself: equal frozensets may have their elements in another order.
        self.both(
            "sort", key=lambda value: (kind(value).__name__, len(repr(value))), reverse=reverse
        )

    @rule(times=st.integers(-1, 3))
    def multiply(self, times: int) -> None:
        if len(self.model) < 500:
            self.model *= times
            self.shared *= times

    @rule()
    def reverse(self) -> None:
        self.both("reverse")

    @rule()
    def clear(self) -> None:
        self.both("clear")

    @rule()
    def travel(self) -> None:
        self.shared = travelled(self.shared)

    @rule(items=several, moment=st.integers(0, 3000))
    def a_child_dies(self, items: list[Any], moment: int) -> None:
        shared = self.shared

        def work() -> None:
            for item in items:
                shared.append(item)

        before = len(self.model)
        in_child(work, moment)
        # It came to append some of them; the rest is ours.
        done = len(shared) - before
        assert 0 <= done <= len(items)
        self.model.extend(items)
        shared.extend(items[done:])

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "model"):
            assert len(self.shared) == len(self.model)
            assert same(self.shared[:], self.model)
            assert same(list(self.shared), self.model)


def test_a_shared_list_is_a_list() -> None:
    run(ListMachine)


def test_a_managers_list_is_a_list() -> None:
    """The one that programs get, which is the same class or a subclass of it."""
    with mp.Manager() as manager:
        assert isinstance(manager.list(), List)
