"""A process that the standard library started uses allcores: its `__main__` has another name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import multiprocessing, sys
import allcores as mp
class Thing:
    def __init__(self, value):
        self.value = value
    def twice(self):
        return 2 * self.value
def make(value):
    return Thing(value)
def work(queue):
    with mp.Pool(2) as pool:
        made = pool.map(make, [1, 2]) + pool.map(lambda x: make(x + 1), [2])
        queue.put([isinstance(thing, Thing) for thing in made])
        queue.put(pool.map(Thing.twice, made))
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.SimpleQueue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    process.join()
    print(process.exitcode, queue.get(), queue.get())
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_functions_and_classes_of_main_travel_from_there(method: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(script), method], capture_output=True, text=True, timeout=150
    )
    assert done.stdout == "0 [True, True, True] [2, 4, 6]\n", done.stderr
