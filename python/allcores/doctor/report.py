"""Gather the findings and show them."""

import json
import textwrap

from allcores.doctor import machine, probes
from allcores.doctor.finding import Finding
from allcores.doctor.limits import limits
from allcores.doctor.python import packages, python

__all__ = ["examine", "render", "run"]

_WIDTH = 92
_MARKS = {"ok": " ", "note": "!", "bad": "X"}


def examine() -> dict[str, list[Finding]]:
    """Look at everything and return the findings, by subject."""
    sections = {
        "cores": machine.cores(),
        "python": python(),
        "memory": machine.memory(),
        "limits": limits(),
        "operating system": [*machine.system(), *probes.probes()],
        "packages": packages(),
    }
    return {name: findings for name, findings in sections.items() if findings}


def run(as_json: bool = False) -> int:
    """Print the report; return 1 when something stops allcores from working, else 0."""
    sections = examine()
    bad = any(finding.verdict == "bad" for found in sections.values() for finding in found)
    if as_json:
        data = {
            name: {finding.name: _plain(finding) for finding in findings}
            for name, findings in sections.items()
        }
        print(json.dumps({"ok": not bad, **data}, indent=2))
    else:
        print(render(sections))
    return 1 if bad else 0


def render(sections: dict[str, list[Finding]]) -> str:
    """Return the report as text: a line for each finding, advice below it, a verdict at the end."""
    width = max(len(finding.name) for findings in sections.values() for finding in findings)
    lines: list[str] = []
    counts = {"ok": 0, "note": 0, "bad": 0}
    for name, findings in sections.items():
        lines.append(name.capitalize())
        for finding in findings:
            counts[finding.verdict] += 1
            lines.append(f" {_MARKS[finding.verdict]} {finding.name:{width}}  {finding.value}")
            if finding.advice:
                gap = " " * 5
                lines += textwrap.wrap(
                    finding.advice, _WIDTH, initial_indent=gap, subsequent_indent=gap
                )
        lines.append("")
    lines.append(_verdict(counts["note"], counts["bad"]))
    return "\n".join(lines)


def _verdict(notes: int, bad: int) -> str:
    if bad:
        things = "One thing stops" if bad == 1 else f"{bad} things stop"
        return f"{things} allcores from working here: see the X above."
    if notes:
        things = "One thing" if notes == 1 else f"{notes} things"
        return f"allcores works here. {things} to know: see the ! above."
    return "allcores works here, and nothing stands in its way."


def _plain(finding: Finding) -> dict[str, object]:
    plain: dict[str, object] = {"value": finding.value, "verdict": finding.verdict}
    if finding.data is not None:
        plain["data"] = finding.data
    if finding.advice:
        plain["advice"] = finding.advice
    return plain
