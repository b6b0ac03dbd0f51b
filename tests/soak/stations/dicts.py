"""Shared dicts: each key has what its writer gave it last, in the order of insertion."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import allcores as mp

from tests.soak import ledger as book
from tests.soak.stations import Seen, Station, count_check
from tests.soak.stations.queues import Items

KEYS = 6  # that each writer has
FIXED = [("fixed", i) for i in range(10)]  # always there, the first ones
# Of the counters: small numbers, and those that become too large for a word, or for 64 bits.
STARTS: list[Any] = [0, 0.0, 2**61 - 50, 2**63 - 50]
SET, DELETE, UPDATE = 1, 2, 3  # what a writer is at: in the low bits of its INTENT
NUMBER = (1 << 32) - 1


class Name:
    """A key that only its own `__eq__` can compare."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Dicts(Station):
    """One dict: keys of each writer, counters of all, keys that come and go by the dozen."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.managed = dice.randrange(2)
        self.items = Items(dice.choice(["ints", "small", "handles"]))
        self.names = not dice.randrange(3)
        self.seats = ("write", "write", "write", "count", "count", "churn", "look")
        self.name = f"{'manager.dict' if self.managed else 'Dict'} of {self.items.kind}"

    def make(self) -> None:
        from allcores.shared.dicts import Dict

        start: dict[Any, Any] = dict.fromkeys(FIXED, 0)
        start |= {f"count {i}": value for i, value in enumerate(STARTS)}
        if self.managed:
            self.shared = mp.Manager().dict(start)
        else:
            self.shared = Dict(start)

    def keys(self, row: int) -> list[Any]:
        """A writer's keys, one of each form."""
        last = Name(f"row {row}") if self.names else frozenset([row, "own"])
        text = f"a key of row {row}"
        keys = [row, f"row {row}", text * 9, text.encode(), (row, "own"), last]
        assert len(keys) == KEYS
        return keys

    def do_write(self, row: book.Row, dice: random.Random) -> None:
        """Set, delete and update keys that nobody else touches; note what each has after that."""
        shared, own = self.shared, self.keys(row.index)
        # When it was inserted, and the number in its value; 0 when it isn't there.
        has = row.words[book.EXTRA : book.EXTRA + KEYS]

        def note(k: int, n: int, nth: int) -> None:
            has[k] = ((has[k] >> 32) or 2 * n + nth) << 32 | n

        for n in self.running(row, dice):
            n += 1
            k = dice.randrange(KEYS)
            number = row.index << 32 | n
            what = dice.randrange(8)
            if what < 3 or (what == 3 and not has[k]):
                row.words[book.INTENT] = n << 8 | k << 2 | SET
                value = self.items.make(number, dice)
                if what < 3:
                    shared[own[k]] = value
                else:
                    shared.setdefault(own[k], value)
                note(k, n, 0)
            elif what == 4:
                row.words[book.INTENT] = n << 8 | k << 2 | UPDATE
                other = (k + 1) % KEYS
                values = [self.items.make(number, dice) for _ in range(2)]
                shared.update([(own[k], values[0]), (own[other], values[1])])
                note(k, n, 0)
                note(other, n, 1)
            elif not has[k]:
                if own[k] in shared or shared.get(own[k]) is not None:
                    self.ledger.complain(f"{self.name}: {own[k]!r} is there, and was deleted")
            elif what < 6:
                row.words[book.INTENT] = n << 8 | k << 2 | DELETE
                del shared[own[k]]
                has[k] = 0
            else:
                row.words[book.INTENT] = n << 8 | k << 2 | DELETE
                found = self.items.read(shared.pop(own[k]))
                if found != (row.index << 32 | has[k] & NUMBER):
                    self.ledger.complain(f"{self.name}: {own[k]!r} had {found:#x}: {has[k]:#x}")
                has[k] = 0
            row.words[book.INTENT] = 0

    def do_count(self, row: book.Row, dice: random.Random) -> None:
        """Add one to a counter that all add to."""
        latest = [start - 1 for start in STARTS]
        for _ in self.running(row, dice):
            i = dice.randrange(len(STARTS))
            row.words[book.INTENT] = i + 1
            now = self.shared.add(f"count {i}", type(STARTS[i])(1))
            row.words[book.EXTRA + i] += 1
            row.words[book.INTENT] = 0
            if now <= latest[i]:
                self.ledger.complain(f"{self.name}: count {i} is {now} after {latest[i]}")
            latest[i] = now

    def do_churn(self, row: book.Row, dice: random.Random) -> None:
        """One seat only: so many keys come and go that the table changes its size."""
        shared = self.shared
        for key in shared.keys():  # noqa: SIM118 # those of a dead predecessor
            if isinstance(key, tuple) and key[0] == "churn":
                del shared[key]
        for n in self.running(row, dice):
            keys = [("churn", n, i) for i in range(dice.randrange(5, 80))]
            for key in keys:
                shared[key] = n
            shared[dice.choice(FIXED)] = b"x" * dice.randrange(2000)
            dice.shuffle(keys)
            for key in keys:
                del shared[key]

    def do_look(self, row: book.Row, dice: random.Random) -> None:
        for n in self.running(row, dice):
            keys = list(self.shared.keys())
            if keys[: len(FIXED)] != FIXED:
                self.ledger.complain(f"{self.name}: it begins with {keys[:20]}")
            if len(set(keys)) != len(keys):
                self.ledger.complain(f"{self.name}: a key is there twice: {keys}")
            if not all(key in self.shared for key in (*FIXED, f"count {n % len(STARTS)}")):
                self.ledger.complain(f"{self.name}: a key is not found that is always there")

    def close(self, rows: list[Seen]) -> Iterator[str]:
        pairs = list(self.shared.items())
        found = dict(pairs)
        if not len(pairs) == len(found) == len(self.shared):
            yield f"{self.name}: {len(pairs)} pairs, {len(found)} keys, len {len(self.shared)}"
        if lost := [key for key in found if key not in self.shared]:
            yield f"{self.name}: these are there and not found: {lost}"
        if [key for key, _ in pairs[: len(FIXED)]] != FIXED:
            yield f"{self.name}: it begins with {[key for key, _ in pairs[:20]]}"
        for i, start in enumerate(STARTS):
            counters = [seen for seen in rows if seen.seat == "count"]
            returned = sum(seen.words[book.EXTRA + i] for seen in counters)
            under_way = sum(seen.words[book.INTENT] == i + 1 for seen in counters)
            counted = int(found.pop(f"count {i}") - start)
            yield from count_check(self.name, f"count {i}", counted, returned, returned + under_way)
            self.counts["dict: additions"] += counted
        for key in FIXED:
            del found[key]
        places = {key: at for at, (key, _) in enumerate(pairs)}
        for seen in rows:
            if seen.seat == "write":
                yield from self.check_writer(seen, found, places)
        if rest := [key for key in found if not (isinstance(key, tuple) and key[0] == "churn")]:
            yield f"{self.name}: nobody inserted {rest}"

    def check_writer(
        self, seen: Seen, found: dict[Any, Any], places: dict[Any, int]
    ) -> Iterator[str]:
        """Compare a writer's keys with what it noted, and take them out of `found`."""
        intent = seen.words[book.INTENT]
        n, at, what = intent >> 8, intent >> 2 & 63, intent & 3
        keys = self.keys(seen.index)
        inserted = []  # when, and where
        new = []
        for k, key in enumerate(keys):
            has = seen.words[book.EXTRA + k]
            touched = what and (k == at or (what == UPDATE and k == (at + 1) % KEYS))
            allowed = {has & NUMBER}
            if touched:
                allowed.add(0 if what == DELETE else n)
            number = 0
            if key in found:
                whole = self.items.read(found.pop(key))
                number = whole & NUMBER
                if whole >> 32 != seen.index:
                    yield f"{self.name}: {key!r} has {whole:#x}, which is another's"
                inserted.append((has >> 32 or 2 * n + (k != at), places[key]))
            if number not in allowed:
                yield f"{self.name}: {key!r} has number {number} and not of {allowed}: {intent:#x}"
            new.append(number == n)
        if what == UPDATE and new[(at + 1) % KEYS] and not new[at]:
            yield f"{self.name}: an update of {keys[at]!r} and the next did the second only"
        if sorted(inserted) != sorted(inserted, key=lambda pair: pair[1]):
            yield f"{self.name}: keys of row {seen.index} are not in their order: {inserted}"
