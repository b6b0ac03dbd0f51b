"""The picture of a run: how long each way took, and how it got there.

matplotlib is imported when the work is done: it brings NumPy and its threads, and a program that
has threads can't be forked safely.
"""

import importlib
import os
from collections.abc import Mapping

from allcores.demo.explain import Conditions, Timing
from allcores.demo.problem import Problem
from allcores.demo.ways import WAYS, Outcome

__all__ = ["check_format", "draw"]

_FORMATS = (".png", ".svg", ".pdf")
_COLOURS = {"serial": "#7f8c8d", "threads": "#d98c2b", "allcores": "#2470a0"}


def check_format(target: str) -> None:
    """Raise Problem when the name's ending is none that can be drawn."""
    ending = os.path.splitext(target)[1].lower()
    if ending not in _FORMATS:
        raise Problem(
            f"--plot: {target!r} must end in {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}."
        )


def draw(
    target: str, now: Conditions, timings: Mapping[str, Timing], last: Mapping[str, Outcome]
) -> None:
    """Draw the times as bars and the last pass of each way as a line, into a file.

    Raises:
        Problem: matplotlib doesn't work, or the file can't be written.
    """
    try:
        figure_module = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise Problem(f"--plot: matplotlib is installed but can't be imported: {error}") from error
    figure = figure_module.Figure(figsize=(10, 4.2), layout="constrained")
    bars, lines = figure.subplots(1, 2, width_ratios=(3, 4))

    names = [_label(way, now) for way in WAYS]
    seconds = [timings[way].seconds for way in WAYS]
    drawn = bars.barh(names, seconds, color=[_COLOURS[way] for way in WAYS], height=0.6)
    gains = [f"{seconds[0] / value:.2f}x" for value in seconds]
    bars.bar_label(drawn, gains, padding=4, fontweight="bold")
    bars.invert_yaxis()
    bars.set_xlim(0, 1.18 * max(seconds))
    bars.set_xlabel("seconds (less is better)")
    bars.set_title("Time, and speed-up over serial", fontsize=11)

    for way in WAYS:
        times, sizes = zip(*last[way].curve, strict=True)
        megabytes = [size / 1e6 for size in sizes]
        lines.plot(times, megabytes, color=_COLOURS[way], label=_label(way, now, " "), linewidth=2)
    lines.set_xlim(0)
    lines.set_ylim(0)
    lines.set_xlabel("seconds")
    lines.set_ylabel("MB of source measured")
    lines.set_title("Progress", fontsize=11)
    lines.legend(frameon=False, loc="lower right")
    for axes in (bars, lines):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"Measuring {now.files:,} Python files on {now.cpus} core{'s' * (now.cpus > 1)}"
    )
    try:
        figure.savefig(target, dpi=150)
    except OSError as error:
        raise Problem(f"--plot: {target!r} can't be written: {error.strerror}.") from error


def _label(way: str, now: Conditions, gap: str = "\n") -> str:
    if way == "serial":
        return way
    kind = "threads" if way == "threads" else "processes"
    return f"{way}{gap}({now.workers})" if way == kind else f"{way}{gap}({now.workers} {kind})"
