"""The first steps of a spawned child, and the common ones of every fresh child."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from allcores import _core
from allcores.launch import inherited, payload
from allcores.process import leave


def main(
    data: int, arena: int, session: int, tracker: int | None = None, server: int | None = None
) -> None:
    """Run a spawned child from its first line to its exit.

    Args:
        data: descriptor to read the process object from; it ends when the parent does.
        arena: the one descriptor of the arena; it stays open, under this number, for life.
        session: the arena's id.
        tracker: descriptor of the resource tracker, where there is one.
        server: descriptor to ask the fork server on, where there is one.
    """
    for fd in (data, arena, server):
        if fd is not None:
            os.set_inheritable(fd, False)
    _core.attach(arena, session)
    if server is not None:
        inherited.adopt(server)
    # Registered first, so done last: exit functions of the program use what it holds.
    atexit.register(leave)
    sys.exit(run(data, tracker))


def run(data: int, tracker: int | None) -> int:
    """Read the process object from `data`, run it, and return the exit code."""
    if tracker is not None:
        # Named resources are registered with the parent's tracker, which outlives this process.
        import multiprocessing.resource_tracker as tracking

        resource_tracker: Any = tracking._resource_tracker
        resource_tracker._fd = tracker
    try:
        process_obj = payload.unpack(data)
        process_obj._leaves_at_once = False
        code: int = process_obj._bootstrap(parent_sentinel=data)
    except (KeyboardInterrupt, EOFError):
        # Ctrl-C, or the parent is gone: nobody wants to read of it.
        code = 1
    return code
