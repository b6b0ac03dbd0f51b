"""A shared set does what a set does, in any order of operations."""

from __future__ import annotations

from typing import Any

from allcores.shared.sets import Set
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from machinery import Counting, in_child, outcome, plain, run, travelled

# Few of them, so that sets meet; and some of all kinds.
elements = st.integers(0, 9) | plain | st.tuples(plain, plain)
several = st.frozensets(elements, max_size=6)
OTHERS = ["update", "difference_update", "intersection_update", "symmetric_difference_update"]
OPERATORS = ["__ior__", "__iand__", "__isub__", "__ixor__"]
QUESTIONS = [
    "union",
    "intersection",
    "difference",
    "symmetric_difference",
    "isdisjoint",
    "issubset",
    "issuperset",
    "__or__",
    "__and__",
    "__sub__",
    "__xor__",
    "__eq__",
    "__ne__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
]


class SetMachine(Counting):
    @initialize(items=several)
    def start(self, items: Any) -> None:
        self.model = set(items)
        self.shared = Set(items)

    def both(self, method: str, *args: Any) -> None:
        expected = outcome(lambda: getattr(self.model, method)(*args))
        found = outcome(lambda: getattr(self.shared, method)(*args))
        if expected is self.model:
            expected, found = True, found is self.shared
        assert found == expected, (method, args, found, expected)

    @rule(
        element=elements | st.lists(plain, max_size=1),
        name=st.sampled_from(["add", "discard", "remove", "__contains__"]),
    )
    def one(self, element: Any, name: str) -> None:
        # A list is unhashable for either.
        self.both(name, element)

    @rule(others=st.lists(several, max_size=3), name=st.sampled_from(OTHERS[:3]))
    def several_others(self, others: Any, name: str) -> None:
        self.both(name, *others)

    @rule(other=several, name=st.sampled_from([*OTHERS, *OPERATORS, *QUESTIONS]))
    def another(self, other: Any, name: str) -> None:
        self.both(name, other)

    @rule(other=several, name=st.sampled_from([*OTHERS, *OPERATORS, *QUESTIONS]))
    def another_shared_one(self, other: Any, name: str) -> None:
        expected = outcome(lambda: getattr(self.model, name)(set(other)))
        found = outcome(lambda: getattr(self.shared, name)(Set(other)))
        assert found == expected or (found is self.shared and expected is self.model)

    @rule(name=st.sampled_from([*OTHERS, *OPERATORS, *QUESTIONS]))
    def itself(self, name: str) -> None:
        expected = outcome(lambda: getattr(self.model, name)(self.model))
        found = outcome(lambda: getattr(self.shared, name)(self.shared))
        assert found == expected or (found is self.shared and expected is self.model)

    @rule(other=several, name=st.sampled_from(["__ror__", "__rand__", "__rsub__", "__rxor__"]))
    def behind_another(self, other: Any, name: str) -> None:
        self.both(name, set(other))

    @rule()
    def pop(self) -> None:
        found = outcome(self.shared.pop)
        assert found is KeyError if not self.model else found in self.model
        self.model.discard(found)

    @rule()
    def clear(self) -> None:
        self.both("clear")

    @rule()
    def travel(self) -> None:
        self.shared = travelled(self.shared)

    @rule(items=several, moment=st.integers(0, 3000))
    def a_child_dies(self, items: Any, moment: int) -> None:
        shared = self.shared
        in_child(lambda: shared.update(items), moment)
        assert self.model <= shared <= self.model | items
        self.model |= items
        self.shared |= items

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "model"):
            assert len(self.shared) == len(self.model)
            assert set(self.shared) == self.model
            assert self.shared == self.model


def test_a_shared_set_is_a_set() -> None:
    run(SetMachine)
