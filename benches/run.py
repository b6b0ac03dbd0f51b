"""The figures of allcores beside the standard library's and other libraries', in one run.

Each measurement is a fresh process with a time limit. The rounds are interleaved, the libraries
taking turns in who goes first, so that what else happens on the machine meets all. Shown are
medians with the smallest and largest figure, and their ratio to the standard library's median.

    python -m benches.run                       everything, 5 rounds
    python -m benches.run lock event            these cases
    python -m benches.run --quick               3 rounds
    python -m benches.run --peers all           beside the other libraries as well (make peers)
    python -m benches.run --peers loky,threads  beside these
    python -m benches.run --json FILE           the figures as JSON as well, written after each case
    python -m benches.run --json FILE --resume  what FILE lacks, after an interruption
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benches import fresh, install, whole
from benches.cases import CASES
from benches.floors import FLOORS
from benches.machine import circumstances
from benches.peers import LIBRARIES, OTHERS, PEERS
from benches.record import digits

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
    floor: str = ""
    least: float | None = None

    def ratios(self) -> dict[str, float]:
        """Each library's median over the standard library's."""
        medians = {name: statistics.median(all_) for name, all_ in self.figures.items() if all_}
        base = medians.get("multiprocessing")
        return {name: median / base for name, median in medians.items()} if base else {}

    def floor_ratios(self) -> dict[str, float]:
        """Each library's median over what no library can pass, where that is known."""
        least = self.least
        medians = {name: statistics.median(all_) for name, all_ in self.figures.items() if all_}
        return {name: median / least for name, median in medians.items()} if least else {}

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
        if self.least and "allcores" in self.figures:
            times = f"allcores: {self.floor_ratios()['allcores']:.3g} times that"
            lines.append(
                f"    floor {digits(self.least)} {self.unit}: {FLOORS[self.floor].what}; {times}"
            )
        return lines

    def _cell(self, library: str) -> str:
        figures = self.figures.get(library)
        if not figures:
            return "-"
        return _spread(figures)

    def _ratio(self, library: str) -> str:
        ratio = self.ratios().get(library)
        return "-" if ratio is None else f"{ratio:.3g}"

    def data(self) -> dict[str, Any]:
        """The row for JSON."""
        data = {**self._asdict(), "ratios": self.ratios(), "floor_ratios": self.floor_ratios()}
        del data["least"]
        return data


def main() -> int:
    """Run the cases asked for and print the table."""
    options = _options()
    fresh.adopt_orphans()
    fresh.compile_all()
    facts = circumstances()
    for key, value in [*facts.items(), *((name, install.state(name)) for name in options.peers)]:
        print(f"{key:18} {value}")
    print()
    record: dict[str, Any] = {
        "circumstances": facts,
        "peers": {name: install.state(name) for name in options.peers},
        "floors": {},
        "seconds": 0.0,
        "missing": [*WHOLE, *CASES],
        "rows": [],
    }
    if options.resume:
        record = _interrupted(Path(options.json), record)
    rounds = 3 if options.quick else options.rounds
    record["floors"] = floors = record["floors"] or _floors(options.cases, rounds)
    head = "".join(f"{library:>28}" for library in LIBRARIES)
    print(f"{'median (min to max)':46}{'unit':>5}{head}{'ratio':>8}  wanted", flush=True)
    asked = options.cases or record["missing"]
    for name in [name for name in record["missing"] if name in asked]:
        start = time.monotonic()
        row = _row(name, rounds, options.peers, floors)
        print(*row.lines(), sep="\n", flush=True)
        record["rows"].append(row.data())
        record["missing"].remove(name)
        record["seconds"] += time.monotonic() - start
        if options.json:
            _write(Path(options.json), record)
    print(f"\ntook {record['seconds'] / 60:.0f} minutes")
    # Others may fail: that is a result as well.
    return int(any(library in row["failed"] for row in record["rows"] for library in LIBRARIES))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches.run", description="The figures, beside the standard library's."
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join([*WHOLE, *CASES]))
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each case (default: 5)")
    parser.add_argument("--quick", action="store_true", help="3 rounds, for a first look")
    parser.add_argument("--peers", metavar="NAMES", default="", help=f"all, or {','.join(OTHERS)}")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--resume", action="store_true", help="go on with the FILE of --json")
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
    if options.resume and not options.json:
        parser.error("--resume goes on with a file: it needs --json")
    if options.rounds < 1:
        parser.error("--rounds has to be at least 1")
    return options


def _write(path: Path, record: dict[str, Any]) -> None:
    """Put the record in its place as a whole: an interruption must not lose the cases before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    os.replace(part, path)


def _interrupted(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record as far as it got; one of another commit would be of another program."""
    if not path.exists():
        return record
    earlier: dict[str, Any] = json.loads(path.read_text())
    then, now = earlier["circumstances"], record["circumstances"]
    if then["commit"] != now["commit"]:
        sys.exit(f"{path} was measured at {then['commit']}, this is {now['commit']}: start anew")
    print(f"{path} has {len(earlier['rows'])} cases from {then['date']}", flush=True)
    if earlier["missing"]:
        then["date"] += f", resumed {now['date']}"
    return earlier


def _floors(cases: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Measure the floors below these cases, or all; each once a round, in a fresh process."""
    below = {CASES[name].floor for name in cases if name in CASES}
    names = [name for name in FLOORS if name in below or not cases]
    floors: dict[str, dict[str, Any]] = {
        name: {"what": FLOORS[name].what, "unit": FLOORS[name].unit, "figures": []}
        for name in names
    }
    for _ in range(rounds):
        for name, floor in floors.items():
            if "failed" not in floor:
                try:
                    floor["figures"].append(
                        fresh.figure(sys.executable, ["benches.floors", name], LIMIT_S)
                    )
                except RuntimeError as error:
                    floor["failed"] = str(error)
    for name, floor in floors.items():
        figures = floor["figures"]
        shown = _spread(figures) if figures else f"failed: {floor['failed']}"
        print(f"{name:12}{floor['what']:58}{floor['unit']:>4} {shown}")
    if floors:
        print()
    return floors


def _row(name: str, rounds: int, peers: list[str], floors: dict[str, dict[str, Any]]) -> Row:
    if name == "demo":
        runs = [whole.demo() for _ in range(min(rounds, 3))]
        figures = {way: [run[way] for run in runs] for way in ("allcores", "threads")}
        return Row(name, WHOLE[name], "x", True, ">= 1.8 x", figures, {})
    if name == "import":
        result = _interleaved(whole.import_time, 3 * rounds, [])
        return Row(name, WHOLE[name], "ms", False, "<= 1.5", *result)
    case = CASES[name]
    others = [peer for peer in case.others() if peer in peers]
    result = _interleaved(lambda lib: _measure(name, lib), min(rounds, case.rounds), others)
    below = floors[case.floor]["figures"] if case.floor else []
    least = statistics.median(below) if below else None
    return Row(
        name, case.what, case.unit, case.more_is_better, case.target, *result, case.floor, least
    )


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


def _spread(figures: list[float]) -> str:
    median, least, most = map(digits, (statistics.median(figures), min(figures), max(figures)))
    return f"{median} ({least} to {most})"


def _measure(case: str, library: str) -> float:
    return fresh.figure(install.here(library), ["benches.measure", case, library], LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
