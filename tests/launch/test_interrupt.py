"""Ctrl-C: one KeyboardInterrupt, in the parent; no traceback of a child, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
import allcores as mp

def work(conn):
    conn.send("ready")
    # Not pause(): it would sleep on when the signal comes right before it.
    while True:
        time.sleep(0.1)

mp.set_start_method(sys.argv[1])
here, there = mp.Pipe()
children = [mp.Process(target=work, args=(there,)) for _ in range(3)]
for child in children:
    child.start()
if sys.argv[2] == "ready":
    for child in children:
        here.recv()
print("go", flush=True)
for child in children:
    child.join()
"""


@pytest.mark.parametrize("when", ["ready", "starting"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_interrupt(method: str, when: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, method, when],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "go\n"
    os.killpg(program.pid, signal.SIGINT)
    # Ends only when every process has closed the two pipes.
    _, errors = program.communicate(timeout=150)
    assert program.returncode == -signal.SIGINT
    assert errors.count("Traceback (most recent call last)") == 1
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "Process Process" not in errors
