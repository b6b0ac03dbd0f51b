"""Queues of every kind: nothing lost, nothing doubled, in each producer's order."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from queue import Empty, Full
from typing import Any

import allcores as mp
from allcores import _core, errors

from tests.soak import ledger as book
from tests.soak.stations import Seen, Station, count_check

END = "end"


class Items:
    """Items that say who put them and the how manyeth they are: ``row << 32 | n``."""

    KINDS = ("ints", "small", "mixed", "large", "handles", "views")

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def make(self, number: int, dice: random.Random) -> Any:
        kind = self.kind
        if kind == "mixed":
            seldom = ["large", "views"] * (not number % 8)
            kind = dice.choice(["ints", "small", "small", "handles", *seldom])
        if kind == "ints":
            return number
        if kind == "handles":
            return number, Carried(number, dice)
        if kind == "views":
            # Frozen in shared memory, and never the same place for long.
            size = dice.choice([70_000, 300_000])
            return memoryview(bytearray(number.to_bytes(8, "little") * (size // 8)))
        size = dice.choice([0, 50, 100, 300, 3000] if kind == "small" else [20_000, 200_000])
        return number.to_bytes(8, "little") + bytes([number & 255]) * size

    def read(self, item: Any) -> int:
        """The number of an item; raises when it isn't what was put."""
        if isinstance(item, int):
            return item
        if isinstance(item, bytes):
            number = int.from_bytes(item[:8], "little")
            if item.count(number & 255, 8) != len(item) - 8:
                raise AssertionError(f"item {number:#x} has changed on its way: {item[:99]!r}")
            return number
        if isinstance(item, memoryview):
            number = int.from_bytes(item[:8], "little")
            if item != item[:8].tobytes() * (len(item) // 8):
                raise AssertionError(f"item {number:#x} has changed on its way")
            # Into copies of the pages: whoever else has it doesn't see that.
            item[:] = bytes(len(item))
            return number
        number, carried = item
        if carried.number() != number:
            raise AssertionError(f"item {number:#x} carries {carried.number():#x}")
        return int(number)


class Carried:
    """A shared object inside an item; it knows the item's number."""

    def __init__(self, number: int, dice: random.Random) -> None:
        what = dice.randrange(3)
        if what == 0:
            self.inner = mp.Queue()
            self.inner.put(number)
            self.inner.put(mp.Event())
        elif what == 1:
            self.inner = mp.Value("Q", number)
        else:
            from allcores.shared.lists import List

            self.inner = List([number, b"x" * 2000])

    def number(self) -> int:
        if hasattr(self.inner, "get_lock"):
            return int(self.inner.value)
        if hasattr(self.inner, "pop"):
            return int(self.inner[0])
        return int(self.inner.get(timeout=150))


def delivery(
    station: Station,
    producers: list[Seen],
    consumers: list[Seen],
    rest: list[int],
    redelivers: bool,
    leased: dict[int, int] | None = None,
) -> Iterator[str]:
    """Compare what was put with what arrived. `rest` was still there in the end.

    A consumer that was killed while it was taking an item may have had it, unnoted; an item that
    its producer was killed at may have arrived or not. An item that is delivered again, after
    its consumer's death, comes out of order. `leased`, by the row of a dead consumer, says for
    sure what it had: then nothing may be missing.
    """
    name, counts = station.name, station.counts
    logs = [seen.row.logged() for seen in consumers] + [rest]
    for seen, log in zip(consumers, logs, strict=False):
        if (number := (leased or {}).get(seen.index)) and number not in log[-1:]:
            counts["items that only a dead consumer's lease knew of"] += 1
            log.append(number)
    arrived = set().union(*logs)
    if sum(map(len, logs)) != len(arrived):
        twice = sorted(number for log in logs for number in log)
        doubles = sorted({a for a, b in itertools.pairwise(twice) if a == b})
        where = {
            f"{number:#x}": [
                "rest" if i == len(consumers) else describe(consumers[i])
                for i, log in enumerate(logs)
                for _ in range(log.count(number))
            ]
            for number in doubles[:20]
        }
        yield f"{name}: {len(doubles)} items were delivered twice: {where}"
    expected: set[int] = set()
    unsure: set[int] = set()
    for seen in producers:
        done, intent = seen.words[book.DONE], seen.words[book.INTENT]
        expected.update(range(seen.index << 32, (seen.index << 32) + done))
        unsure.update(range((seen.index << 32) + done, (seen.index << 32) + intent))
    if strange := arrived - expected - unsure:
        yield f"{name}: items that nobody put: {[hex(i) for i in sorted(strange)[:20]]}"
    killed = sum(seen.killed_inside for seen in consumers)
    may_lack = killed if leased is None else 0
    missing = expected - arrived
    if leased is None:
        counts["consumers killed while getting"] += killed
        counts["items that killed consumers had, unnoted"] += len(missing)
    counts["items delivered"] += len(arrived)
    if len(missing) > may_lack:
        yield (
            f"{name}: {len(missing)} items are lost, and only {may_lack} consumers were killed "
            f"while getting: {[hex(i) for i in sorted(missing)[:20]]}"
        )
    late = 0
    for log in logs[:-1]:
        newest: dict[int, int] = {}
        for number in log:
            producer = number >> 32
            if number < newest.get(producer, 0):
                late += 1
            else:
                newest[producer] = number
    may_be_late = killed if redelivers else 0
    counts["items delivered again"] += late
    if late > may_be_late:
        yield f"{name}: {late} items came out of order, and only {may_be_late} could have"


def describe(seen: Seen) -> str:
    how = "killed" if seen.killed_at is not None else "ended"
    inside = " inside" * (seen.words[book.STATE] == book.INSIDE)
    return f"row {seen.index}, {seen.seat}, {how}{inside} after {seen.words[book.LOGGED]} items"


class Queues(Station):
    """One queue."""

    late = ("get", "get_often")

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.kind = dice.choice(["Queue", "Queue", "JoinableQueue", "SimpleQueue"])
        self.maxsize = 0 if self.kind == "SimpleQueue" else dice.choice([0, 0, 1, 5, 100, 2000])
        self.items = Items(dice.choice(Items.KINDS if self.maxsize < 2000 else ("ints", "small")))
        self.seats = ("put", dice.choice(["put", "put_by_fork"]), "get", "get")
        if self.kind != "SimpleQueue":
            self.seats += (dice.choice(["get_often", "put"]),)
        self.name = f"{self.kind}({self.maxsize or ''}) of {self.items.kind}"
        self.ends_put = 0

    def make(self) -> None:
        context = mp.get_context("fork")
        make = getattr(context, self.kind)
        self.shared = make() if self.kind == "SimpleQueue" else make(self.maxsize)

    def put(self, row: book.Row, n: int, dice: random.Random) -> None:
        item = self.items.make(row.index << 32 | n, dice)
        row.words[book.INTENT] = n + 1
        self.shared.put(item)
        row.words[book.DONE] = n + 1

    def do_put(self, row: book.Row, dice: random.Random) -> None:
        for n in self.running(row, dice):
            self.put(row, n, dice)

    def do_put_by_fork(self, row: book.Row, dice: random.Random) -> None:
        """Children that nobody watches, forked in any state, put something and leave."""
        theirs = self.ledger.row(row.index + book.ROWS // 2)
        for n in self.running(row, dice):
            self.put(row, n, dice)
            if dice.randrange(20):
                continue
            first = theirs.words[book.DONE]
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                theirs.words[book.PID] = os.getpid()
                try:
                    for i in range(first, first + 3):
                        self.put(theirs, i, dice)
                except errors.StaleHandle as error:
                    if not theirs.lost_at_birth(error, parent):
                        raise
                _core.leave()
                os._exit(0)
            if os.waitpid(pid, 0)[1]:
                self.ledger.complain(f"{self.name}: a forked child of row {row.index} failed")
                return

    def do_get(self, row: book.Row, dice: random.Random) -> None:
        self._get(row, dice, lambda: self.shared.get())

    def do_get_often(self, row: book.Row, dice: random.Random) -> None:
        """Never waits long, so it passes through all of a wait's beginning and end."""

        def get() -> Any:
            while True:
                try:
                    return self.shared.get(timeout=dice.choice([0, 0.0001, 0.002]))
                except Empty:
                    pass

        self._get(row, dice, get)

    def _get(self, row: book.Row, dice: random.Random, get: Any) -> None:
        joinable = self.kind == "JoinableQueue"
        for n in self.running(row, dice, 3):
            row.words[book.STATE] = book.INSIDE
            item = get()
            if item == END:
                return
            more = row.note(self.items.read(item))
            row.words[book.STATE] = book.IDLE
            if joinable:
                row.words[book.INTENT] = n + 1
                self.shared.task_done()
                row.words[book.DONE] = n + 1
            if not more:
                return

    def nudge(self, phase: int, living: list[str]) -> None:
        wanted = sum(seat in self.late for seat in living)
        if phase < 2 or (not self.shared.empty() and self.ends_put):
            return
        # Who is left has not got one, or there is something in front of it.
        for _ in range(wanted):
            try:
                if self.kind == "SimpleQueue":
                    self.shared.put(END)
                else:
                    self.shared.put(END, timeout=0.02)
            except Full:
                return
            self.ends_put += 1

    def close(self, rows: list[Seen]) -> Iterator[str]:
        rest, ends = [], 0
        while not self.shared.empty():
            item = self.shared.get()
            if item == END:
                ends += 1
            else:
                rest.append(self.items.read(item))
        producers = [seen for seen in rows if seen.seat.startswith("put")]
        for seen in rows:
            if seen.seat == "put_by_fork":
                theirs = self.ledger.row(seen.index + book.ROWS // 2)
                producers.append(Seen(theirs, "put"))
        consumers = [seen for seen in rows if seen.seat.startswith("get")]
        yield from delivery(self, producers, consumers, rest, redelivers=True)
        if self.kind != "SimpleQueue":
            yield from count_check(self.name, "qsize()", self.shared.qsize(), 0, 0)
        if self.kind == "JoinableQueue":
            yield from self.close_joinable(consumers, rest)

    def close_joinable(self, consumers: list[Seen], rest: list[int]) -> Iterator[str]:
        had = sum(seen.words[book.LOGGED] for seen in consumers) + len(rest) + self.ends_put
        lost = sum(seen.killed_inside for seen in consumers)
        low = had - sum(seen.words[book.INTENT] for seen in consumers)
        high = had + lost - sum(seen.words[book.DONE] for seen in consumers)
        left = self.shared._ring.unfinished()
        yield from count_check(self.name, "the number of unfinished tasks", left, low, high)
        for _ in range(left):
            self.shared.task_done()
        self.shared.join()
        try:
            self.shared.task_done()
        except ValueError:
            pass
        else:
            yield f"{self.name}: task_done() once more than there were tasks is no error"
