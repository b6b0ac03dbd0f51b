"""The figures of allcores beside the standard library's, in one run.

Each measurement is a fresh process. The rounds are interleaved, allcores and multiprocessing taking
turns in who goes first, so that what else happens on the machine meets both. Shown are medians with
the smallest and largest figure, and the ratio of the medians.

    python -m benches.run                 everything, 7 rounds
    python -m benches.run lock event      these cases
    python -m benches.run --quick         3 rounds
    python -m benches.run --json FILE     the figures as JSON as well
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benches import whole
from benches.cases import CASES
from benches.machine import circumstances

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("allcores", "multiprocessing")
MEASURE_TIMEOUT_S = 120
WHOLE = {"import": "import, less the interpreter's start", "demo": "the main job's speed-up"}


class Row(NamedTuple):
    """The figures of one case, for each library one a round."""

    name: str
    what: str
    unit: str
    more_is_better: bool
    target: str
    figures: dict[str, list[float]]

    def ratio(self) -> float | None:
        """Allcores' median over the standard library's."""
        ours, theirs = (self.figures.get(library) for library in LIBRARIES)
        if not ours or not theirs:
            return None
        return statistics.median(ours) / statistics.median(theirs)

    def line(self) -> str:
        """The row as text."""
        cells = "".join(f"{_spread(self.figures.get(lib, [])):>26}" for lib in LIBRARIES)
        ratio = self.ratio()
        shown = "-" if ratio is None else f"{ratio:.2f}"
        wish = "more is better" if self.more_is_better else "less is better"
        return f"{self.what:42}{self.unit:>5}{cells}{shown:>8}  {self.target or wish}"


def main() -> int:
    """Run the cases asked for and print the table."""
    options = _options()
    facts = circumstances()
    for key, value in facts.items():
        print(f"{key:10} {value}")
    print()
    head = "".join(f"{library:>26}" for library in LIBRARIES)
    print(f"{'median (min to max)':42}{'unit':>5}{head}{'ratio':>8}  wanted", flush=True)
    rows, failed = [], False
    for name in options.cases or [*WHOLE, *CASES]:
        try:
            row = _row(name, 3 if options.quick else options.rounds)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            failed = True
            print(f"{name:42}failed: {_reason(error)}", flush=True)
            continue
        rows.append(row)
        print(row.line(), flush=True)
    if options.json:
        data = {"circumstances": facts, "rows": [{**r._asdict(), "ratio": r.ratio()} for r in rows]}
        Path(options.json).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches.run", description="The figures, beside the standard library's."
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join([*WHOLE, *CASES]))
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each case (default: 7)")
    parser.add_argument("--quick", action="store_true", help="3 rounds, for a first look")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    options = parser.parse_args()
    unknown = set(options.cases) - {*WHOLE, *CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error("--rounds has to be at least 1")
    return options


def _row(name: str, rounds: int) -> Row:
    if name == "demo":
        runs = [whole.demo() for _ in range(min(rounds, 3))]
        figures = {"allcores": [run["allcores"] for run in runs]}
        threads = statistics.median(run["threads"] for run in runs)
        return Row(name, WHOLE[name], "x", True, f">= 1.8; threads: {threads:.2f}", figures)
    if name == "import":
        figures = _interleaved(whole.import_time, 3 * rounds)
        return Row(name, WHOLE[name], "ms", False, "<= 1.5", figures)
    case = CASES[name]
    figures = _interleaved(lambda library: _measure(name, library), rounds)
    return Row(name, case.what, case.unit, case.more_is_better, case.target, figures)


def _interleaved(measure: Callable[[str], float], rounds: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    for number in range(rounds):
        for library in LIBRARIES if number % 2 else reversed(LIBRARIES):
            figures[library].append(measure(library))
    return figures


def _measure(case: str, library: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benches.measure", case, library],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=MEASURE_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"{library} ended with exit code {done.returncode}: {last[0]}")
    return float(done.stdout)


def _spread(figures: list[float]) -> str:
    if not figures:
        return "-"
    return f"{statistics.median(figures):.4g} ({min(figures):.4g} to {max(figures):.4g})"


def _reason(error: BaseException) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no result within {MEASURE_TIMEOUT_S} s"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
