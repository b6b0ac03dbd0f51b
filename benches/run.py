"""The figures of allcores beside the standard library's and other libraries', in one run.

Each measurement is a fresh process with a time limit. The rounds are interleaved, the libraries
taking turns in who goes first, so that what else happens on the machine meets all. Shown are
medians with the smallest and largest figure, and their ratio to the standard library's median.

    python -m benches.run                       everything, 5 rounds
    python -m benches.run lock event            these cases
    python -m benches.run --quick               3 rounds
    python -m benches.run --peers all           beside the other libraries as well (make peers)
    python -m benches.run --peers loky,threads  beside these
    python -m benches.run --json FILE           the figures as JSON as well
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benches import fresh, install, whole
from benches.cases import CASES
from benches.machine import circumstances
from benches.peers import LIBRARIES, OTHERS, PEERS

LIMIT_S = 60.0
WHOLE = {"import": "import, less the interpreter's start", "demo": "the main job's speed-up"}


class Row(NamedTuple):
    """The figures of one case, for each library one a round, or why it has none."""

    name: str
    what: str
    unit: str
    more_is_better: bool
    target: str
    figures: dict[str, list[float]]
    failed: dict[str, str]

    def ratios(self) -> dict[str, float]:
        """Each library's median over the standard library's."""
        medians = {name: statistics.median(all_) for name, all_ in self.figures.items() if all_}
        base = medians.get("multiprocessing")
        return {name: median / base for name, median in medians.items()} if base else {}

    def lines(self) -> list[str]:
        """The row as text: allcores beside the standard library, below them the others."""
        cells = "".join(f"{self._cell(library):>28}" for library in LIBRARIES)
        wish = self.target or ("more is better" if self.more_is_better else "less is better")
        lines = [f"{self.what:46}{self.unit:>5}{cells}{self._ratio('allcores'):>8}  {wish}"]
        for name in [*self.figures, *self.failed]:
            if name in self.failed:
                lines.append(f"    {name:20} {self.failed[name]}")
            elif name not in LIBRARIES:
                lines.append(f"    {name:47}{self._cell(name):>28}{self._ratio(name):>36}")
        return lines

    def _cell(self, library: str) -> str:
        figures = self.figures.get(library)
        if not figures:
            return "-"
        median, least, most = map(_number, (statistics.median(figures), min(figures), max(figures)))
        return f"{median} ({least} to {most})"

    def _ratio(self, library: str) -> str:
        ratio = self.ratios().get(library)
        return "-" if ratio is None else f"{ratio:.3g}"

    def data(self) -> dict[str, Any]:
        """The row for JSON."""
        return {**self._asdict(), "ratios": self.ratios()}


def main() -> int:
    """Run the cases asked for and print the table."""
    options = _options()
    fresh.adopt_orphans()
    fresh.compile_all()
    facts = circumstances()
    for key, value in [*facts.items(), *((name, install.state(name)) for name in options.peers)]:
        print(f"{key:18} {value}")
    print()
    head = "".join(f"{library:>28}" for library in LIBRARIES)
    print(f"{'median (min to max)':46}{'unit':>5}{head}{'ratio':>8}  wanted", flush=True)
    rows = []
    for name in options.cases or [*WHOLE, *CASES]:
        rows.append(_row(name, 3 if options.quick else options.rounds, options.peers))
        print(*rows[-1].lines(), sep="\n", flush=True)
    if options.json:
        data = {
            "circumstances": facts,
            "peers": {name: install.state(name) for name in options.peers},
            "rows": [row.data() for row in rows],
        }
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    # Others may fail: that is a result as well.
    return 1 if any(library in row.failed for row in rows for library in LIBRARIES) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches.run", description="The figures, beside the standard library's."
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join([*WHOLE, *CASES]))
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case (default: 5)")
    parser.add_argument("--quick", action="store_true", help="3 rounds, for a first look")
    parser.add_argument("--peers", metavar="NAMES", default="", help=f"all, or {','.join(OTHERS)}")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    options = parser.parse_args()
    options.peers = [name for name in options.peers.split(",") if name]
    if options.peers == ["all"]:
        options.peers = list(OTHERS)
    for what, unknown in (
        ("case", set(options.cases) - {*WHOLE, *CASES}),
        ("peer", set(options.peers) - {*OTHERS}),
    ):
        if unknown:
            parser.error(f"no such {what}: {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error("--rounds has to be at least 1")
    return options


def _row(name: str, rounds: int, peers: list[str]) -> Row:
    if name == "demo":
        runs = [whole.demo() for _ in range(min(rounds, 3))]
        figures = {"allcores": [run["allcores"] for run in runs]}
        threads = statistics.median(run["threads"] for run in runs)
        return Row(name, WHOLE[name], "x", True, f">= 1.8; threads: {threads:.2f}", figures, {})
    if name == "import":
        result = _interleaved(whole.import_time, 3 * rounds, [])
        return Row(name, WHOLE[name], "ms", False, "<= 1.5", *result)
    case = CASES[name]
    others = [peer for peer in case.others() if peer in peers]
    result = _interleaved(lambda lib: _measure(name, lib), min(rounds, case.rounds), others)
    return Row(name, case.what, case.unit, case.more_is_better, case.target, *result)


def _interleaved(
    measure: Callable[[str], float], rounds: int, others: list[str]
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Measure round by round; the others are in every third. Who fails is out."""
    figures: dict[str, list[float]] = {library: [] for library in (*LIBRARIES, *others)}
    failed: dict[str, str] = {}
    for number in range(rounds):
        for library in list(figures) if number % 2 else reversed(list(figures)):
            if library in others and (number % 3 or number // 3 >= PEERS[library].rounds):
                continue
            try:
                figures[library].append(measure(library))
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                failed[library] = f"failed: {error}"
                del figures[library]
    return figures, failed


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.3g}"


def _measure(case: str, library: str) -> float:
    return fresh.figure(install.here(library), ["benches.measure", case, library], LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
