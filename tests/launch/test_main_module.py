"""`__main__` is run once, whatever it is and however the children start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import allcores as mp
print("top", __name__)

step = 2

class Thing:
    def __init__(self, value):
        self.value = value

def work(conn, thing):
    conn.send(Thing(thing.value + step))

mp.set_start_method(%r)
here, there = mp.Pipe()
child = mp.Process(target=work, args=(there, Thing(1)))
child.start()
print(here.recv().value)
child.join()
print(child.exitcode)
"""
METHODS = ["fork", "spawn", "forkserver"]
EXPECTED = ["top __main__", "3", "0"]


def run(
    arguments: list[str], folder: Path, text: str | None = None, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=150,
        cwd=folder,
        env={**os.environ, **(more or {})},
        check=False,
    )


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("how", ["script", "module", "package", "stdin", "command"])
@pytest.mark.parametrize("method", METHODS)
def test_top_level_runs_once(method: str, how: str, guard: bool, tmp_path: Path) -> None:
    text = PROGRAM % method
    if guard:
        before, start, after = text.partition("mp.set_start_method")
        lines = (start + after).splitlines()
        text = before + "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in lines)
    script = tmp_path / "program.py"
    script.write_text(text)
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(text)
    arguments, stdin = {
        "script": ([str(script)], None),
        "module": (["-m", "program"], None),
        "package": (["-m", "package"], None),
        "stdin": (["-"], text),
        "command": (["-c", text], None),
    }[how]
    done = run(arguments, tmp_path, stdin)
    assert done.stderr == ""
    assert done.stdout.splitlines() == EXPECTED
    assert done.returncode == 0


RELATIVE = """
import allcores as mp

def work(conn):
    from .helper import answer
    conn.send((answer, __file__, __package__, __name__))

mp.set_start_method(%r)
here, there = mp.Pipe()
child = mp.Process(target=work, args=(there,))
child.start()
print(here.recv() == (42, __file__, __package__, "__main__"))
child.join()
"""


@pytest.mark.parametrize("method", METHODS)
def test_relative_import_in_a_function_of_main(method: str, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("answer = 42\n")
    (package / "program.py").write_text(RELATIVE % method)
    done = run(["-m", "package.program"], tmp_path)
    assert done.stderr == ""
    assert done.stdout == "True\n"


GRANDCHILD = """
import allcores as mp

def leaf(conn, x):
    conn.send((x * factor, mp.parent_process().name, mp.current_process().name))

def branch(conn, method):
    child = mp.get_context(method).Process(target=leaf, args=(conn, 3), name="leaf")
    child.start()
    child.join()

factor = 5
for outer in %(methods)r:
    for inner in %(methods)r:
        here, there = mp.Pipe()
        child = mp.get_context(outer).Process(target=branch, args=(there, inner), name="branch")
        child.start()
        assert here.recv() == (15, "branch", "leaf"), (outer, inner)
        child.join()
        assert child.exitcode == 0
print("done")
"""


def test_children_of_children_under_every_pair_of_methods(tmp_path: Path) -> None:
    done = run(["-c", GRANDCHILD % {"methods": METHODS}], tmp_path)
    assert done.stderr == ""
    assert done.stdout == "done\n"


ARENA = """
import os
import allcores as mp
from allcores import _core

def look(conn):
    fd = _core.arena_fd()
    same = [f for f in os.listdir("/proc/self/fd") if is_arena(f)]
    conn.send((_core.session(), len(same), os.get_inheritable(fd)))

def is_arena(fd):
    try:
        return "allcores" in os.readlink("/proc/self/fd/" + fd)
    except OSError:
        return False

for method in ("fork", "spawn", "forkserver"):
    here, there = mp.Pipe()
    child = mp.get_context(method).Process(target=look, args=(there,))
    child.start()
    assert here.recv() == (_core.session(), 1, False), method
    child.join()
print("done")
"""


def test_one_descriptor_of_the_same_arena_in_every_process(tmp_path: Path) -> None:
    done = run(["-c", ARENA], tmp_path)
    assert done.stderr == ""
    assert done.stdout == "done\n"
