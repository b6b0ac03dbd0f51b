"""A shared dict does what a dict does, with any keys, in any order of operations."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import pathlib
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import allcores as mp
from allcores.shared.dicts import Dict
from allcores.shared.lists import List
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from machinery import Counting, in_child, outcome, run, same, travelled, values


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Place(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


class Name:
    """One that only its own `__eq__` can compare."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and other.text.lower() == self.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())

    def __repr__(self) -> str:
        return f"Name({self.text!r})"


UTC = datetime.UTC
EAST = datetime.timezone(datetime.timedelta(hours=2))
NOON = datetime.datetime(2026, 11, 22, 12)
LATER = NOON + datetime.timedelta(hours=2)
# Those of a line are equal to each other, or look as if they were.
FAMILIES: list[list[Any]] = [
    [0, 0.0, -0.0, False, Decimal(0), Fraction(0), 0j, Decimal("-0"), None, "", b"", (), ...],
    [1, 1.0, True, Decimal("1.00"), Fraction(1), 1 + 0j, complex(1, -0.0), Level.LOW, "1", (1,)],
    [2, Level.HIGH, Decimal(2), Right.WRITE, 0.5, Fraction(1, 2), Decimal("0.5"), 0.5 + 0j, 0.5j],
    [0.1, Decimal("0.1"), Fraction(1, 10), Decimal.from_float(0.1), Fraction(1, 3), -1, -2, 1j],
    [2**53, 2.0**53, 2**53 + 1, 2**61 - 1, 2**61, -(2**61), 2.0**61, 2**63, 2.0**63, 2**64],
    [10**40, 1e40, Decimal(10**40), Fraction(10**40), 10**400, Decimal("1e400"), 5e-324],
    [float("inf"), Decimal("inf"), -float("inf"), Decimal("-inf"), "inf", 10**400],
    ["a", b"a", "é" * 300, "w", "\ud800", "a\0", b"a\0", "12345678", b"12345678", "é", "e\u0301"],
    [Color.RED, Color.BLUE, Right.READ, Right.READ | Right.WRITE, 1, "blue", int, Name, len],
    [(1,), (True,), (1.0, "a"), (1, "a"), ((1,), 2), Place(1, 2), (1, 2), (1, (2.0,)), (1, 2.0)],
    [frozenset(), frozenset([1, 2]), frozenset([2.0, True]), frozenset("ab"), (frozenset([1]),)],
    [NOON, NOON.date(), NOON.time(), NOON.replace(fold=1), str(NOON), NOON.time().replace(fold=1)],
    [NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=EAST), LATER.replace(tzinfo=EAST), LATER, NOON],
    [NOON.time().replace(tzinfo=UTC), LATER.time().replace(tzinfo=EAST), LATER.time()],
    [datetime.timedelta(1), datetime.timedelta(hours=24), datetime.timedelta(0), 86400, 0],
    [uuid.UUID(int=1), 1, pathlib.PurePosixPath("a/b"), pathlib.PurePosixPath("a//b"), "a/b"],
    [range(0), range(3, 3), range(0, 3, 2), range(0, 4, 2), range(1), (0,), (0, 2)],
    [Point(1), Point(1.0), Point("a", (1, 2)), Point("a", (True, 2.0)), (1, 0), Point(1, 0)],
    [Name("a"), Name("A"), Name("b"), (Name("a"), 1), (Name("A"), True), frozenset([Name("a")])],
]
POOL = [key for family in FAMILIES for key in family]
# Each sequence has a few families, so that relatives meet.
known = st.shared(st.lists(st.sampled_from(FAMILIES), min_size=1, max_size=3), key="families")
relatives = known.flatmap(lambda families: st.sampled_from(families).flatmap(st.sampled_from))

