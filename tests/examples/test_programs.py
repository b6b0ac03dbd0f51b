"""Each example runs under every start method, with and without a guard, however it is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from programs import PROGRAMS, TOP_LINE, Program

METHODS = ["fork", "spawn", "forkserver"]
# A loaded machine takes ten times as long as a free one.
SECONDS = 200
pytestmark = pytest.mark.watchdog(SECONDS + 20)


def run(how: str, source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "example_program.py"
    path.write_text(source)
    command = [sys.executable, "-W", "error"]
    text = None
    if how == "script":
        command += [str(path)]
    elif how == "module":
        command += ["-m", path.stem]
    else:
        command += ["-"]
        text = source
    return subprocess.run(
        command, input=text, capture_output=True, text=True, cwd=folder, timeout=SECONDS
    )


def test_all_five_are_here() -> None:
    """`examples/` has the five programs."""
    assert [program.name[0] for program in PROGRAMS] == list("12345")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("guarded", [False, True], ids=["unguarded", "guarded"])
@pytest.mark.parametrize("how", ["script", "module", "stdin"])
def test_program(program: Program, method: str, guarded: bool, how: str, tmp_path: Path) -> None:
    """It prints what `expected.txt` says, its first line once, and nothing on standard error."""
    result = run(how, program.form(method, guarded=guarded), tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    first, _, rest = result.stdout.partition("\n")
    assert first == TOP_LINE
    program.check(rest)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_program_as_it_is(program: Program, tmp_path: Path) -> None:
    """The file itself runs, under the default start method."""
    result = run("script", program.source, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    program.check(result.stdout)
