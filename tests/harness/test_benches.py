"""The benchmarks run, and print and write what they measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benches.run", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_one_round(tmp_path: Path) -> None:
    """Both libraries' figures come with their ratio and the circumstances."""
    path = tmp_path / "figures.json"
    result = run("--rounds", "1", "--json", str(path), "lock", "semaphore")
    assert (result.returncode, result.stderr) == (0, "")
    data = json.loads(path.read_text())
    assert {"processor", "kernel", "python", "commit", "date"} <= set(data["circumstances"])
    assert [row["name"] for row in data["rows"]] == ["lock", "semaphore"]
    for row in data["rows"]:
        assert set(row["figures"]) == {"allcores", "multiprocessing"}
        assert row["ratio"] > 0


def test_unknown_case() -> None:
    """A case that doesn't exist is named."""
    result = run("lokc")
    assert result.returncode == 2
    assert "no such case: lokc" in result.stderr
