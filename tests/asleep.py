"""Whether a thread sleeps in a wait of ours: looked for before one wakes or interrupts it."""

from __future__ import annotations

import os
from pathlib import Path

_FUTEX = {"aarch64": "98"}.get(os.uname().machine, "202")
_PRIVATE = 128


def asleep(pid: int, thread: int | None = None) -> bool:
    """Return whether a thread sleeps on a futex that processes share, as the interpreter's aren't.

    Args:
        pid: of its process.
        thread: its native id; None for the process's first thread.
    """
    text = Path(f"/proc/{pid}/task/{thread or pid}/syscall").read_text()
    number, *arguments = text.split()
    return number == _FUTEX and not int(arguments[1], 16) & _PRIVATE
