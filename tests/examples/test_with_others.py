"""Programs of other libraries run with our pools, contexts and queues, under every start method."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from programs import FOLDER, TOP_LINE, Program, read

METHODS = ["fork", "spawn", "forkserver"]
# Some take seconds to import, in each worker.
SECONDS = 300
OTHERS = [read(path.parent) for path in sorted((FOLDER / "others").glob("*/program.py"))]


def run(program: Program, source: str, folder: Path) -> str:
    if importlib.util.find_spec(program.name) is None:
        pytest.skip(f"{program.name} is not installed")
    path = folder / "example_program.py"
    path.write_text(source)
    command = [sys.executable, "-W", "error::ResourceWarning", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.watchdog(SECONDS + 20)
@pytest.mark.parametrize("program", OTHERS, ids=lambda program: program.name)
@pytest.mark.parametrize("method", METHODS)
def test_other_library(program: Program, method: str, tmp_path: Path) -> None:
    """It prints what `expected.txt` says, and its first line once."""
    first, _, rest = run(program, program.form(method, guarded=False), tmp_path).partition("\n")
    assert first == TOP_LINE
    program.check(rest)


def test_each_is_in_the_list() -> None:
    """README.md there names each of them, and no others."""
    listed = (FOLDER / "others" / "README.md").read_text()
    assert [name for name in (p.name for p in OTHERS) if f"[{name}]({name})" not in listed] == []
    assert listed.count("](") == len(OTHERS)
