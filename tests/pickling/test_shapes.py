"""Every shape of function and class of `__main__` travels, to a child and back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHAPES = Path(__file__).with_name("shapes.py")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_shapes(method: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SHAPES), method],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["top-level line", "done"]
    assert done.returncode == 0
