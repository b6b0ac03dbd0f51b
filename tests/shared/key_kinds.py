"""Kinds of keys, in groups of those that are equal, for processes that have to agree on them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import ipaddress
import math
import uuid
from collections import namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

try:
    import numpy as np
except ImportError:
    np = None


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Number(enum.IntEnum):
    TWO = 2


class Word(enum.StrEnum):
    LONG = "a word that needs a block"
    SHORT = "short"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


Point = namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True)
class Place:
    name: str
    at: Any
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Odd:
    """A dataclass that compares itself."""

    value: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and self.value % 10 == other.value % 10

    def __hash__(self) -> int:
        return hash(self.value % 10)


class Caseless:
    """An object that compares itself; its hash depends on the seed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Caseless) and self.text.lower() == other.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())

    def __repr__(self) -> str:
        return f"Caseless({self.text!r})"


class Sub(Caseless):
    """Equal to instances of its base."""


def hours(n: float) -> dt.timezone:
    return dt.timezone(dt.timedelta(hours=n))


# In each group all are one key, and no two groups have one in common.
GROUPS: list[list[Any]] = [
    [1, True, 1.0, Decimal(1), Decimal("1.000"), Fraction(1), 1 + 0j, Fraction(3, 3)],
    [0, False, 0.0, -0.0, Decimal("-0"), Fraction(0), 0j, complex(-0.0, -0.0)],
    [2, Number.TWO, 2.0],
    [-1, -1.0],
    [2**61, 2.0**61],
    [2**61 - 1],
    [-(2**61), -(2.0**61), Fraction(-(2**61))],
    [2**62, 2.0**62],
    [2**63, 2.0**63],
    [-(2**63), -(2.0**63)],
    [2**64, 2.0**64, Decimal(2**64)],
    [10**30, Decimal("1e30"), Fraction(10**30)],
    [1e30],
    [10**300 * 7],
    [0.5, Decimal("0.5"), Fraction(1, 2), 0.5 + 0j],
    [0.1],
    [Decimal("0.1"), Fraction(1, 10)],
    [Fraction(1, 3)],
    [1e-300],
    [math.inf, Decimal("inf")],
    [-math.inf],
    [math.nan, float("nan"), Decimal("nan")],
    [1 + 2j],
    [Decimal("1e999999"), Decimal("10e999998")],
    ["a"],
    ["1"],
    [b"a"],
    [""],
    [b""],
    ["short", Word.SHORT],
    ["a word that needs a block", Word.LONG],
    [b"a word that needs a block"],
    ["käse 😀 " * 3],
    ["\ud800"],
    [None],
    [...],
    [NotImplemented],
    [()],
    [(1,), (True,), (1.0,), (Decimal(1),)],
    [(1, 2), Point(1, 2), Point(1.0, Number.TWO)],
    [((1, 2),)],
    [(1, (2, ("x", None)))],
    [("a", b"a")],
    [(b"a", "a")],
    [("a", "b")],
    [("ab",)],
    [frozenset()],
    [frozenset([1, 2, 3]), frozenset([3, 2.0, True])],
    [frozenset(["x", frozenset(["y", 1])]), frozenset([frozenset([1.0, "y"]), "x"])],
    [Color.RED],
    [Color.BLUE],
    [Access.READ],
    [Access.READ | Access.WRITE],
    [dt.datetime(2026, 1, 2, 3, 4, 5, 6), dt.datetime(2026, 1, 2, 3, 4, 5, 6, fold=1)],
    [
        dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 2, 14, tzinfo=hours(2)),
        dt.datetime(2026, 1, 2, 6, 30, tzinfo=hours(-5.5)),
    ],
    [dt.datetime(2026, 1, 2, 12)],
    [dt.date(2026, 1, 2)],
    [dt.datetime(2026, 1, 2)],
    [dt.time(1, 2), dt.time(1, 2, 0)],
    [dt.timedelta(1), dt.timedelta(hours=24)],
    [dt.time(1, 2, tzinfo=dt.UTC), dt.time(3, 2, tzinfo=hours(2))],
    [hours(2), dt.timezone(dt.timedelta(minutes=120))],
    [uuid.UUID(int=5)],
    [Path("a/b"), PurePosixPath("a//b")],
    [PureWindowsPath("A/b"), PureWindowsPath("a\\B")],
    [range(3), range(0, 3, 1)],
    [range(0), range(5, 2)],
    [range(1), range(0, 2, 7)],
    [int],
    [bool],
    [len],
    [Caseless],
    [hours],
    [Place("x", (1, 2)), Place("x", (1.0, 2), "not compared")],
    [Place("x", Place("y", 2))],
    [Odd(3), Odd(13)],
    [Odd(4)],
    [Caseless("One"), Caseless("ONE"), Sub("one")],
    [Sub("two"), Caseless("Two")],
    [Caseless("three")],
    [(1, Caseless("in a tuple")), (True, Sub("In A Tuple"))],
    [frozenset([Caseless("s"), 1]), frozenset([1.0, Caseless("S")])],
    [ipaddress.ip_address("127.0.0.1")],
]

if np is not None:
    GROUPS[0] += [np.int64(1), np.bool_(True), np.float32(1), np.uint8(1), np.complex64(1)]
    GROUPS[GROUPS.index([0.1])] += [np.float64(0.1)]
    GROUPS[GROUPS.index(["a"])] += [np.str_("a")]
    GROUPS += [[np.float32(0.1), float(np.float32(0.1))], [np.datetime64(7, "s")]]


def same(one: Any, other: Any) -> bool:
    """Whether two objects are equal and of one type."""
    return type(one) is type(other) and (one == other or one != one)


def agree(shared: Any, report: Any) -> None:
    """Look every key up, in a process with a hash seed of its own; change every value."""
    wrong = [
        (number, repr(key))
        for number, group in enumerate(GROUPS)
        for key in group
        if shared.get(key) != number or key not in shared
    ]
    for group in GROUPS:
        for key in group:
            shared.add(key, 1)
    report.append((wrong, len(shared), hash("a text")))
