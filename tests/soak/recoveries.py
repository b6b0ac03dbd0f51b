"""From each kill until the survivors have gone on; and what a stopped process holds up."""

from __future__ import annotations

from time import monotonic, monotonic_ns

from allcores import _core, errors

from tests.soak import ledger as book
from tests.soak.measures import Measures
from tests.soak.stations import Seen, Station

MORE = 2  # rounds of a survivor: the second one has begun after the kill
WINDOW_NS = 20_000_000  # shorter stops say nothing: somebody else had the processor

Progress = dict[int, int]


class Recovery:
    """What is waited for after one kill."""

    def __init__(self, seen: Seen | None, station: Station, at: int, watched: bool) -> None:
        self.station, self.at, self.watched = station, at, watched
        self.before: Progress = {}
        self.victim = -1 if seen is None else seen.index
        self.keep = (0, 0)
        if seen is not None:
            self.keep = (seen.words[book.KEEP_AT], seen.words[book.KEEP_GENERATION])


class Recoveries:
    """All kills whose end isn't seen yet."""

    def __init__(self, of: dict[Station, list[Seen]], measures: Measures, load: str) -> None:
        self.of, self.measures, self.load = of, measures, load
        self.waiting: list[Recovery] = []
        self.returning: list[Recovery] = []
        self.progress: dict[Station, tuple[Progress, float]] = {}

    def __bool__(self) -> bool:
        return bool(self.waiting or self.returning)

    def begin(self, seen: Seen | None, station: Station, at: int, watched: bool) -> None:
        recovery = Recovery(seen, station, at, watched)
        recovery.before = progress_of(self.of[station])
        self.waiting.append(recovery)
        if recovery.keep[0]:
            self.returning.append(recovery)

    def look(self, now: int) -> None:
        """Note those that are over. `of` has those that live, the others don't go on."""
        for recovery in list(self.waiting):
            if goes_on(self.of[recovery.station], recovery.before, recovery.victim):
                self.waiting.remove(recovery)
                kind = type(recovery.station).__name__
                self.measures.add(f"{self.load}; {kind}: others go on", (now - recovery.at) / 1e9)
        for recovery in list(self.returning):
            if is_gone(*recovery.keep):
                self.returning.remove(recovery)
                kind = "its parent lives" if recovery.watched else "its parent is dead or blind"
                self.measures.add(f"{self.load}; memory is back, {kind}", (now - recovery.at) / 1e9)

    def stuck(self, of: dict[Station, list[Seen]], patience_s: float) -> Station | None:
        """A station at which nobody has got on, come or gone for so long."""
        now = monotonic()
        for station, rows in of.items():
            progress = progress_of(rows)
            before, since = self.progress.get(station, ({}, now))
            if progress != before or not rows:
                self.progress[station] = (progress, now)
            elif now - since > patience_s:
                return station
        return None

    def end(self) -> None:
        """The killing is over. What isn't back now waits for somebody to look."""
        self.waiting.clear()
        for recovery in self.returning:
            kind = "its parent lives" if recovery.watched else "its parent is dead or blind"
            self.measures.counts[f"not back when the killing ended, {kind}"] += 1
        self.returning.clear()


class Windows:
    """Times in which a process was stopped; and such in which it wasn't, to compare."""

    def __init__(self, of: dict[Station, list[Seen]], measures: Measures, load: str) -> None:
        self.of, self.measures, self.load = of, measures, load
        self.open: dict[int, tuple[int, dict[Station, Progress]]] = {}

    def __bool__(self) -> bool:
        return bool(self.open)

    def begin(self, seen: Seen) -> None:
        before = {station: progress_of(rows) for station, rows in self.of.items()}
        self.open[seen.index] = (monotonic_ns(), before)

    def end(self, seen: Seen, station: Station, stopped: bool) -> None:
        since, before = self.open.pop(seen.index)
        lasted = monotonic_ns() - since
        kind = f"{self.load}; {'stops' if stopped else 'no stops, for comparison,'}"
        self.measures.counts[f"{kind} of any length"] += 1
        if lasted < WINDOW_NS:
            return
        self.measures.counts[f"{kind} of 20 ms and more"] += 1
        for other, rows in self.of.items():
            if goes_on(rows, before[other], seen.index, 1):
                continue
            where = "its own" if other is station else "another"
            self.measures.add(f"{kind} in which {where} station stood still", lasted / 1e9)


def progress_of(rows: list[Seen]) -> Progress:
    return {seen.index: seen.words[book.PROGRESS] for seen in rows}


def goes_on(rows: list[Seen], before: Progress, but: int, more: int = MORE) -> bool:
    """Whether a survivor has got on since."""
    return any(
        seen.words[book.PROGRESS] >= before.get(seen.index, 0) + more
        for seen in rows
        if seen.index != but
    )


def is_gone(offset: int, generation: int) -> bool:
    try:
        _core.Event.from_handle(_core.session(), offset, generation)
    except errors.StaleHandle:
        return True
    return False
