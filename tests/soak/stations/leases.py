"""A ring whose consumers have leases: of each item it is known for sure who had it."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from time import sleep
from typing import Any

from allcores import _core, pickling

from tests.soak import ledger as book
from tests.soak.stations import Seen, Station
from tests.soak.stations.queues import Items, delivery

LEASES = 80  # for all consumers of a round, those that come after others as well
LEASED, HOLDER = 0, 1  # the words of a lease: the item, and the row whose lease it is


class Words:
    """A `_core.Block` of two words, which travels."""

    def __init__(self) -> None:
        self.block = _core.Block(16)

    def __getstate__(self) -> Any:
        pickling.note_sent(self.block.offset)
        return self.block.handle()

    def __setstate__(self, handle: Any) -> None:
        self.block = _core.Block.from_handle(*handle, 16)

    def get(self, index: int) -> int:
        return int(struct.unpack_from("Q", self.block, 8 * index)[0])

    def set(self, index: int, value: int) -> None:
        struct.pack_into("Q", self.block, 8 * index, value)


class Leased:
    """The ring and the leases."""

    def __init__(self, capacity: int, unbounded: bool) -> None:
        self.ring = _core.Ring(capacity, unbounded)
        self.leases = [Words() for _ in range(LEASES)]

    def __getstate__(self) -> Any:
        pickling.note_sent(self.ring.offset)
        return self.ring.handle(), self.leases

    def __setstate__(self, state: Any) -> None:
        self.ring, self.leases = _core.Ring.from_handle(*state[0]), state[1]


class Leases(Station):
    """What a pool's task line does: nothing at all may be lost."""

    seats = ("put", "put", "get", "get")
    late = ("get",)

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.capacity = dice.choice([1, 16, 200, 2000])
        self.unbounded = self.capacity == 16
        self.items = Items(dice.choice(["small", "small", "large"]))
        self.name = f"Ring({self.capacity}, {self.unbounded}) with leases of {self.items.kind}"

    def make(self) -> None:
        self.shared = Leased(self.capacity, self.unbounded)

    def do_put(self, row: book.Row, dice: random.Random) -> None:
        for n in self.running(row, dice):
            number = row.index << 32 | n
            item = self.items.make(number, dice)
            row.words[book.INTENT] = n + 1
            self.shared.ring.put(item, (), number)
            row.words[book.DONE] = n + 1

    def work(self, seat: int, row: book.Row, dice: random.Random) -> None:
        if self.seats[seat] == "put":
            self.do_put(row, dice)
        else:
            self.get(row, dice, self.shared.leases[seat % 2 :: 2])

    def get(self, row: book.Row, dice: random.Random, leases: list[Words]) -> None:
        # A seat's leases are this process's alone. One that was somebody's stays so.
        free = [lease for lease in leases if not lease.get(HOLDER)]
        while not free and self.ledger.phase[0] < 2:
            sleep(0.01)
        if not free:
            return
        free[0].set(HOLDER, row.index)
        for _ in self.running(row, dice, 2):
            row.words[book.STATE] = book.INSIDE
            item = self.shared.ring.get(dice.choice([0.001, 0.02]), free[0].block)
            if item is not None:
                more = row.note(self.items.read(bytes(item)))
                free[0].set(LEASED, 0)
                if not more:
                    return
            row.words[book.STATE] = book.IDLE

    def close(self, rows: list[Seen]) -> Iterator[str]:
        rest = []
        while (item := self.shared.ring.get(0)) is not None:
            rest.append(self.items.read(bytes(item)))
        leased = {lease.get(HOLDER): lease.get(LEASED) for lease in self.shared.leases}
        producers = [seen for seen in rows if seen.seat == "put"]
        consumers = [seen for seen in rows if seen.seat == "get"]
        yield from delivery(self, producers, consumers, rest, True, leased)
