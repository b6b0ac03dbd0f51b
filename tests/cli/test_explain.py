"""The paragraph fits what was measured."""

from __future__ import annotations

import pytest
from allcores.demo.explain import Conditions, Timing, explain

SERIAL = Timing(10.0, 10.0)
THREADS = Timing(10.2, 10.2)


def told(
    allcores: Timing,
    threads: Timing = THREADS,
    serial: Timing = SERIAL,
    workers: int = 2,
    cpus: int = 2,
    gil: bool = True,
    files: int = 1000,
) -> str:
    """Explain a run."""
    return explain(Conditions(workers, cpus, gil, files), serial, threads, allcores)


def test_the_usual_case() -> None:
    """With a GIL and a good speed-up: why, and no excuses."""
    text = told(Timing(5.1, 10.1))
    assert "Threads did not help because" in text
    assert "GIL" in text
    assert "kept 2.0 cores busy, 1.96 times as fast" in text
    assert "less than" not in text


def test_one_core() -> None:
    """On one core nobody is promised anything."""
    text = told(Timing(10.3, 10.1), workers=1, cpus=1)
    assert "may use one core only" in text
    assert "(0.97x)" in text
    assert "GIL" not in text


def test_one_worker_by_wish() -> None:
    """With one worker on more cores, the hint is the option."""
    assert "Leave --workers out to see all 8 cores" in told(Timing(10.3, 10.1), workers=1, cpus=8)


def test_free_threaded() -> None:
    """Without a GIL threads are not said to take turns."""
    text = told(Timing(5.1, 10.1), threads=Timing(5.6, 11.0), gil=False)
    assert "free-threaded" in text
    assert "threads helped (1.79x" in text
    assert "did not help" not in text
    assert "take turns" not in text
    hardly = told(Timing(5.1, 10.1), threads=Timing(9.6, 18.0), gil=False)
    assert "hardly did (1.04x" in hardly


@pytest.mark.parametrize(
    ("allcores", "serial", "files", "reason"),
    [
        (Timing(8.0, 10.0), SERIAL, 1000, "did not get the cores to themselves"),
        (Timing(8.0, 16.0), SERIAL, 1000, "1.6 times the processor time"),
        (Timing(0.2, 0.1, 0.1), Timing(0.1, 0.1), 1000, "starting the workers (0.10 s)"),
        (Timing(8.0, 10.0), SERIAL, 3, "too few files"),
        (Timing(6.6, 11.8), SERIAL, 1000, "nothing in the figures says why"),
    ],
)
def test_disappointing(allcores: Timing, serial: Timing, files: int, reason: str) -> None:
    """A poor speed-up is said to be one, with the reason that the figures show."""
    text = told(allcores, serial=serial, files=files)
    assert "less than 2 cores promise" in text
    assert reason in text


def test_slower_than_serial_is_said() -> None:
    """No praise for a slowdown."""
    text = told(Timing(0.2, 0.1, 0.1), serial=Timing(0.1, 0.1))
    assert "yet slower than serial (0.50x)" in text


def test_more_workers_than_cores() -> None:
    """Too many workers are pointed out."""
    assert "More workers than the 2 cores" in told(Timing(5.1, 10.1), workers=8)
