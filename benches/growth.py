"""How cost grows: figures over a number of tasks, bytes, processes or keys, and what fits them.

    python -m benches.growth                    all curves
    python -m benches.growth map dict_get       these
    python -m benches.growth --rounds 1         each point once (default: 3 times)
    python -m benches.growth --json FILE        as JSON as well

Each point is measured in a fresh process with a time limit. A library that fails or takes too long
at one ends there. What fits is a fixed cost and one for each item or byte, with the least squares
of relative errors, so that small ones count like large ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benches import fresh, install
from benches.curves import CURVES, Curve
from benches.machine import circumstances

LIMIT_S = 60.0


class Model(NamedTuple):
    """`fixed + per * x`.

    Attributes:
        fixed: in the curve's unit.
        per: for each x.
        error: the root of the mean of the squares of relative errors.
        worst: the x that lies farthest off.
        off: by what factor the figure there is the model's.
    """

    fixed: float
    per: float
    error: float
    worst: float
    off: float


def fitted(points: list[tuple[float, float]]) -> Model | None:
    """The model of some points; None when there are too few, or not all are above zero."""
    import numpy

    x, y = numpy.array(points, dtype=float).reshape(-1, 2).T
    if len(x) < 3 or y.min() <= 0:
        return None
    columns = numpy.stack([1 / y, x / y], axis=1)
    fixed, per = (float(cost) for cost in numpy.linalg.lstsq(columns, numpy.ones(len(x)))[0])
    # No cost is below zero: then the other alone has to do.
    if fixed < 0:
        fixed, per = 0.0, float((x / y).sum() / (x / y).dot(x / y))
    elif per < 0:
        fixed, per = float((1 / y).sum() / (1 / y).dot(1 / y)), 0.0
    off = y / (fixed + per * x)
    errors = (fixed + per * x) / y - 1
    worst = int(numpy.abs(numpy.log(off)).argmax())
    error = float(numpy.sqrt((errors**2).mean()))
    return Model(fixed, per, error, float(x[worst]), float(off[worst]))


class Measured(NamedTuple):
    """A curve's points: for each library x and the figures there, and why it ended early."""

    name: str
    curve: Curve
    figures: dict[str, dict[int, list[float]]]
    ended: dict[str, str]

    def models(self) -> dict[str, Model]:
        """What fits the medians."""
        fits = {
            library: fitted([(x, statistics.median(all_)) for x, all_ in points.items()])
            for library, points in self.figures.items()
        }
        return {library: model for library, model in fits.items() if model}

    def lines(self) -> list[str]:
        """A table: a line for each x, below it the models and who ended early."""
        curve = self.curve
        head = f"{curve.x_name + (f' ({curve.x_unit})' if curve.x_unit else ''):>14}"
        lines = [f"{self.name}: {curve.what}; {curve.y_name} in {curve.y_unit}"]
        lines.append(head + "".join(f"{library:>32}" for library in self.figures))
        for x in curve.x:
            cells = (self._cell(library, x) for library in self.figures)
            lines.append(f"{x:>14,}" + "".join(f"{cell:>32}" for cell in cells))
        for library, model in self.models().items():
            lines.append(
                f"  {library}: {model.fixed:.3g} {curve.y_unit} + {model.per:.3g} {curve.y_unit}"
                f" x {curve.x_name}, off by {model.error:.0%}; most at {model.worst:,.0f}:"
                f" {model.off:.2g} times as much"
            )
        return [*lines, *(f"  {library} ended at {why}" for library, why in self.ended.items())]

    def _cell(self, library: str, x: int) -> str:
        all_ = self.figures[library].get(x)
        if not all_:
            return "-"
        return f"{statistics.median(all_):.3g} ({min(all_):.3g} to {max(all_):.3g})"

    def data(self) -> dict[str, Any]:
        """The curve for JSON."""
        curve = self.curve
        return {
            "name": self.name,
            "what": curve.what,
            "x": curve.x_name,
            "y": curve.y_name,
            "x_unit": curve.x_unit,
            "y_unit": curve.y_unit,
            "points": {
                library: [
                    [x, statistics.median(all_), min(all_), max(all_)] for x, all_ in points.items()
                ]
                for library, points in self.figures.items()
            },
            "models": {library: model._asdict() for library, model in self.models().items()},
            "ended": self.ended,
        }


def measured(name: str, rounds: int) -> Measured:
    """Measure a curve; at each x the libraries take turns."""
    curve = CURVES[name]
    result = Measured(name, curve, {library: {} for library in curve.libraries}, {})
    for x in curve.x:
        for number in range(rounds):
            for library in curve.libraries[:: 1 if number % 2 else -1]:
                if library in result.ended:
                    continue
                try:
                    figure = _point(name, library, x)
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    result.ended[library] = f"{x:,}: {error}"
                    result.figures[library].pop(x, None)
                else:
                    result.figures[library].setdefault(x, []).append(figure)
    return result


def _point(name: str, library: str, x: int) -> float:
    return fresh.figure(install.here(library), ["benches.curves", name, library, str(x)], LIMIT_S)


def main() -> int:
    """Measure the curves asked for and print them."""
    parser = argparse.ArgumentParser(
        prog="python -m benches.growth", description="How cost grows with what it is for."
    )
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=", ".join(CURVES))
    parser.add_argument("--rounds", type=int, default=3, help="of each point (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    options = parser.parse_args()
    if unknown := {*options.curves} - {*CURVES}:
        parser.error(f"no such curve: {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error("--rounds has to be at least 1")
    fresh.adopt_orphans()
    fresh.compile_all()
    facts = circumstances()
    for key, value in facts.items():
        print(f"{key:18} {value}")
    curves = []
    for name in options.curves or CURVES:
        curves.append(measured(name, options.rounds))
        print("", *curves[-1].lines(), sep="\n", flush=True)
    if options.json:
        data = {"circumstances": facts, "curves": [curve.data() for curve in curves]}
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return 1 if any("allcores" in curve.ended for curve in curves) else 0


if __name__ == "__main__":
    sys.exit(main())
