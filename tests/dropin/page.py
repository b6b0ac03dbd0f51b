"""The page of the documentation: what CPython's tests say about allcores."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.dropin.known import kind, known
from tests.dropin.scaffolding import CHANGES

TOP = """\
# CPython's own tests

allcores is to be what `multiprocessing` is, so CPython's tests of `multiprocessing` and of
`concurrent.futures.ProcessPoolExecutor` are run against it: those of the interpreter at hand, with
`import multiprocessing` turned into `import allcores`, each class in a process of its own.

A row of the table is a version of Python and a start method, by which the tests' processes start,
or the executor under all three. "Tests of" says whose tests they are: some installations of Python
come without those of the executor, and borrow them from a neighbour. A test that fails is done once
more by itself, as CPython does with its own. `make dropin-page` writes this page from what
`make dropin` has found.

"""
SUITES = ("fork", "spawn", "forkserver", "executor")
KINDS = ("passed", "skipped", "internal", "different", "failing")
LEGEND = """
*skipped*: by CPython's test itself, as not meant for this system, start method or kind of object.
*internal*: its subject is a private part of the standard library. *different*: it asks for
what allcores exists to be without. *failing*: it should pass, and doesn't. The reasons are below.
"""


def _order(version: str) -> list[int]:
    return [int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "---|" * (lines[0].count(" | ") + 1))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return lines


def _plain(text: str) -> str:
    """Return a text that stands in a table's cell as it is."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def write(folder: Path) -> str:
    """Return the page for the results in a folder, one file for each Python version.

    Args:
        folder: where `python -m tests.dropin` has put them.
    """
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    if not records:
        raise SystemExit(f"there are no results in {folder}: run `make dropin` first")
    records.sort(key=lambda record: _order(record["python"]))
    lines = [TOP.rstrip(), ""]
    rows, reasons = [], {one: defaultdict(set) for one in KINDS}
    used: set[str] = set()
    for record in records:
        for suite, result in record["suites"].items():
            label = f"{_short(record['python'])}, {suite}"
            if result is None:
                rows.append([record["python"], suite, "not found", *[""] * 5, record["date"]])
                continue
            used.update(result["changes"])
            counts: Counter[str] = Counter()
            for test, (what, reason, _) in result["outcomes"].items():
                found = kind(test, what)
                counts[found] += 1
                listed = known(test) if found in ("internal", "different") else None
                if found != "passed" or reason:
                    reasons[found][listed or (test, reason)].add(label)
            numbers = [str(counts[one]) for one in KINDS]
            rows.append([record["python"], suite, result["source"], *numbers, record["date"]])
    head = ["Python", "start method", "tests of", *KINDS, "date"]
    lines += _table(head, rows) + [LEGEND.rstrip(), ""]
    systems = sorted({record["system"] for record in records})
    lines += [f"Run on {', '.join(systems)}.", ""]
    for one, title in (
        ("failing", "Failing"),
        ("passed", "Passed when done again"),
        ("different", "Different on purpose"),
        ("internal", "Internal"),
    ):
        lines += [f"## {title}", ""]
        lines += _listed(reasons[one]) if reasons[one] else ["None."]
        lines += [""]
    lines += ["## Skipped by CPython itself", ""] + _skipped(reasons["skipped"]) + [""]
    lines += ["## What is changed in the tests", "", "Besides where names come from, this:", ""]
    lines += [f"- {name}: {reason}." for name, _, _, reason in CHANGES if name in used]
    return "\n".join(lines) + "\n"


def _short(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _listed(found: dict[Any, set[str]]) -> list[str]:
    """One row for a test, or for those that one pattern stands for."""
    rows = []
    for (test, reason), where in sorted(found.items()):
        rows.append([f"`{test}`", "; ".join(_runs(where)), _plain(reason)])
    return _table(["test", "in", "why"], rows)


def _runs(where: set[str]) -> list[str]:
    """Return "3.11 fork, spawn" for the labels of these two."""
    by_version: dict[str, list[str]] = defaultdict(list)
    labels = [label.split(", ") for label in where]
    for version, suite in sorted(labels, key=lambda one: (_order(one[0]), SUITES.index(one[1]))):
        by_version[version].append(suite)
    return [f"{version} {', '.join(suites)}" for version, suites in by_version.items()]


def _skipped(found: dict[Any, set[str]]) -> list[str]:
    """Count the skipped tests by reason."""
    tests: dict[str, set[str]] = defaultdict(set)
    for test, reason in found:
        tests[reason].add(test)
    rows = sorted(tests.items(), key=lambda item: -len(item[1]))
    return _table(["tests", "reason"], ([str(len(t)), _plain(reason)] for reason, t in rows))
