"""docs/performance.md and its pictures, from what a run has written.

    python -m benches.page build/figures.json build/growth.json
    python -m benches.page build/figures.json --page FILE.md   without curves, elsewhere

The pictures go into a folder beside the page, of the same name. What was not measured (floors,
curves, a group) is left out.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benches import plots
from benches.record import Entry, Floor, Spread, digits, entries, grouped

ROOT = Path(__file__).resolve().parents[1]

TOP = """\
# Performance

`make bench` has written this page: every figure of allcores beside the standard library's
`multiprocessing` and beside the other libraries, from one run on one machine. Nothing here is
typed by hand.

Each figure comes from a fresh process. The rounds are interleaved, and the libraries take turns in
who goes first, so that what else the machine does meets all of them; the other libraries take part
in every third round. Nobody is tuned: each library is used as its documentation shows first. Shown
are medians, with the smallest and the largest figure; the scales of the pictures are logarithmic. A
median beside a wide range says little, and so does a difference between two whose ranges overlap.
`benches/README.md` says what each case does.
"""

ABOUT = {
    "Whole programs": "Programs from start to end, as a user sees them.",
    "Uneven work": "How well the cores are filled when tasks are short, long, or anything between.",
    "Pools and executors": "What a call costs: tasks that do nothing, on two workers.",
    "Start-up": "From nothing to the first result.",
    "Data": "Arrays, DataFrames and many objects on their way to a worker, and back.",
    "Shared state": "Lists, dicts and numbers that several processes use at once.",
    "Synchronisation": "Locks and their kind, in one process or between two.",
    "Queues": "Between one writer and one reader.",
    "Idle": "What waiting costs while nothing happens.",
    "Others": "",
}
ARROWS = {True: "↑", False: "↓"}


def page(record: dict[str, Any], growth: dict[str, Any], images: Path, folder: str) -> str:
    """The page as text; draws its pictures into `images`, which the page calls `folder`."""
    rows = entries(record)
    parts = [TOP, *_circumstances(record), *_short(rows), *_summary(rows)]
    for group, members in grouped(rows).items():
        parts += [f"## {group}\n", *([f"{ABOUT[group]}\n"] if ABOUT[group] else [])]
        for place, portion in enumerate(plots.portions(members), 1):
            image = f"{_slug(group)}-{place}.svg"
            plots.bars(images / image, portion)
            parts.append(f"![{group}: bars for each library]({folder}/{image})\n")
        parts += _details(members)
    if growth.get("curves"):
        parts += ["## What grows\n", *_origin(growth, record)]
        names = list(dict.fromkeys(name for curve in growth["curves"] for name in curve["points"]))
        for curve in growth["curves"]:
            image = f"growth-{_slug(curve['name'])}.svg"
            plots.curve(images / image, curve, names)
            parts += [f"### {_upper(curve['what'])}\n"]
            parts += [f"![{_cell(curve['what'])}: curves]({folder}/{image})\n", *_curve(curve)]
    return "\n".join(parts)


def _circumstances(record: dict[str, Any]) -> list[str]:
    facts = {**record["circumstances"], "took": f"{record['seconds'] / 60:.0f} minutes"}
    command = facts.pop("command")
    parts = ["## Where and when\n", _table(["what", ""], facts.items()), f"`{command}`\n"]
    if record["missing"]:
        names = ", ".join(f"`{name}`" for name in record["missing"])
        parts.append(f"**This run is not the whole one.** It lacks {names}.\n")
    if record["peers"]:
        versions = ((name, state) for name, state in record["peers"].items())
        parts.append(_table(["library", "version"], versions))
    return parts


def _short(rows: list[Entry]) -> list[str]:
    wishes = [row.reached() for row in rows]
    standard = [row.ahead_of("multiprocessing") for row in rows]
    others = [row.ahead_of(row.best_other()) for row in rows]
    text = (
        f"What was wanted is reached by {_share(wishes)} figures. allcores is ahead of the "
        f"standard library in {_share(standard)} cases, and of all other libraries in "
        f"{_share(others)} in which there are some.\n"
    )
    cells = [
        (row.what, _of(row, "allcores"), row.unit, row.shortfall())
        for row in rows
        if row.shortfall()
    ]
    head = ["case", "allcores", "unit", "falls short"]
    return ["## Where it falls short\n", text, _table(head, cells) if cells else "Nowhere else.\n"]


def _share(answers: list[bool | None]) -> str:
    return f"{answers.count(True)} of {len(answers) - answers.count(None)}"


def _summary(rows: list[Entry]) -> list[str]:
    note = (
        "↑: more is better, ↓: less is better. The ratio is that of the medians of allcores and of "
        "the standard library. What is wanted is the figure where it has the unit of the case, "
        "else the ratio.\n"
    )
    head = [
        "case",
        "unit",
        "allcores",
        "standard library",
        "best other",
        "ratio",
        "wanted",
        "",
    ]
    cells = []
    for group, members in grouped(rows).items():
        cells.append([f"**{group}**", *[""] * 7])
        for row in members:
            best = row.best_other()
            other = f"{row.spreads[best]} ({best})" if best else "-"
            cells.append(
                [
                    row.what,
                    f"{row.unit} {ARROWS[row.more_is_better]}",
                    _of(row, "allcores"),
                    _of(row, "multiprocessing"),
                    other,
                    _ratio(row, "allcores"),
                    row.target or "-",
                    {True: "reached", False: "**missed**", None: "-"}[row.reached()],
                ]
            )
    return ["## All cases\n", note, _table(head, cells)]


def _details(members: list[Entry]) -> list[str]:
    cells = []
    for row in members:
        what = f"{row.what} ({row.unit} {ARROWS[row.more_is_better]})"
        for name in row.ranked():
            spread = row.spreads[name]
            shown = f"**{name}**" if name == "allcores" else name
            cells.append([what, shown, str(spread), spread.range(), _ratio(row, name)])
            what = ""
        for name, reason in row.failed.items():
            cells.append([what, name, "-", reason, "-"])
            what = ""
    head = ["case", "library", "median", "from the smallest to the largest", "ratio"]
    floors = [(row, row.floor) for row in members if row.floor]
    return [_table(head, cells), *_floors(floors)]


def _floors(floors: list[tuple[Entry, Floor]]) -> list[str]:
    if not floors:
        return []
    text = (
        "A floor is the least that the machine takes for what a case has to do, measured in the "
        "same run (dashed in the picture).\n"
    )
    cells = []
    for row, floor in floors:
        ours = row.spreads.get("allcores")
        same = ours and floor.unit == row.unit and floor.spread.median
        times = f"{digits(ours.median / floor.spread.median)} x" if ours and same else "-"
        figure = f"{floor.spread} {floor.unit}"
        cells.append([row.what, floor.what, figure, floor.spread.range(), times])
    head = ["case", "floor", "median", "from the smallest to the largest", "allcores by it"]
    return [text, _table(head, cells)]


def _origin(growth: dict[str, Any], record: dict[str, Any]) -> list[str]:
    text = (
        "Each curve is a case at several sizes: the median, and as a band the smallest and the "
        "largest figure. The dashed line is the model, a fixed cost and one for each unit of size, "
        "fitted to the medians.\n"
    )
    then, now = growth["circumstances"], record["circumstances"]
    keys = [
        key for key in then if key in ("commit", "processor", "python") and then[key] != now[key]
    ]
    if not keys:
        return [text]
    differs = ", ".join(f"{key} {then[key]}" for key in keys)
    return [text, f"**The curves are from another run**, of {then['date']}: {differs}.\n"]


def _curve(curve: dict[str, Any]) -> list[str]:
    x, y = curve["x_unit"] or curve["x"], curve["y_unit"] or curve["y"]
    models = curve.get("models", {})
    cells = []
    for name, points in curve["points"].items():
        shown = f"**{name}**" if name == "allcores" else name
        for place, (at, *figures) in enumerate(points):
            spread = Spread(*figures)
            model = models.get(name) if place == 0 else None
            words = (
                f"{digits(model['fixed'])} {y} and {digits(model['per'])} {y} for each {x}; "
                f"off by up to {100 * model['error']:.0f} %"
                if model
                else ""
            )
            first = shown if place == 0 else ""
            cells.append([first, digits(at), str(spread), spread.range(), words])
    head = ["library", f"{curve['x']} ({x})", f"{curve['y']} ({y})", "smallest to largest", "model"]
    return [_table(head, cells)]


def _of(row: Entry, name: str) -> str:
    if name in row.spreads:
        return str(row.spreads[name])
    return "failed" if name in row.failed else "-"


def _ratio(row: Entry, name: str) -> str:
    return digits(row.ratios[name]) if name in row.ratios else "-"


def _table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(prog="python -m benches.page")
    parser.add_argument("figures", type=Path, help="what benches.run has written")
    parser.add_argument("growth", type=Path, nargs="?", help="what benches.growth has written")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    options = parser.parse_args()
    record = json.loads(options.figures.read_text())
    curves = options.growth and options.growth.exists()
    growth = json.loads(options.growth.read_text()) if curves else {}
    folder = options.page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for image in folder.glob("*.svg"):
        image.unlink()
    options.page.write_text(page(record, growth, folder, folder.name))
    print(options.page)


if __name__ == "__main__":
    main()
