"""Shared lists: each change happened as a whole or not at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import sleep

import allcores as mp

from tests.soak import ledger as book
from tests.soak.stations import Seen, Station
from tests.soak.stations.queues import Items, delivery

PLACES = 20


class Lists(Station):
    """Three lists: one used as a queue, one of values that only grow, one that is shuffled."""

    late = ("pop",)

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.managed = dice.randrange(2)
        self.items = Items(dice.choice(["ints", "small", "mixed", "handles"]))
        self.values = Items(dice.choice(["ints", "small"]))
        self.seats = ("append", "append", "pop", "pop", "set", "look", "shuffle")
        self.name = f"{'manager.list' if self.managed else 'List'} of {self.items.kind}"

    def make(self) -> None:
        from allcores.shared.lists import List

        starts = [], [0] * PLACES, range(PLACES)
        if self.managed:
            manager = mp.Manager()
            self.shared = [manager.list(start) for start in starts]
        else:
            self.shared = [List(start) for start in starts]

    def do_append(self, row: book.Row, dice: random.Random) -> None:
        line = self.shared[0]
        for n in self.running(row, dice):
            item = self.items.make(row.index << 32 | n, dice)
            row.words[book.INTENT] = n + 1
            if n % 5:
                line.append(item)
            else:
                line.extend([item])
            row.words[book.DONE] = n + 1
            while len(line) > 200 and not self.ledger.phase[0]:
                sleep(0.001)

    def do_pop(self, row: book.Row, dice: random.Random) -> None:
        line = self.shared[0]
        for _ in self.running(row, dice, 2):
            row.words[book.STATE] = book.INSIDE
            try:
                item = line.pop(0)
            except IndexError:
                row.words[book.STATE] = book.IDLE
                continue
            more = row.note(self.items.read(item))
            row.words[book.STATE] = book.IDLE
            if not more:
                return

    def do_set(self, row: book.Row, dice: random.Random) -> None:
        """One seat only, so that the values grow: each is this row's and a number."""
        places = self.shared[1]
        for n in self.running(row, dice):
            places[n % PLACES] = self.values.make(row.index << 32 | n, dice)

    def do_look(self, row: book.Row, dice: random.Random) -> None:
        places = self.shared[1]
        seen = [0] * PLACES
        for n in self.running(row, dice):
            number = self.values.read(places[n % PLACES])
            if number < seen[n % PLACES]:
                self.ledger.complain(f"{self.name}: {number:#x} came after {seen[n % PLACES]:#x}")
            seen[n % PLACES] = number

    def do_shuffle(self, row: book.Row, dice: random.Random) -> None:
        items = self.shared[2]
        for _ in self.running(row, dice):
            what = dice.randrange(4)
            if what == 0:
                items.reverse()
            elif what == 1:
                items.sort(reverse=bool(dice.randrange(2)))
            elif what == 2:
                items[:] = dice.sample(range(PLACES), PLACES)
            else:
                # Whatever is there: the same items, at other places.
                items[3:9] = items[3:9]
            if sorted(items) != list(range(PLACES)):
                self.ledger.complain(f"{self.name}: shuffled, {items[:]} are not 0 to {PLACES}")

    def close(self, rows: list[Seen]) -> Iterator[str]:
        line, _, items = self.shared
        rest = [self.items.read(item) for item in line]
        appenders = [seen for seen in rows if seen.seat == "append"]
        poppers = [seen for seen in rows if seen.seat == "pop"]
        yield from delivery(self, appenders, poppers, rest, redelivers=False)
        if sorted(items) != list(range(PLACES)):
            yield f"{self.name}: in the end {items[:]} are not 0 to {PLACES}"
