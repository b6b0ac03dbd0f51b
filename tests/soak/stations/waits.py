"""Events, conditions and barriers: nobody waits for the dead."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import allcores as mp

from tests.soak import ledger as book
from tests.soak.stations import Seen, Station, count_check

FULL = 0  # the station's word: what a condition's lock guards
COUNT = book.EXTRA  # of a row


class Events(Station):
    """Some set the event, the others wait for it and take it back."""

    seats = ("set", "set", "wait", "wait", "wait")

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.name = "Event"

    def make(self) -> None:
        self.shared = mp.get_context("fork").Event()

    def do_set(self, row: book.Row, dice: random.Random) -> None:
        for _ in self.running(row, dice):
            self.shared.set()

    def do_wait(self, row: book.Row, dice: random.Random) -> None:
        for _ in self.running(row, dice):
            if not self.shared.wait():
                self.ledger.complain("Event: wait() without a timeout returned False")
            self.shared.clear()

    def nudge(self, phase: int, living: list[str]) -> None:
        self.shared.set()


class Conditions(Station):
    """A place that is full or empty, and those who wait for the one or the other."""

    seats = ("fill", "fill", "take", "take")

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.lock_kind = dice.choice(["Lock", "RLock"])
        self.name = f"Condition({self.lock_kind})"

    def make(self) -> None:
        context = mp.get_context("fork")
        self.shared = context.Condition(getattr(context, self.lock_kind)())

    def do_fill(self, row: book.Row, dice: random.Random) -> None:
        self.turn(row, dice, 0)

    def do_take(self, row: book.Row, dice: random.Random) -> None:
        self.turn(row, dice, 1)

    def turn(self, row: book.Row, dice: random.Random, wanted: int) -> None:
        condition, words = self.shared, self.words
        for _ in self.running(row, dice):
            row.words[book.STATE] = book.INSIDE
            with condition:
                condition.wait_for(lambda: words[FULL] == wanted or self.ledger.phase[0])
                if words[FULL] == wanted:
                    # First told, then done: who dies in between has woken them for nothing.
                    # The other way round nobody would be woken, and that is the program's fault.
                    condition.notify_all()
                    words[FULL] = 1 - wanted
                    row.words[COUNT] += 1
            row.words[book.STATE] = book.IDLE

    def nudge(self, phase: int, living: list[str]) -> None:
        if self.shared.acquire(timeout=0.05):
            self.shared.notify_all()
            self.shared.release()

    def close(self, rows: list[Seen]) -> Iterator[str]:
        filled = sum(seen.words[COUNT] for seen in rows if seen.seat == "fill")
        taken = sum(seen.words[COUNT] for seen in rows if seen.seat == "take")
        unsure = [sum(s.killed_inside for s in rows if s.seat == seat) for seat in ("fill", "take")]
        low, high = self.words[FULL] - unsure[0], self.words[FULL] + unsure[1]
        yield from count_check(self.name, "filled less taken", filled - taken, low, high)
        if not self.shared.acquire(timeout=10):
            yield f"{self.name}: nobody is left, and its lock is not free"
            return
        self.shared.release()


class Barriers(Station):
    """Three parties; the barrier breaks when one dies, and is reset by the others."""

    seats = ("pass", "pass", "pass")

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.name = "Barrier(3)"

    def make(self) -> None:
        context = mp.get_context("fork")
        self.shared = [context.Barrier(3), context.Lock()]

    def do_pass(self, row: book.Row, dice: random.Random) -> None:
        barrier, lock = self.shared
        for _ in self.running(row, dice):
            try:
                if not 0 <= barrier.wait() < 3:
                    self.ledger.complain("Barrier: wait() returned no party's number")
                row.words[COUNT] += 1
            except threading.BrokenBarrierError:
                with lock:
                    if barrier.broken and not self.ledger.phase[0]:
                        barrier.reset()

    def nudge(self, phase: int, living: list[str]) -> None:
        self.shared[0].abort()

    def close(self, rows: list[Seen]) -> Iterator[str]:
        barrier = self.shared[0]
        yield from count_check(self.name, "n_waiting", barrier.n_waiting, 0, 0)
        if not barrier.broken:
            yield f"{self.name}: it was aborted, and is not broken"
        barrier.reset()
        if barrier.broken:
            yield f"{self.name}: it was reset, and is broken"
