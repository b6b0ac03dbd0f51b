"""A short soak: processes that share everything are killed at random, and nothing goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 500
ROOT = Path(__file__).parents[2]


@pytest.mark.watchdog(600)
def test_nothing_is_lost_doubled_leaked_or_hung(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    # A process of its own: small and with one thread, so that forks are cheap.
    command = [sys.executable, "-m", "tests.soak", "--kills", str(KILLS), "--json", str(report)]
    if seed := os.environ.get("ALLCORES_TEST_SEED"):
        command += ["--seed", seed]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout.decode(errors="replace"))
    assert done.returncode == 0
    assert json.loads(report.read_text())["kills"] >= KILLS
