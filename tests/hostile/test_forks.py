"""Forks by anybody, anywhere, and what becomes of the children: forking.py has the programs."""

from __future__ import annotations

import pytest
from hostile_run import LIMIT_S, run

pytestmark = pytest.mark.watchdog(LIMIT_S + 20)

# Since Python 3.12 a fork beside threads warns; here that is what is tested.
QUIET = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
METHODS = ["fork", "forkserver", "spawn"]


def check(program: str, *arguments: str) -> None:
    call = ", ".join(map(repr, arguments))
    done = run(f"import forking; forking.{program}({call})", env=QUIET)
    assert (done.code, done.out, done.err) == (0, "all right\n", ""), done


@pytest.mark.parametrize(
    "program", ["in_the_middle", "locks_stay_the_parents", "ways_to_end", "daemon_threads"]
)
def test_forks(program: str) -> None:
    """The child can use everything, owns nothing of the parent's, and gives back its own."""
    check(program)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("program", ["generations", "from_a_thread", "programs", "under_a_pool"])
def test_forks_in_children(program: str, method: str) -> None:
    """The same in children of each start method."""
    check(program, method)
