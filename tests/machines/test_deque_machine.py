"""A shared deque does what a deque does, in any order of operations."""

from __future__ import annotations

from collections import deque
from typing import Any

from allcores.shared.deques import Deque
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from machinery import Counting, in_child, outcome, plain, run, same, travelled, values

indices = st.integers(-12, 12)
several = st.lists(values, max_size=6)


class DequeMachine(Counting):
    @initialize(items=several, most=st.none() | st.integers(0, 8))
    def start(self, items: list[Any], most: int | None) -> None:
        self.model = deque(items, most)
        self.shared = Deque(items, most)

    def both(self, method: str, *args: Any) -> None:
        expected = outcome(lambda: getattr(self.model, method)(*args))
        found = outcome(lambda: getattr(self.shared, method)(*args))
        if isinstance(expected, deque):
            expected, found = list(expected), list(found)
        assert same(found, expected), (method, found, expected)

    @rule(value=values, method=st.sampled_from(["append", "appendleft"]))
    def push(self, value: Any, method: str) -> None:
        self.both(method, value)

    @rule(method=st.sampled_from(["pop", "popleft", "reverse", "copy"]))
    def simply(self, method: str) -> None:
        self.both(method)

    @rule(items=several, method=st.sampled_from(["extend", "extendleft"]))
    def push_several(self, items: list[Any], method: str) -> None:
        self.both(method, tuple(items))

    @rule(steps=st.integers(-20, 20))
    def rotate(self, steps: int) -> None:
        self.both("rotate", steps)

    @rule(at=indices, value=values)
    def insert(self, at: int, value: Any) -> None:
        self.both("insert", at, value)

    @rule(at=indices, value=values)
    def put(self, at: int, value: Any) -> None:
        self.both("__setitem__", at, value)

    @rule(at=indices, method=st.sampled_from(["__getitem__", "__delitem__"]))
    def at(self, at: int, method: str) -> None:
        self.both(method, at)

    @rule(value=plain, method=st.sampled_from(["remove", "index", "count", "__contains__"]))
    def look_for(self, value: Any, method: str) -> None:
        self.both(method, value)

    @rule(times=st.integers(-1, 3))
    def multiply(self, times: int) -> None:
        if len(self.model) < 200:
            self.model *= times
            self.shared *= times

    @rule()
    def travel(self) -> None:
        self.shared = travelled(self.shared)

    @rule(items=several, moment=st.integers(0, 3000))
    def a_child_dies(self, items: list[Any], moment: int) -> None:
        shared = self.shared

        def work() -> None:
            for item in items:
                shared.append(item)

        before = list(self.model)
        in_child(work, moment)
        # It came to append some of them; nothing of a full deque is lost, or too much, by that.
        found = list(shared)
        possible = [deque(before + items[:done], self.model.maxlen) for done in range(7)]
        states = [list(state) for state in possible]
        assert any(same(found, state) for state in states), (found, states)
        self.model.clear()
        self.model.extend(found)

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "model"):
            assert len(self.shared) == len(self.model)
            assert self.shared.maxlen == self.model.maxlen
            assert same(list(self.shared), list(self.model))
            assert same(list(reversed(self.shared)), list(reversed(self.model)))


def test_a_shared_deque_is_a_deque() -> None:
    run(DequeMachine)