numbers = (
    st.integers()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.fractions()
    | st.decimals(allow_nan=False, places=3)
    | st.integers(-3, 3).map(Decimal)
    | st.integers(-6, 6).map(lambda n: Fraction(n, 2))
)
simple = numbers | st.text(max_size=9) | st.binary(max_size=9) | st.sampled_from(POOL)
some_keys = st.recursive(
    simple,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
keys = relatives | relatives | relatives | st.sampled_from(POOL) | some_keys
GONE = object()  # stands for a deletion
pairs = st.lists(st.tuples(keys, values), max_size=5)


def alike(a: Any, b: Any) -> bool:
    """Whether two plain dicts have the same keys and values in the same order."""
    return same(list(a.items()), list(b.items()))


class DictMachine(Counting):
    @initialize(items=pairs)
    def start(self, items: list[tuple[Any, Any]]) -> None:
        self.model: dict[Any, Any] = dict(items)
        self.shared = Dict(items)
        self.other = List(["inside"])

    def both(self, method: str, *args: Any) -> None:
        expected = outcome(lambda: getattr(self.model, method)(*args))
        found = outcome(lambda: getattr(self.shared, method)(*args))
        assert same(found, expected), (method, args, found, expected)

    @rule(key=keys, value=values)
    def put(self, key: Any, value: Any) -> None:
        self.both("__setitem__", key, value)

    @rule(family=st.sampled_from(FAMILIES).flatmap(st.permutations), n=st.integers(2, 20))
    def put_relatives(self, family: list[Any], n: int) -> None:
        for i, key in enumerate(family[:n]):
            self.both("__setitem__", key, i)

    @rule(key=keys)
    def put_a_shared_one(self, key: Any) -> None:
        self.both("__setitem__", key, self.other)

    @rule(key=keys, method=st.sampled_from(["get", "__getitem__", "__contains__", "__delitem__"]))
    def look_or_delete(self, key: Any, method: str) -> None:
        self.both(method, key)

    @rule(at=st.integers(0, 30), method=st.sampled_from(["__getitem__", "pop", "__delitem__"]))
    def one_that_is_there(self, at: int, method: str) -> None:
        if at < len(self.model):
            self.both(method, list(self.model)[at])

    @rule(key=keys, default=values)
    def pop(self, key: Any, default: Any) -> None:
        self.both("pop", key)
        self.both("pop", key, default)

    @rule(key=keys, default=values)
    def setdefault(self, key: Any, default: Any) -> None:
        self.both("setdefault", key, default)

    @rule()
    def popitem(self) -> None:
        self.both("popitem")

    @rule()
    def clear(self) -> None:
        self.both("clear")

    @rule(
        method=st.sampled_from(["__setitem__", "get", "__contains__", "pop"]),
        key=st.sampled_from([[], {}, set(), ([],), bytearray(b"a")]),
    )
    def not_hashable(self, method: str, key: Any) -> None:
        if self.model or method != "pop":  # an empty dict doesn't look at what is popped
            self.both(method, *((key, 1) if method == "__setitem__" else (key,)))

    @rule(key=keys, n=st.integers() | st.integers(-3, 3) | st.floats() | st.just(0.25))
    def add(self, key: Any, n: Any) -> None:
        def add() -> Any:
            self.model[key] = self.model.get(key, 0) + n
            return self.model[key]

        expected = outcome(add)
        assert same(outcome(lambda: self.shared.add(key, n)), expected)

    @rule(key=keys, value=values)
    def update_key(self, key: Any, value: Any) -> None:
        def update() -> Any:
            self.model[key] = (self.model[key], 1)
            return self.model[key]

        if len(repr(self.model.get(key))) < 1000:
            found = outcome(lambda: self.shared.update_key(key, lambda old: (old, 1)))
            assert same(found, outcome(update))
        self.shared.update_key(key, lambda old: value, None)
        self.model[key] = value

    @rule(items=pairs, how=st.sampled_from(["pairs", "dict", "shared", "or"]))
    def update(self, items: list[tuple[Any, Any]], how: str) -> None:
        if how == "or":
            self.shared |= dict(items)
        else:
            kinds: dict[str, Any] = {"pairs": iter, "dict": dict, "shared": Dict}
            self.shared.update(kinds[how](items))
        self.model.update(items)

    @rule(items=pairs)
    def plain_ones(self, items: list[tuple[Any, Any]]) -> None:
        assert alike(self.shared | dict(items), self.model | dict(items))
        assert alike(dict(items) | self.shared, dict(items) | self.model)
        assert alike(self.shared.copy(), self.model)

    @rule(first=st.integers(-1000, 1000), n=st.integers(50, 150), text=st.booleans())
    def many_come_and_go(self, first: int, n: int, text: bool) -> None:
        keys = [f"key {i}" if text else i for i in range(first, first + n)]
        for key in keys:
            self.both("__setitem__", key, n)
        for key in keys[n // 8 :]:
            self.both("__delitem__", key)

    @rule(some=st.sets(st.sampled_from(POOL), max_size=8))
    def views_are_sets(self, some: set[Any]) -> None:
        ours, theirs = self.shared.keys(), self.model.keys()
        assert (ours == some) == (theirs == some)
        assert (ours & some, ours | some) == (theirs & some, theirs | some)
        assert (ours - some, ours ^ some) == (theirs - some, theirs ^ some)
        assert ours.isdisjoint(some) == theirs.isdisjoint(some)
        assert ours == theirs
        assert theirs == ours

    @rule()
    def equal(self) -> None:
        # Where a NaN is, or what is compared by its identity, a copy is not equal.
        if travelled(self.model) == self.model:
            again = Dict(reversed(list(self.model.items())))
            assert self.shared == self.model
            assert self.model == self.shared
            assert self.shared == again
            again.add("one more")
            assert self.shared != again or "one more" in self.model

    @rule()
    def travel(self) -> None:
        self.shared = travelled(self.shared)

    @rule(
        items=st.lists(st.tuples(keys, values | st.just(GONE)), max_size=6),
        moment=st.integers(0, 3000),
    )
    def a_child_dies(self, items: list[tuple[Any, Any]], moment: int) -> None:
        shared = self.shared

        def step(on: Any, key: Any, value: Any) -> None:
            if value is GONE:
                on.pop(key, None)
            else:
                on[key] = value

        def work() -> None:
            for item in items:
                step(shared, *item)

        in_child(work, moment)
        # It came to do some of them; the rest is ours.
        now, done = shared.copy(), None
        for n in range(len(items) + 1):
            if alike(now, self.model):
                done = n
            if n < len(items):
                step(self.model, *items[n])
        assert done is not None, (now, self.model, items)
        for item in items[done:]:
            step(shared, *item)

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "model"):
            assert len(self.shared) == len(self.model)
            assert same(list(self.shared), list(self.model))
            assert same(list(self.shared.items()), list(self.model.items()))
            assert same(list(self.shared.values()), list(self.model.values()))
            assert same(list(reversed(self.shared)), list(reversed(self.model)))
            assert all(key in self.shared for key in self.model)


def test_a_shared_dict_is_a_dict() -> None:
    run(DictMachine)


def test_a_managers_dict_is_a_dict() -> None:
    """The one that programs get, which is the same class or a subclass of it."""
    with mp.Manager() as manager:
        assert isinstance(manager.dict(), Dict)
