"""Start method ``spawn``: the child is a fresh interpreter that inherits a few descriptors."""

from __future__ import annotations

import multiprocessing.popen_spawn_posix as _std
import multiprocessing.util as _util
import os
import signal
from typing import Any

from allcores.launch import blank, interpreter, payload
from allcores.launch.collect import Collected
from allcores.launch.pipes import close, send

__all__ = ["Popen"]


class Popen(Collected, _std.Popen):
    """A child process that was spawned."""

    method = "spawn"

    _fds: list[int]
    data: int  # the child reads from its other end, for life
    _kept: Any  # what its arguments need until it has them

    def _launch(self, process_obj: Any) -> None:
        body = payload.pack(self, process_obj)
        child = None if self._fds else blank.take(self.method, interpreter.given())
        if child is None:
            child = interpreter.start_child(self._fds)
        assert child.pid is not None
        self.sentinel, self.data, self.pid = child.sentinel, child.data, child.pid
        self.finalizer = _util.Finalize(self, close, (self.sentinel, self.data))
        send(self.data, body)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, or None while the child runs."""
        code = super().poll(flag)
        if code is not None:
            self._kept = None
        return code

    def interrupt(self) -> None:
        """Send SIGINT."""
        self._send_signal(signal.SIGINT)  # type: ignore[attr-defined]
