"""Globals that hold one and the same object are told apart by name in a forked child."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import allcores as mp
mp.set_start_method("fork")
first = second = third = None
def initialize(x):
    global first, second, third
    first, second, third = x, x + 1, x + 2
def task(_):
    return first, second, third
with mp.Pool(2, initialize, (10,)) as pool:
    print(set(pool.map(task, range(4), 1)))
"""


def test_what_an_initializer_sets_stays_though_all_of_it_was_none() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=150, check=True
    )
    assert done.stdout == "{(10, 11, 12)}\n"
