"""Fresh interpreters: the fork server's, and those of spawned children.

Quick to import, as a program's first children are started before anything else is done.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection
from typing import Any

from allcores import _core
from allcores.launch import blank, inherited
from allcores.launch.command import command_line, get_executable


def tracker_fd() -> int | None:
    """Return the descriptor of the resource tracker when a child may need it, else None.

    Nothing of ours is named or tracked. The tracker matters to the standard library's shared
    memory: a block made in the child must outlive the child, so they have to share one.
    """
    if "multiprocessing.resource_tracker" not in sys.modules:
        return None  # nor is it about to be: the modules that need it import it first
    from multiprocessing import resource_tracker

    tracker: Any = resource_tracker._resource_tracker
    if tracker._fd is not None or "multiprocessing.shared_memory" in sys.modules:
        fd: int | None = resource_tracker.getfd()
        return fd
    return None


def start(command: list[Any], fds: Collection[int]) -> int:
    """Start a program with only `fds` open, and SIGINT blocked; return its pid."""
    from multiprocessing.util import spawnv_passfds

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return spawnv_passfds(get_executable(), command, list(fds))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def given() -> dict[str, int]:
    """Return the descriptors that a child inherits whatever it shall do."""
    numbers = {"arena": _core.arena_fd()}
    tracker = tracker_fd()
    if tracker is not None:
        numbers["tracker"] = tracker
    if inherited.server is not None:
        numbers["server"] = inherited.server
    return numbers


def start_child(fds: Collection[int]) -> blank.Blank:
    """Start a child that waits for its process object.

    Args:
        fds: descriptors that it inherits besides.
    """
    has = given()
    opened: list[int] = []
    try:
        # The child holds `ended` as long as it lives, this process `data`: each end sees the
        # other one's death as an end of file.
        sentinel, ended = pipe = os.pipe()
        opened += pipe
        child_data, data = pipe = os.pipe()
        opened += pipe
        numbers = {"session": _core.session(), "data": child_data, **has}
        passed = {*has.values(), child_data, ended, *fds}
        pid = start(command_line("child", **numbers), passed)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    os.close(ended)
    os.close(child_data)
    return blank.Blank(sentinel, data, pid, has)


def start_blank() -> blank.Blank:
    """Start a child for whatever comes."""
    return start_child(())
