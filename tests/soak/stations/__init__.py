"""What is used in a round: one kind of structure a file, each with the rules that it must keep."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.soak import ledger as book


class Station:
    """A structure, the seats of those who use it, and what must be true in the end.

    A station is made by the judge, before the fork of the nursery. `make` runs in the nursery,
    `work` in the workers, `nudge` and `close` in the judge.
    """

    name = "?"
    seats: tuple[str, ...] = ()
    late: tuple[str, ...] = ()  # seats that stop in the second phase of the end

    def __init__(self, dice: random.Random) -> None:
        self.shared: Any = None
        self.counts: Counter[str] = Counter()  # for the report, from `close`
        self.words: memoryview[int]
        self.ledger: book.Ledger
        self.index = 0
        self.pause_s = 0.0  # in the mean, after a few rounds of each worker

    def __repr__(self) -> str:
        return self.name

    def make(self) -> None:
        """Make the structures, into `shared`."""

    def work(self, seat: int, row: book.Row, dice: random.Random) -> None:
        """Do a seat's work until the end, and note it."""
        getattr(self, "do_" + self.seats[seat])(row, dice)

    def running(self, row: book.Row, dice: random.Random, phase: int = 1) -> Iterator[int]:
        """Count the rounds of a worker until it shall stop; a pause now and then."""
        n = 0
        while self.ledger.phase[0] < phase:
            yield n
            n += 1
            row.words[book.PROGRESS] = n
            if self.pause_s and not dice.randrange(10):
                time.sleep(dice.expovariate(1 / self.pause_s))

    def nudge(self, phase: int, living: list[str]) -> None:
        """In the end: help those to stop that wait for others. `living`: their seats' names."""

    def close(self, rows: list[Seen]) -> Iterator[str]:
        """Everybody has ended: look whether all is right, and say what isn't."""
        yield from ()

    def times(self, rows: list[Seen]) -> Iterator[tuple[str, float]]:
        """Hand-over times that the workers noted: a kind, and seconds from the kill."""
        yield from ()


class Seen:
    """What the judge knows about a row at the end of a round."""

    def __init__(self, row: book.Row, seat: str) -> None:
        self.row = row
        self.index = row.index
        self.seat = seat
        self.words = row.words
        self.killed_at: int | None = None
        self.others_killed = 0  # processes of its own that were killed

    @property
    def killed_inside(self) -> bool:
        return self.killed_at is not None and self.words[book.STATE] == book.INSIDE


def count_check(name: str, what: str, value: int, low: int, high: int) -> Iterator[str]:
    """Complain unless low <= value <= high."""
    if not low <= value <= high:
        yield f"{name}: {what} is {value}, and should be {low} to {high}"
