"""The checks of `tests/conftest.py` find what they are there to find."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
# A loaded machine takes ten times as long as a free one.
pytestmark = pytest.mark.watchdog(220)
SHM_FILE = f"allcores-harness-{os.getpid()}"


def run_with_conftest(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Run one test file under a copy of the checks."""
    shutil.copy(TESTS / "leftovers.py", folder)
    # What is left on purpose need not be waited for as long as what is on its way out.
    checks = (TESTS / "conftest.py").read_text()
    assert "\nGRACE_S = 30.0\n" in checks
    (folder / "conftest.py").write_text(checks.replace("\nGRACE_S = 30.0\n", "\nGRACE_S = 0.5\n"))
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n    watchdog(seconds): x\n    keeps_processes: x\n"
    )
    (folder / "test_it.py").write_text("import os, subprocess, tempfile, time, pytest\n" + source)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_clean_run_passes(tmp_path: Path) -> None:
    """A test that ends its child and removes its files passes."""
    result = run_with_conftest(
        tmp_path, "def test():\n    subprocess.run(['true'])\n    tempfile.TemporaryFile()\n"
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param("os.posix_spawn('/bin/sleep', ['sleep', '49'], {})", id="child"),
        pytest.param("subprocess.run(['sh', '-c', 'sleep 49 >/dev/null &'])", id="orphan"),
    ],
)
def test_process_is_found_and_ended(leave: str, tmp_path: Path) -> None:
    """A child that outlives its test fails it, and so does a grandchild whose parent has gone."""
    result = run_with_conftest(tmp_path, f"def test():\n    {leave}\n")
    assert result.returncode == 1
    assert "processes left behind (now killed)" in result.stdout
    assert "sleep 49" in result.stdout


def test_temporary_file_is_found(tmp_path: Path) -> None:
    """A file left in the temporary folder fails the run."""
    result = run_with_conftest(tmp_path, "def test():\n    tempfile.mkstemp(suffix='-left')\n")
    assert result.returncode == 1
    assert "left behind by the tests" in result.stdout
    assert "-left" in result.stdout


def test_shared_memory_file_is_found(tmp_path: Path) -> None:
    """A file left in /dev/shm fails the run."""
    try:
        result = run_with_conftest(
            tmp_path, f"def test():\n    open('/dev/shm/{SHM_FILE}', 'w').close()\n"
        )
    finally:
        Path(f"/dev/shm/{SHM_FILE}").unlink(missing_ok=True)
    assert result.returncode == 1
    assert f"/dev/shm/{SHM_FILE}" in result.stdout


def test_hang_is_ended(tmp_path: Path) -> None:
    """A test that runs too long fails with all stacks."""
    result = run_with_conftest(
        tmp_path,
        # The alarm waits for the test to have begun.
        "import signal\n"
        "ALARM = {signal.SIGALRM}\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, ALARM)\n"
        "@pytest.mark.watchdog(0.5)\n"
        "def test_slow():\n"
        "    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALARM)\n"
        "    time.sleep(40)\n",
    )
    assert result.returncode == 1
    assert "the test ran for more than 0.5 s" in result.stdout
    assert "in test_slow" in result.stdout
