"""Collecting children that have ended: once, and by whoever of several threads comes first."""

from __future__ import annotations

import multiprocessing.popen_fork as _std
import os
import threading

__all__ = ["Collected", "collecting"]

# Held from the moment in which an end is taken from the kernel, or off a pipe, until it is noted.
# (Reentrant: a signal handler may ask for a child, too.)
collecting = threading.RLock()


class Collected(_std.Popen):
    """A child of this process.

    Attributes:
        max_rss: its largest resident memory in bytes; None until it is known.
    """

    max_rss: int | None = None

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, or None while the child runs.

        Args:
            flag: 0 to wait for the end.
        """
        if flag != os.WNOHANG and self.returncode is None:
            try:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                pass  # another thread has collected it
        with collecting:
            if self.returncode is None:
                try:
                    pid, status, usage = os.wait4(self.pid, os.WNOHANG)
                except ChildProcessError:
                    return None  # by other means than this; nobody knows how it ended
                if pid == self.pid:
                    self.max_rss = 1024 * usage.ru_maxrss
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _after_fork() -> None:
    global collecting
    collecting = threading.RLock()  # another thread may have held it


os.register_at_fork(after_in_child=_after_fork)
