"""Start method ``forkserver``: children are forked from a small server without threads.

Here are its `Popen` and its public functions; client.py is about asking the server.
"""

from __future__ import annotations

import multiprocessing.connection as _connection
import multiprocessing.popen_forkserver as _std
import multiprocessing.util as _util
import os
import signal
from typing import Any, ClassVar

from allcores.launch import blank, client, collect, inherited, payload
from allcores.launch.pipes import close, read_number, send

__all__ = ["Popen", "ensure_running", "get_inherited_fds", "set_forkserver_preload"]

# A server that runs has answered by then.
_AT_ONCE_S = 0.005

_forkserver = client.server
ensure_running = _forkserver.ensure_running
get_inherited_fds = _forkserver.get_inherited_fds
set_forkserver_preload = _forkserver.set_forkserver_preload


class InheritedFd:
    """Stands for a descriptor in the pickled arguments of a child of the server."""

    def __init__(self, index: int) -> None:
        self.index = index

    def detach(self) -> int:
        """Return the child's own descriptor."""
        fds = inherited.fds
        if fds is None:
            raise RuntimeError("this object belongs to a process started by the fork server")
        return fds[self.index]


class Popen(_std.Popen):
    """A child process that the fork server forked."""

    method = "forkserver"
    DupFd: ClassVar[Any] = InheritedFd

    _fds: list[int]
    max_rss: int | None = None  # bytes, known when it has ended
    data: int  # the child reads from its other end, for life
    _kept: Any  # what its arguments need until it has them

    def _launch(self, process_obj: Any) -> None:
        _forkserver.ensure_running()  # it starts up while the arguments are being pickled
        body = payload.pack(self, process_obj, environ=os.environ.copy())
        child = None if self._fds else blank.take(self.method, client.given())
        if child is None:
            child = client.start_child(self._fds)
        self.sentinel, self.data = child.sentinel, child.data
        self.finalizer = _util.Finalize(self, close, (self.sentinel, self.data))
        try:
            send(self.data, body)  # the child has it in the moment in which it is there
            if not _connection.wait([self.sentinel], _AT_ONCE_S):
                # The server is still starting. This process has time for what it is likely to need.
                from allcores.launch import by_value  # noqa: F401
            pid = read_number(self.sentinel)
            if pid < 0:
                raise OSError(-pid, f"the fork server can't start a child: {os.strerror(-pid)}")
            self.pid = pid
        except BaseException:
            self.finalizer()
            raise

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, or None while the child runs."""
        if self.returncode is None:
            timeout = 0 if flag == os.WNOHANG else None
            if not _connection.wait([self.sentinel], timeout):
                return None
            with collect.collecting:
                if self.returncode is None:
                    self._read_end()
        return self.returncode

    def _read_end(self) -> None:
        try:
            code = read_number(self.sentinel)
            self.max_rss = 1024 * read_number(self.sentinel)
        except (OSError, EOFError):
            code = 255  # the server is gone, and with it the only one who knows
        self._kept = None
        self.returncode = code

    def interrupt(self) -> None:
        """Send SIGINT."""
        self._send_signal(signal.SIGINT)  # type: ignore[attr-defined]
