"""Locks and what is behind one: one at a time, and the next one is told of a death."""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import monotonic_ns
from typing import Any

import allcores as mp

from tests.soak import ledger as book
from tests.soak.stations import Seen, Station, count_check

# A station's words, written by whoever holds the lock.
INSIDE_NOW, LAST, FIRST_COUNT, SECOND_COUNT = range(4)
ENTERED = book.EXTRA  # of a row: how often it was inside


class Locks(Station):
    """A lock around two counters that are equal whenever nobody is inside."""

    seats = ("count", "count", "count", "try_to_count")

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.kind = dice.choice(["Lock", "RLock", "Value", "Array"])
        self.name = f"{self.kind} and counters"

    def make(self) -> None:
        context = mp.get_context("fork")
        if self.kind == "Value":
            self.shared = context.Value("Q", 0)
        elif self.kind == "Array":
            self.shared = context.Array("Q", 2)
        else:
            self.shared = getattr(context, self.kind)()

    @property
    def lock(self) -> Any:
        return self.shared.get_lock() if hasattr(self.shared, "get_lock") else self.shared

    def do_count(self, row: book.Row, dice: random.Random) -> None:
        lock = self.lock
        for n in self.running(row, dice):
            row.words[book.STATE] = book.INSIDE
            with lock:
                if self.kind == "RLock" and n % 3 == 0:
                    with lock:
                        self.inside(row, lock)
                else:
                    self.inside(row, lock)
            row.words[book.STATE] = book.IDLE

    def do_try_to_count(self, row: book.Row, dice: random.Random) -> None:
        lock = self.lock
        for _ in self.running(row, dice):
            row.words[book.STATE] = book.INSIDE
            if lock.acquire(timeout=dice.choice([0, 0.0005, 0.01])):
                try:
                    self.inside(row, lock)
                finally:
                    lock.release()
            row.words[book.STATE] = book.IDLE

    def inside(self, row: book.Row, lock: Any) -> None:
        words = self.words
        if lock.owner_died:
            if row.words[book.LOGGED] < book.LOG - 2:
                row.note(words[LAST])
                row.note(monotonic_ns())
            self.set_second(self.first())
            words[INSIDE_NOW] = 0
            lock.mark_consistent()
        if words[INSIDE_NOW]:
            self.ledger.complain(
                f"{self.name}: row {row.index} has the lock and so has row {words[INSIDE_NOW]}, or "
                f"that one died in it and owner_died is not set"
            )
        if self.first() != self.second():
            self.ledger.complain(f"{self.name}: {self.first()} and {self.second()} in a free lock")
        words[INSIDE_NOW] = words[LAST] = row.index
        self.set_first(self.first() + 1)
        self.set_second(self.second() + 1)
        row.words[ENTERED] += 1
        words[INSIDE_NOW] = 0

    def first(self) -> int:
        if self.kind == "Value":
            return int(self.shared.value)
        return int(self.shared[0] if self.kind == "Array" else self.words[FIRST_COUNT])

    def second(self) -> int:
        return int(self.shared[1] if self.kind == "Array" else self.words[SECOND_COUNT])

    def set_first(self, value: int) -> None:
        if self.kind == "Value":
            self.shared.value = value
        elif self.kind == "Array":
            self.shared[0] = value
        else:
            self.words[FIRST_COUNT] = value

    def set_second(self, value: int) -> None:
        if self.kind == "Array":
            self.shared[1] = value
        else:
            self.words[SECOND_COUNT] = value

    def close(self, rows: list[Seen]) -> Iterator[str]:
        if not self.lock.acquire(timeout=10):
            yield f"{self.name}: nobody is left, and the lock is not free"
            return
        count = sum(seen.words[ENTERED] for seen in rows)
        died_inside = sum(seen.killed_inside for seen in rows)
        value = self.first()
        self.lock.release()
        yield from count_check(self.name, "the count", value, count, count + died_inside)

    def times(self, rows: list[Seen]) -> Iterator[tuple[str, float]]:
        kind = "RLock" if self.kind in ("Value", "Array") else self.kind
        yield from handed_over(f"{kind}: the next one has it", rows)


def handed_over(kind: str, rows: list[Seen]) -> Iterator[tuple[str, float]]:
    """The logs have pairs: the row that was inside last, and when somebody else was."""
    by_index = {seen.index: seen for seen in rows}
    first: dict[int, int] = {}
    for seen in rows:
        log = seen.row.logged()
        for before, now in zip(log[::2], log[1::2], strict=False):
            first[before] = min(now, first.get(before, now))
    for before, now in first.items():
        dead = by_index.get(before)
        if dead is not None and dead.killed_at is not None and now > dead.killed_at:
            yield kind, (now - dead.killed_at) / 1e9


class Semaphores(Station):
    """A semaphore whose units come back."""

    seats = ("use", "use", "use", "use")

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.kind = dice.choice(["Semaphore", "BoundedSemaphore"])
        self.units = dice.choice([1, 1, 2, 3])
        self.name = f"{self.kind}({self.units})"

    def make(self) -> None:
        self.shared = getattr(mp.get_context("fork"), self.kind)(self.units)

    def do_use(self, row: book.Row, dice: random.Random) -> None:
        words = self.words
        for _ in self.running(row, dice):
            row.words[book.STATE] = book.INSIDE
            with self.shared:
                if self.units == 1:
                    before = words[INSIDE_NOW]
                    if before and row.words[book.LOGGED] < book.LOG - 2:
                        # That one was killed, or there are two: the judge knows.
                        row.note(before)
                        row.note(monotonic_ns())
                    words[INSIDE_NOW] = row.index
                    row.words[ENTERED] += 1
                    words[INSIDE_NOW] = 0
            row.words[book.STATE] = book.IDLE

    def close(self, rows: list[Seen]) -> Iterator[str]:
        value = self.shared.get_value()
        yield from count_check(self.name, "get_value()", value, self.units, self.units)
        if self.kind == "BoundedSemaphore":
            try:
                self.shared.release()
            except ValueError:
                pass
            else:
                yield f"{self.name}: one more release than units is no error"
        killed = {seen.index for seen in rows if seen.killed_at is not None}
        for seen in rows:
            for before in seen.row.logged()[::2]:
                if before not in killed:
                    yield f"{self.name}: rows {seen.index} and {before} were in at the same time"

    def times(self, rows: list[Seen]) -> Iterator[tuple[str, float]]:
        yield from handed_over("Semaphore: the next one has the unit", rows)
