"""Types of results are those of the function: mypy infers ``list[R]``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import itertools
import allcores as mp

def text(x: int) -> str:
    return str(x)

def both(x: int, y: str) -> float:
    return x + len(y)

reveal_type(mp.map(text, [1]))
reveal_type(mp.map(lambda x: x + 1, [1]))
reveal_type(mp.map(both, [1], ["a"], workers=2, timeout=3, seed=1, progress=True))
reveal_type(mp.map(text, [1], on_error="return"))
reveal_type(mp.imap(text, itertools.count(), ordered=False))
reveal_type([x for x in mp.imap(text, [1], on_error="skip")])

async def main() -> None:
    reveal_type(await mp.amap(text, [1], engine="threads"))

mp.map(text, ["a"])
mp.map(text, [1], worker=2)
mp.map(text, [1], engine="fast")
"""
REVEALED = [
    "list[str]",
    "list[int]",
    "list[float]",
    "list[str | BaseException]",
    "allcores.calls.Results[str]",
    "list[str]",
    "list[str]",
]


@pytest.mark.watchdog(180)
def test_mypy_infers_the_results(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    program = tmp_path / "typed.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--cache-dir"]
    command += [str(tmp_path / "cache"), "--config-file", "/dev/null", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=170)
    lines = done.stdout.splitlines()
    types = [line.split('"')[1] for line in lines if "Revealed type" in line]
    assert types == REVEALED, done.stdout + done.stderr
    first = PROGRAM.splitlines().index('mp.map(text, ["a"])') + 1
    wrong = {int(line.split(":")[1]) for line in lines if ": error:" in line}
    assert wrong == {first, first + 1, first + 2}, done.stdout
