"""What a sleeper that waits for descriptors can be woken by."""

from __future__ import annotations

import os

__all__ = ["Bell"]


class Bell:
    """Readable, for `connection.wait`, from `ring` to `hush`.

    An eventfd; a pipe where a sandbox refuses that.
    """

    def __init__(self) -> None:
        try:
            self._reader = self._writer = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except (AttributeError, OSError):
            self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable; -1 once it is closed."""
        return self._reader

    def ring(self) -> None:
        """Make it readable; nothing happens when it is, or is closed."""
        try:
            # What an eventfd takes; from a pipe it is read as so many bytes.
            os.write(self._writer, b"\1\0\0\0\0\0\0\0")
        except (OSError, ValueError):
            pass  # full, or closed

    def hush(self) -> None:
        """Make it unreadable."""
        try:
            os.read(self._reader, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close it, once or more often."""
        fds = {self._reader, self._writer} - {-1}
        self._reader = self._writer = -1
        for fd in fds:
            os.close(fd)
