"""A command in a session of its own, with a time limit, of which nothing is left afterwards."""

from __future__ import annotations

import compileall
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PR_SET_CHILD_SUBREAPER = 36
# How long processes that a measurement left may take to end by themselves.
LEAVE_S = 5.0


def adopt_orphans() -> None:
    """From now on processes whose parent has ended are children of this one: they can be found."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def compile_all() -> None:
    """Write what Python compiles of allcores and the cases, as an installer does for the others.

    Every child would compile anew what it imports, where Python is told to write no such files
    (PYTHONDONTWRITEBYTECODE).
    """
    for folder in ("python/allcores", "benches"):
        compileall.compile_dir(ROOT / folder, quiet=1)


def figure(python: str, arguments: list[str], limit_s: float) -> float:
    """Run a module with arguments, and return the figure that it prints on a line of its own."""
    output = run([python, "-m", *arguments], limit_s)
    figures = [line.split()[1] for line in output.splitlines() if line.startswith("figure ")]
    if len(figures) != 1:
        raise RuntimeError("it ended without a figure")
    return float(figures[0])


def run(command: list[str], limit_s: float) -> str:
    """Run it and return its output.

    Args:
        command: program and arguments; the checkout is its folder and on its module path.
        limit_s: seconds until it is ended.

    Raises:
        RuntimeError: it failed, or took longer; with the last line of its error output.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        # Files, not pipes: a process that is left over would keep a pipe open.
        out, err = Path(folder, "out"), Path(folder, "err")
        with out.open("w") as out_file, err.open("w") as err_file:
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                start_new_session=True,
                env={
                    **os.environ,
                    "TMPDIR": folder,
                    "PYTHONPATH": str(ROOT),
                    "RAY_USAGE_STATS_ENABLED": "0",
                },
            )
        try:
            code = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no result within {limit_s:g} s") from None
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            _end_orphans()
        if code:
            last = err.read_text().strip().splitlines()[-1:] or ["no message"]
            raise RuntimeError(f"exit code {code}: {last[0]}")
        return out.read_text()


def _end_orphans() -> None:
    """Wait for all children of this process, and in the end kill them."""
    patience = time.monotonic() + LEAVE_S
    with contextlib.suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
            if time.monotonic() > patience:
                for pid in _children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def _children() -> list[int]:
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may contain anything: state and parent.
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                pids.append(int(path.parent.name))
    return pids
