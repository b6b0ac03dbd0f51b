"""Processes that leave while others make and drop queues: leaving.py has the program."""

from __future__ import annotations

import pytest
from hostile_run import run

# At a load of 9 on two cores it takes 24 s (measured).
LIMIT_S = 400


@pytest.mark.watchdog(LIMIT_S + 20)
def test_who_leaves_repairs_nothing_that_has_become_something_else() -> None:
    """A process that leaves, as thousands do here, takes nothing from those that stay."""
    done = run("import leaving; leaving.main()", limit_s=LIMIT_S)
    assert (done.code, done.out, done.err) == (0, "all right\n", ""), done
