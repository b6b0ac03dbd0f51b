"""The pictures of the record: bars for the cases of a group, curves for what grows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benches.record import Entry

# On a white ground of their own the pictures can be read on a dark page as well.
OURS, STANDARD, OTHER, FAILED, TEXT = "#d1495b", "#30506d", "#a9b8c4", "#8a1c1c", "#222222"
# For lines, which have to be told apart.
PALETTE = ["#e08e2b", "#3a9d5d", "#7b5ea7", "#3f8fc4", "#8c6239", "#c65fa3", "#8a8f2a", "#17a2a2"]
STYLE: Any = {
    "svg.fonttype": "none",  # texts stay texts: a tenth of the size
    "svg.hashsalt": "allcores",  # the same picture is the same file
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "text.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}
COLUMNS = 2
WIDTH_IN = 8.4
BAR_IN, HEAD_IN = 0.17, 0.62
# In one picture, at most: about 50 KB.
BARS = 50


def portions(rows: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The cases for each of the pictures of a group."""
    portion: list[Entry] = []
    count = 0
    for row in rows:
        more = len(row.spreads) + len(row.failed)
        if portion and count + more > BARS:
            yield portion
            portion, count = [], 0
        portion.append(row)
        count += more
    if portion:
        yield portion


def bars(path: Path, rows: Sequence[Entry]) -> None:
    """Each case a small chart: a bar for each library, the best on top, on a log scale."""
    with matplotlib.rc_context(STYLE):
        pairs = [rows[start : start + COLUMNS] for start in range(0, len(rows), COLUMNS)]
        lengths = [max(len(row.spreads) + len(row.failed) for row in pair) for pair in pairs]
        heights = [HEAD_IN + BAR_IN * length for length in lengths]
        figure = Figure(figsize=(WIDTH_IN, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(len(pairs), COLUMNS, height_ratios=heights)
        for line, (pair, length) in enumerate(zip(pairs, lengths, strict=True)):
            for column, row in enumerate(pair):
                _bars(figure.add_subplot(grid[line, column]), row, length)
        _save(figure, path)


def _bars(axes: Any, row: Entry, length: int) -> None:
    names = [*row.ranked(), *row.failed]
    spreads = [row.spreads[name] for name in row.ranked()]
    medians = [spread.median for spread in spreads]
    # An idle process may have taken no time at all, which has no place on a log scale.
    shown = [value for spread in spreads for value in spread[:3] if value > 0] or [1.0]
    if row.floor and row.floor.unit == row.unit:
        shown.append(row.floor.spread.median)
    low, high = min(shown) / 3, max(shown)
    high *= (high / low) ** 0.3  # room for the numbers
    colours = [{"allcores": OURS, "multiprocessing": STANDARD}.get(name, OTHER) for name in names]
    axes.barh(
        range(len(medians)),
        [max(median - low, 0) for median in medians],
        left=low,
        height=0.72,
        color=colours[: len(medians)],
    )
    starts, ends = (
        [max(low, value) for value in values]
        for values in ([spread.least for spread in spreads], [spread.most for spread in spreads])
    )
    axes.hlines(range(len(spreads)), starts, ends, color=TEXT, lw=0.9)
    for place, spread in enumerate(spreads):
        axes.text(max(spread.most, low) * (high / low) ** 0.015, place, str(spread), va="center")
    for place in range(len(spreads), len(names)):
        axes.text(low * (high / low) ** 0.015, place, "failed", va="center", color=FAILED)
    if row.floor and row.floor.unit == row.unit:
        axes.axvline(row.floor.spread.median, color=TEXT, lw=0.8, ls="--", zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(length - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if name == "allcores" else "normal")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_visible(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    direction = "more" if row.more_is_better else "less"
    unit = f"{row.unit}, " if row.unit else ""
    what = textwrap.fill(row.what.replace("`", ""), 46)
    title = f"{what}\n{unit}{direction} is better"
    axes.set_title(title, fontsize=8, loc="left", color=TEXT)


def curve(path: Path, data: dict[str, Any], names: Sequence[str]) -> None:
    """What was measured, with its range, and dashed each library's model.

    `names` are the libraries of all curves: each has the same colour everywhere.
    """
    others = [name for name in names if name not in ("allcores", "multiprocessing")]
    colours = {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(others)}
    colours |= {"allcores": OURS, "multiprocessing": STANDARD}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 3.8), layout="constrained")
        axes = figure.subplots()
        for name, points in data["points"].items():
            if points:
                _line(axes, name, points, data.get("models", {}).get(name), colours[name])
        for axis, scale, what in (
            (axes.xaxis, axes.set_xscale, "x"),
            (axes.yaxis, axes.set_yscale, "y"),
        ):
            scale("log")
            axis.set_major_formatter(lambda value, _: f"{value:,.12g}")
            axis.set_label_text(_axis(data[what], data[f"{what}_unit"]))
        axes.grid(color="#dddddd", lw=0.5)
        axes.set_axisbelow(True)
        figure.legend(loc="outside right upper", frameon=False)
        _save(figure, path)


def _line(axes: Any, name: str, points: Any, model: dict[str, float] | None, colour: str) -> None:
    xs, medians, least, most = zip(*points, strict=True)
    width = 2.2 if name == "allcores" else 1.2
    axes.plot(xs, medians, "o-", color=colour, lw=width, ms=3, label=name)
    axes.fill_between(xs, least, most, color=colour, alpha=0.2, lw=0)
    if model:
        steps = [xs[0] * (xs[-1] / xs[0]) ** (step / 16) for step in range(17)]
        costs = [model["fixed"] + model["per"] * x for x in steps]
        axes.plot(
            steps, [cost if cost > 0 else math.nan for cost in costs], "--", color=colour, lw=0.9
        )


def _axis(what: str, unit: str) -> str:
    return f"{what} ({unit})" if unit and unit != what else what


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None} if path.suffix == ".svg" else {})
