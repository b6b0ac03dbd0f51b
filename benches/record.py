"""What a run has written, read again: its rows in groups, and what they say of allcores."""

from __future__ import annotations

import fnmatch
import re
import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

# In the order of the page. A case is of the first group that has a pattern for its name.
GROUPS = {
    "Whole programs": "demo zoo_*",
    "Uneven work": "even pool_tiny pareto long_last chunks_*",
    "Pools and executors": "pool* executor*",
    "Start-up": "import first* second* process*",
    "Data": "array* frame* dict_million",
    "Shared state": "list_* dict_* set_* deque_* value_*",
    "Synchronisation": "lock* rlock* event* condition* semaphore* barrier*",
    "Queues": "queue* simple_queue* pipe*",
    "Idle": "idle*",
    "Others": "*",
}
WISH = re.compile(r"(<=|>=) ([\d.,]+) ?(\S*)")
# Of the whole programs: as fast as any library with processes, and as a plain loop.
EVERY = "<= every"
NEVER = re.compile(r"never < ([\d.]+)")


def digits(figure: float) -> str:
    """Three digits that count, thousands whole."""
    return f"{figure:,.0f}" if abs(figure) >= 999.5 else f"{figure:.3g}"


def group_of(name: str) -> str:
    """The heading under which a case stands."""
    return next(
        group
        for group, patterns in GROUPS.items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns.split())
    )


class Spread(NamedTuple):
    """The figures of one library in one case."""

    median: float
    least: float
    most: float
    once: bool = False

    @classmethod
    def of(cls, figures: list[float]) -> Spread:
        """Of at least one figure."""
        return cls(statistics.median(figures), min(figures), max(figures), len(figures) == 1)

    def __str__(self) -> str:
        return digits(self.median)

    def range(self) -> str:
        """From the smallest to the largest figure."""
        return "measured once" if self.once else f"{digits(self.least)} to {digits(self.most)}"

    def overlaps(self, other: Spread) -> bool:
        """Whether a figure of the one is within the other's range."""
        return self.least <= other.most and other.least <= self.most


class Floor(NamedTuple):
    """What the machine itself takes for the least that a case has to do."""

    what: str
    unit: str
    spread: Spread


class Entry(NamedTuple):
    """One case of the record."""

    name: str
    what: str
    unit: str
    more_is_better: bool
    target: str
    spreads: dict[str, Spread]
    failed: dict[str, str]
    ratios: dict[str, float]
    floor: Floor | None

    def better(self, one: float, other: float) -> bool:
        """Whether one figure is better than another."""
        return one > other if self.more_is_better else one < other

    def ranked(self) -> list[str]:
        """The libraries that have figures, the best first."""
        return sorted(
            self.spreads,
            key=lambda name: self.spreads[name].median,
            reverse=self.more_is_better,
        )

    def best_other(self) -> str | None:
        """The best that is neither allcores nor the standard library's multiprocessing."""
        others = [name for name in self.ranked() if name not in ("allcores", "multiprocessing")]
        return others[0] if others else None

    def ahead_of(self, name: str | None) -> bool | None:
        """Whether allcores has the better median; None where one of them has no figure."""
        ours, theirs = self.spreads.get("allcores"), self.spreads.get(name or "")
        return self.better(ours.median, theirs.median) if ours and theirs else None

    def leaders(self) -> list[str]:
        """The libraries whose median is better than that of allcores, the best first."""
        ours = self.spreads["allcores"].median
        return [name for name in self.ranked() if self.better(self.spreads[name].median, ours)]

    def judged(self) -> tuple[str, float] | None:
        """What the wish is about, "figure" or "ratio", and what allcores has; None: neither."""
        wish = WISH.match(self.target)
        if not wish or "allcores" not in self.spreads:
            return None
        # A wish with the unit of the case, or in a case without one, is about the figure.
        if wish[3].rstrip(",") == self.unit:
            return "figure", self.spreads["allcores"].median
        return ("ratio", self.ratios["allcores"]) if "allcores" in self.ratios else None

    def reached(self) -> bool | None:
        """Whether allcores has what was wanted; None if nothing was, or it can't be said."""
        wish, judged = WISH.match(self.target), self.judged()
        if self.target and "allcores" not in self.spreads:
            return False
        if self.target.startswith(EVERY):
            return not {*self.leaders()} - {"threads"}
        if not wish or not judged:
            return None
        never = NEVER.search(self.target)
        if never and self.spreads["allcores"].least < float(never[1]):
            return False
        wanted = float(wish[2].replace(",", ""))
        return judged[1] <= wanted if wish[1] == "<=" else judged[1] >= wanted

    def shortfall(self) -> str:
        """In what allcores falls short here, in words; nothing if it doesn't."""
        ours = self.spreads.get("allcores")
        if ours is None:
            return self.failed.get("allcores", "no figure of allcores")
        found = []
        if self.reached() is False:
            judged = self.judged()
            has = f": the {judged[0]} is {digits(judged[1])}" if judged else ""
            found.append(f"misses {self.target}{has}")
        ahead = []
        for name in self.leaders():
            close = ", the ranges overlap" if ours.overlaps(self.spreads[name]) else ""
            ahead.append(f"{name} ({self.spreads[name]}{close})")
        if ahead:
            found.append(f"behind {', '.join(ahead)}")
        return "; ".join(found)


def entries(record: dict[str, Any]) -> list[Entry]:
    """The cases of a record, in its order."""
    floors = {
        name: Floor(floor["what"], floor["unit"], Spread.of(floor["figures"]))
        for name, floor in record.get("floors", {}).items()
        if floor["figures"]
    }
    return [
        Entry(
            row["name"],
            row["what"],
            row["unit"],
            row["more_is_better"],
            row["target"],
            {name: Spread.of(figures) for name, figures in row["figures"].items() if figures},
            row["failed"],
            row["ratios"],
            floors.get(row.get("floor", "")),
        )
        for row in record["rows"]
    ]


def grouped(rows: Iterable[Entry]) -> dict[str, list[Entry]]:
    """The cases of each group that has some."""
    rows = list(rows)
    by_group = {group: [row for row in rows if group_of(row.name) == group] for group in GROUPS}
    return {group: members for group, members in by_group.items() if members}
