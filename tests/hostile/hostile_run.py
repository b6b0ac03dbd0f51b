"""Runs a program on a machine made hostile, and waits for its end without ever hanging."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
# A loaded machine takes ten times as long as a free one.
LIMIT_S = 200


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def run(code: str, *, env: dict[str, str] | None = None, limit_s: float = LIMIT_S) -> Outcome:
    """Run Python code in a session of its own.

    Its output goes to files: a pipe would be held open by a child that outlives it. All of the
    session is killed when it takes too long, which fails the test.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **(env or {}), "PYTHONPATH": path},
            start_new_session=True,
        )
        hung = False
        try:
            child.wait(limit_s)
        except subprocess.TimeoutExpired:
            hung = True
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        out.seek(0)
        err.seek(0)
        outcome = Outcome(child.returncode, out.read(), err.read())
    assert not hung, f"hung for {limit_s} s\n{outcome.out}\n{outcome.err}"
    return outcome
