"""Start method ``fork``: the child is a copy of this process, function and arguments included."""

from __future__ import annotations

import signal
from typing import Any

from allcores import _core
from allcores.launch import names
from allcores.launch.collect import Collected

__all__ = ["Popen"]


class Popen(Collected):
    """A child process that was forked."""

    method = "fork"

    def _launch(self, process_obj: Any) -> None:
        _core.arena_fd()  # the child shares it only when it is there before the fork
        names.note_fork()
        # Until the child is ready for a Ctrl-C (see process.py) there shall be none.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super()._launch(process_obj)  # type: ignore[misc]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def interrupt(self) -> None:
        """Send SIGINT."""
        self._send_signal(signal.SIGINT)  # type: ignore[attr-defined]
