"""Signals at any time, and processes that are stopped and continued.

stopping.py has the programs.
"""

from __future__ import annotations

import pytest
from hostile_run import LIMIT_S, run

pytestmark = pytest.mark.watchdog(LIMIT_S + 20)

METHODS = ["fork", "forkserver", "spawn"]
QUIET = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}


def check(program: str, *arguments: str) -> None:
    call = ", ".join(map(repr, arguments))
    done = run(f"import stopping; stopping.{program}({call})", env=QUIET)
    assert (done.code, done.out) == (0, "all right\n"), done
    assert [line for line in done.err.splitlines() if not line.startswith("seed ")] == []


@pytest.mark.parametrize("method", METHODS)
def test_a_handler_runs_all_the_time(method: str) -> None:
    """A system call that a signal interrupts is made again; a wait goes on."""
    check("ticking", method)


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_continued(method: str) -> None:
    """Whoever is stopped in the middle of something finishes it later, and nobody gives it up."""
    check("stopped", method)


@pytest.mark.parametrize("program", ["holder_stopped", "parent_stopped"])
def test_stopped_is_not_dead(program: str) -> None:
    """A stopped process keeps what it has, and others go on with what they have."""
    check(program)
