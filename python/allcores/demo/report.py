"""The result in words and figures: table, explanation, findings, and the same as JSON."""

import os
import platform
import statistics
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

from allcores.demo.explain import Conditions, Timing, explain
from allcores.demo.files import SourceFile
from allcores.demo.measure import TOP, FileRecord, Function
from allcores.demo.ways import WAYS, Outcome

__all__ = ["Totals", "as_json", "difference", "median", "render", "totals"]

_WIDTH = 88


class Totals(NamedTuple):
    """All files' records added up."""

    files: int
    unparsed: int
    lines: int
    functions: int
    branches: int
    depth: int
    identifiers: int
    top: tuple[Function, ...]


def totals(records: list[FileRecord]) -> Totals:
    """Add up the records of all files and pick the most branching functions."""
    functions = [function for record in records for function in record.top]
    return Totals(
        files=len(records),
        unparsed=sum(record.error is not None for record in records),
        lines=sum(record.lines for record in records),
        functions=sum(record.functions for record in records),
        branches=sum(record.branches for record in records),
        depth=max((record.depth for record in records), default=0),
        identifiers=sum(record.identifiers for record in records),
        top=tuple(sorted(functions, reverse=True)[:TOP]),
    )


def median(outcomes: list[Outcome]) -> Timing:
    """Return the medians of a way's passes."""
    return Timing(
        seconds=statistics.median(outcome.seconds for outcome in outcomes),
        cpu_seconds=statistics.median(outcome.cpu_seconds for outcome in outcomes),
        startup=statistics.median(outcome.startup for outcome in outcomes),
    )


def difference(outcomes: Mapping[str, list[Outcome]]) -> str | None:
    """Compare the records of every pass with the first serial one; None when all are equal."""
    reference = outcomes["serial"][0].records
    for way in WAYS:
        for number, outcome in enumerate(outcomes[way], 1):
            for expected, got in zip(reference, outcome.records, strict=True):
                if expected != got:
                    return f"{way}, pass {number}: {got!r} where serial has {expected!r}"
    return None


def render(now: Conditions, timings: Mapping[str, Timing], found: Totals, passes: int) -> str:
    """Return the text below the progress bars."""
    parts = [
        _table(now, timings, passes),
        _notes(timings),
        textwrap.fill(explain(now, *(timings[way] for way in WAYS)), _WIDTH),
        _findings(found),
    ]
    return "\n\n".join(parts)


def _table(now: Conditions, timings: Mapping[str, Timing], passes: int) -> str:
    labels = {
        "serial": "serial",
        "threads": f"threads ({now.workers})",
        "allcores": f"allcores ({now.workers} process{'es' * (now.workers > 1)})",
    }
    seconds = "seconds" if passes == 1 else f"seconds (median of {passes})"
    rows = [f"{'way':24}{seconds:>22}{'speed-up':>12}{'cores busy':>14}"]
    rows.append("-" * len(rows[0]))
    for way in WAYS:
        timing = timings[way]
        gain = timings["serial"].seconds / timing.seconds
        rows.append(f"{labels[way]:24}{timing.seconds:22.2f}{gain:11.2f}x{timing.busy:14.2f}")
    return "\n".join(rows)


def _notes(timings: Mapping[str, Timing]) -> str:
    return textwrap.fill(
        "The three results are equal, file by file. The time of allcores includes starting its "
        f"workers ({1000 * timings['allcores'].startup:.0f} ms) and ending them.",
        _WIDTH,
    )


def _findings(found: Totals) -> str:
    unparsed = f", {found.unparsed:,} of them not valid for this Python" if found.unparsed else ""
    mean = (found.branches / found.functions) if found.functions else 0.0
    summary = textwrap.fill(
        f"Found in {found.files:,} files{unparsed}: {found.lines:,} lines, {found.functions:,} "
        f"functions with {mean:.1f} branches each on average, nested {found.depth} deep at most, "
        f"and {found.identifiers:,} identifiers (counted once a file).",
        _WIDTH,
    )
    if not found.top:
        return summary
    shared = _common_directory(found.top)
    rows = [f"The most branching functions (in {shared}):" if shared else "The most branching:"]
    rows.append(f"{'branches':>8}{'lines':>8}{'nested':>8}  function")
    for function in found.top:
        where = os.path.relpath(function.path, shared) if shared else function.path
        rows.append(
            f"{function.branches:8}{function.lines:8}{function.depth:8}"
            f"  {function.name}  {where}:{function.line}"
        )
    return summary + "\n\n" + "\n".join(rows)


def _common_directory(functions: tuple[Function, ...]) -> str:
    try:
        return os.path.commonpath([os.path.dirname(function.path) for function in functions])
    except ValueError:  # different drives
        return ""


def as_json(
    now: Conditions,
    timings: Mapping[str, Timing],
    outcomes: Mapping[str, list[Outcome]],
    found: Totals,
    files: list[SourceFile],
) -> dict[str, object]:
    """Return the run as plain data for ``--json``; times in seconds."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "conditions": now._asdict(),
        "bytes": sum(file.size for file in files),
        "ways": {
            way: {
                **timings[way]._asdict(),
                "speedup": timings["serial"].seconds / timings[way].seconds,
                "cores_busy": timings[way].busy,
                "passes": [outcome.seconds for outcome in outcomes[way]],
            }
            for way in WAYS
        },
        "equal": True,
        "found": {**found._asdict(), "top": [function._asdict() for function in found.top]},
    }
