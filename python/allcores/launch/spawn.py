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
from allcores.launch import forkserver, payload
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


class Popen(_std.Popen):
    """A child process that was spawned."""

    method = "spawn"

    _fds: list[int]
    data: int  # the child reads from its other end, for life

    def _launch(self, process_obj: Any) -> None:
        arena, session = _core.arena_fd(), _core.session()
        inherited = {"arena": arena}
        tracker = tracker_fd()
        if tracker is not None:
            inherited["tracker"] = tracker
        server = forkserver.client_fd()
        if server is not None:
            inherited["server"] = server
        body = payload.pack(self, process_obj)
        # The child holds nothing of the arena before it has unpickled its arguments: until
        # then they must live here. `poll` lets go of them.
        self._kept: Any = (process_obj._target, process_obj._args, process_obj._kwargs)

        # The child holds `ended` as long as it lives, this process `data`: each end sees the
        # other one's death as an end of file.
        self.sentinel, ended = os.pipe()
        try:
            child_data, data = os.pipe()
        except OSError:
            os.close(self.sentinel)
            os.close(ended)
            raise
        self.data = data
        self.finalizer = _util.Finalize(self, close_fds, (self.sentinel, data))
        inherited["data"] = child_data
        try:
            command = command_line("child", session=session, **inherited)
            self.pid = start(command, {*inherited.values(), ended, *self._fds})
        except BaseException:
            self.finalizer()
            raise
        finally:
            os.close(ended)
            os.close(child_data)
        payload.send(data, body)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, or None while the child runs."""
        code = super().poll(flag)
        if code is not None:
            self._kept = None
        return code

    def interrupt(self) -> None:
        """Send SIGINT."""
        self._send_signal(signal.SIGINT)  # type: ignore[attr-defined]
