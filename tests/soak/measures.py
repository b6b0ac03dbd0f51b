"""The times that were measured, and their report."""

from __future__ import annotations

from collections import Counter, defaultdict

POINTS = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))


class Measures:
    """Counts of what was done, and times in seconds, by kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.times: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, kind: str, seconds: float) -> None:
        self.times[kind].append(seconds)

    def percentiles(self) -> dict[str, dict[str, float]]:
        table = {}
        for kind, times in sorted(self.times.items()):
            times.sort()
            row = {name: times[int(part * (len(times) - 1))] * 1000 for name, part in POINTS}
            table[kind] = {"number": len(times), **row}
        return table

    def report(self) -> str:
        lines = [f"{number:>9,}  {what}" for what, number in sorted(self.counts.items())]
        lines += ["", f"{'number':>9}  {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9}"]
        for kind, row in self.percentiles().items():
            points = " ".join(f"{row[name]:9.2f}" for name, _ in POINTS)
            lines.append(f"{row['number']:>9,}  {points}  {kind}")
        return "\n".join(lines)
