"""Start method ``spawn``: the child is a fresh interpreter that inherits a few descriptors."""

from __future__ import annotations

import multiprocessing.popen_spawn_posix as _std
import multiprocessing.resource_tracker as _tracker
import multiprocessing.util as _util
import os
import signal
import sys
from collections.abc import Collection
from typing import Any

from allcores import _core
from allcores.launch import blank, forkserver, payload
from allcores.launch.command import command_line, get_executable

__all__ = ["Popen"]


def tracker_fd() -> int | None:
    """Return the descriptor of the resource tracker when a child may need it, else None.

    Nothing of ours is named or tracked. The tracker matters to the standard library's shared
    memory: a block made in the child must outlive the child, so they have to share one.
    """
    tracker: Any = _tracker._resource_tracker
    if tracker._fd is not None or "multiprocessing.shared_memory" in sys.modules:
        return _tracker.getfd()
    return None


def start(command: list[Any], fds: Collection[int]) -> int:
    """Start a program with only `fds` open, and SIGINT blocked; return its pid."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return _util.spawnv_passfds(get_executable(), command, list(fds))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def close_fds(*fds: int) -> None:
    """Close descriptors; what a finalizer calls."""
    for fd in fds:
        os.close(fd)


def _given() -> dict[str, int]:
    """Return the descriptors that a child inherits whatever it shall do."""
    given = {"arena": _core.arena_fd()}
    tracker = tracker_fd()
    if tracker is not None:
        given["tracker"] = tracker
    server = forkserver.client_fd()
    if server is not None:
        given["server"] = server
    return given


def _start(fds: Collection[int]) -> blank.Blank:
    """Start a child that waits for its process object.

    Args:
        fds: descriptors that it inherits besides.
    """
    given = _given()
    opened: list[int] = []
    try:
        # The child holds `ended` as long as it lives, this process `data`: each end sees the
        # other one's death as an end of file.
        sentinel, ended = pipe = os.pipe()
        opened += pipe
        child_data, data = pipe = os.pipe()
        opened += pipe
        numbers = {"session": _core.session(), "data": child_data, **given}
        inherited = {*given.values(), child_data, ended, *fds}
        pid = start(command_line("child", **numbers), inherited)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    os.close(ended)
    os.close(child_data)
    return blank.Blank(sentinel, data, pid, given)


def start_blank() -> blank.Blank:
    """Start a child for whatever comes."""
    return _start(())


class Popen(_std.Popen):
    """A child process that was spawned."""

    method = "spawn"

    _fds: list[int]
    data: int  # the child reads from its other end, for life
    _kept: Any  # what its arguments need until it has them

    def _launch(self, process_obj: Any) -> None:
        body = payload.pack(self, process_obj)
        child = None if self._fds else blank.take(self.method, _given())
        if child is None:
            child = _start(self._fds)
        assert child.pid is not None
        self.sentinel, self.data, self.pid = child.sentinel, child.data, child.pid
        self.finalizer = _util.Finalize(self, close_fds, (self.sentinel, self.data))
        payload.send(self.data, body)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, or None while the child runs."""
        code = super().poll(flag)
        if code is not None:
            self._kept = None
        return code

    def interrupt(self) -> None:
        """Send SIGINT."""
        self._send_signal(signal.SIGINT)  # type: ignore[attr-defined]
