"""The number of workers is what the program may really use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from allcores import cgroup, cpus


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [(8, None, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.25, 1), (2, 16.0, 2), (1, None, 1)],
)
def test_count_is_the_lower_of_affinity_and_quota(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float | None, expected: int
) -> None:
    """min(affinity, quota rounded up), at least one."""
    found = None if quota is None else cgroup.CpuQuota(quota, "cpu.max")
    monkeypatch.setattr(cpus, "affinity_count", lambda: affinity)
    monkeypatch.setattr(cpus, "override", lambda: None)
    monkeypatch.setattr(cgroup, "cpu_quota", lambda: found)
    assert cpus.cpu_count() == expected


def test_affinity_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process bound to one core counts one."""
    before = os.sched_getaffinity(0)
    monkeypatch.setattr(cpus, "override", lambda: None)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cpus.affinity_count() == 1
        assert cpus.cpu_count() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="-X cpu_count came with Python 3.13")
@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["-X", "cpu_count=7"], {}, "7"),
        ([], {"PYTHON_CPU_COUNT": "5"}, "5"),
        (["-X", "cpu_count=7"], {"PYTHON_CPU_COUNT": "5"}, "7"),
        (["-X", "cpu_count=default"], {"PYTHON_CPU_COUNT": "5"}, "None"),
        (["-E"], {"PYTHON_CPU_COUNT": "5"}, "None"),
        ([], {}, "None"),
    ],
)
def test_what_the_user_says_wins(
    arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    """Python's own override of the number of cores is respected, and found as Python finds it."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHON_CPU_COUNT"}
    # -E also ignores the PYTHONPATH that the package may have been found through.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\nfrom allcores import cpus; print(cpus.override())"
    )
    done = subprocess.run(
        [sys.executable, *arguments, "-c", code],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
