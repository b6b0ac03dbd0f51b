"""A short endurance run: kills during maps with retries, workers replaced all the time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.watchdog(300)
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_every_result_is_right(method: str) -> None:
    seed = os.environ.get("ALLCORES_TEST_SEED", str(random.randrange(1 << 32)))
    # A process of its own: small and with one thread, so that forks are cheap.
    command = [sys.executable, "-W", "error", "-m", "tests.endurance", "--methods", method]
    command += ["--kills", "60", "--tasks", "1000", "--recycled", "300", "--seed", seed]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout.decode(errors="replace"))
    assert done.returncode == 0
