"""Runs aimed tests class by class, each class in a process of its own with a time limit.

A test that hangs, or that takes its process with it, costs what its class has not reached by then,
and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.dropin.known import known

INSIDE = Path(__file__).with_name("inside.py")
# What a class gets. The slowest takes half a minute on two cores (measured).
CLASS_S = 240.0
# What a test gets that is known not to pass: some of them would wait for ever.
KNOWN_S = 20.0
# From the last test's end to the process's. Guessed.
EXIT_S = 30.0
# What its stack gets to be written. Guessed.
STACK_S = 10.0


class Class(NamedTuple):
    """A class of tests.

    Args:
        module: where it is.
        name: what it is called.
        method: the start method that it is for; None for any.
        tests: their names.
    """

    module: str
    name: str
    method: str | None
    tests: list[str]


class Outcome(NamedTuple):
    """What became of a test: "passed", "skipped", "failed" or "hung", and why.

    The seconds are 0 if it didn't end.
    """

    what: str
    why: str
    seconds: float


@dataclass
class Report:
    """What a class's process said."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    around: list[Outcome] = field(default_factory=list)
    running: str | None = None
    done: bool = False

    def read(self, lines: list[str]) -> None:
        for line in lines:
            what, *rest = json.loads(line)
            if what == "begin":
                (self.running,) = rest
            elif what == "end":
                name, outcome, reason, seconds = rest
                self.outcomes[name] = Outcome(outcome, reason, round(seconds, 2))
                self.running = None
            elif what == "around":
                place, outcome, reason = rest
                self.around.append(Outcome(outcome, f"{place}: {reason}", 0))
            else:
                self.done = True


def list_classes(root: Path, modules: list[str]) -> list[Class]:
    """Return the classes of tests in some modules of the aimed package.

    Args:
        root: the folder that the package is in.
        modules: their names.
    """
    out = root / "list.json"
    command = [sys.executable, "-P", str(INSIDE), "list", str(out), *modules]
    subprocess.run(command, env=environment(root), cwd=root, check=True, stdin=subprocess.DEVNULL)
    return [Class(*one) for one in json.loads(out.read_text())]


def environment(root: Path) -> dict[str, str]:
    """Return the environment in which the aimed tests, and ours of this checkout, are found."""
    path = [str(root), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def run_class(root: Path, cls: Class, limit: float = CLASS_S) -> tuple[dict[str, Outcome], str]:
    """Run a class; return what became of each test, and what the process printed.

    Tests that are known not to pass run apart, one by one: what they leave is of no consequence.
    One that fails is done once more, by itself, as CPython does: some of them expect a thing within
    a second or two, which a busy machine may miss.

    Args:
        root: the folder that the aimed package is in.
        cls: the class.
        limit: seconds for all of it.
    """
    apart = [test for test in cls.tests if known(f"{cls.name}.{test}")]
    rest = [test for test in cls.tests if test not in apart]
    outcomes, text = _run(root, cls._replace(tests=rest), limit) if rest else ({}, "")
    for test in rest:
        first = outcomes[test]
        # One that failed at once, hung, or ended its process has missed no such moment.
        if first.what == "failed" and first.seconds:
            again, _ = _run(root, cls._replace(tests=[test]), limit, f"{test}-again")
            if again[test].what == "passed":
                outcomes[test] = again[test]._replace(why=f"done again; at first: {first.why}")
    for test in apart:
        found, _ = _run(root, cls._replace(tests=[test]), min(limit, KNOWN_S), test)
        outcomes[test] = found[test]
    return outcomes, text


def _run(
    root: Path, cls: Class, limit: float, label: str = "all"
) -> tuple[dict[str, Outcome], str]:
    stem = root / re.sub(r"\W", "_", f"{cls.module}-{cls.name}-{label}")
    out, log = stem.with_suffix(".jsonl"), stem.with_suffix(".log")
    folder = stem.with_suffix(".cwd")
    folder.mkdir(exist_ok=True)
    out.touch()
    command = [sys.executable, "-P", str(INSIDE), "run", str(out), cls.module, cls.name]
    command += cls.tests
    with open(log, "wb") as printed:
        # A session of its own, so that all it started can be ended with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            cwd=folder,
            env=environment(root),
            start_new_session=True,
        )
        where = ""
        try:
            where = _wait(process, out, limit)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    report = Report()
    report.read(out.read_text().splitlines())
    text = log.read_text(errors="replace")
    return _verdicts(cls, report, where, process.returncode, text), text


def _wait(process: subprocess.Popen[bytes], out: Path, limit: float) -> str:
    """Wait for the process; return "", or where it stands when its time is over."""
    end = time.monotonic() + limit
    while True:
        try:
            process.wait(max(0.0, min(1.0, end - time.monotonic())))
            return ""
        except subprocess.TimeoutExpired:
            pass
        if out.read_bytes().endswith(b'["done"]\n'):
            end = min(end, time.monotonic() + EXIT_S)
            try:
                process.wait(max(0.0, end - time.monotonic()))
                return ""
            except subprocess.TimeoutExpired:
                return _stand(process, out)
        if time.monotonic() >= end:
            return _stand(process, out)


def _stand(process: subprocess.Popen[bytes], out: Path) -> str:
    """Return where the process's main thread stands."""
    stacks = Path(f"{out}.stacks")
    frames: list[tuple[str, str, str]] = []
    with contextlib.suppress(OSError, ProcessLookupError):
        os.kill(process.pid, signal.SIGUSR2)
        end = time.monotonic() + STACK_S
        # It is written frame by frame, the outermost last.
        while time.monotonic() < end and not (frames and frames[-1][2] == "<module>"):
            time.sleep(0.01)
            text = stacks.read_text(errors="replace").rpartition("Current")[2]
            frames = re.findall(r'File "([^"]+)", line (\d+) in (.+)\n', text)
    if frames:
        return " < ".join(f"{Path(f).name}:{line} {name}" for f, line, name in frames[:6])
    return "nobody knows where"


def _verdicts(
    cls: Class, report: Report, where: str, code: int, printed: str
) -> dict[str, Outcome]:
    """Complete what the process said by what became of the tests it said nothing of."""
    outcomes = report.outcomes
    rest: Outcome | None = None
    if where and report.done:
        rest = Outcome("hung", f"the process didn't end: {where}", 0)
        outcomes["(end of the process)"] = rest
    elif where:
        hung = report.running or "(around the tests)"
        outcomes[hung] = Outcome("hung", f"at {where}", 0)
        rest = Outcome("hung", f"not reached: {hung} hung", 0)
    elif not report.done:
        last = (printed.strip().splitlines() or ["it printed nothing"])[-1]
        died = Outcome("failed", f"the process ended with {code}: {last[:200]}", 0)
        outcomes[report.running or "(around the tests)"] = died
        rest = Outcome("failed", "not reached: the process had ended", 0)
    elif report.around:
        failed = [one for one in report.around if one.what != "skipped"]
        rest = (failed or report.around)[0]
        if failed and all(test in outcomes for test in cls.tests):
            outcomes["(around the tests)"] = rest
    for test in cls.tests:
        outcomes.setdefault(test, rest or Outcome("failed", "nothing is known of it", 0))
    return outcomes
