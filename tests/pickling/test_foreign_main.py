"""A program may run under a `__main__` that isn't its own: profilers and `exec` do that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import allcores as mp
class Thing:
    class Part:
        def __init__(self, value):
            self.value = value
    def __init__(self, value):
        self.part = self.Part(value)
    def twice(self):
        return Thing(2 * self.part.value)
def make(value):
    return Thing(value)
def recurse(n):
    return n and recurse(n - 1) + 1
with mp.get_context(METHOD).Pool(1) as pool:
    made = pool.map(make, [1, 2])
    print([isinstance(thing, Thing) and isinstance(thing.part, Thing.Part) for thing in made])
    print([thing.part.value for thing in pool.map(Thing.twice, made)], pool.apply(recurse, (3,)))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("runner", ["exec", "cProfile"])
def test_its_classes_travel_whole(runner: str, method: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.replace("METHOD", repr(method)))
    command = ["-m", "cProfile", "-o", str(tmp_path / "profile"), str(script)]
    if runner == "exec":
        command = ["-c", f"exec(open({str(script)!r}).read(), {{'__name__': '__main__'}})"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=150)
    assert done.stdout == "[True, True]\n[2, 4] 3\n", done.stderr
