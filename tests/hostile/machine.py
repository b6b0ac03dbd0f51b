"""Makes the machine poor, for this process and what it starts: for programs run by hostile_run."""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_REC, _MS_PRIVATE = 1, 16384, 1 << 18


def limit(name: str, value: int) -> None:
    """Set a resource limit, which stays."""
    which = getattr(resource, name)
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (value, value if hard < 0 else min(value, hard)))


def _libc(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def hide(little: str, room: str, *read_only: str) -> None:
    """Mount a file system in memory of size `room` on one folder, and empty ones on others.

    In a mount namespace of this process's own: nobody else sees it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _libc(libc.unshare(_CLONE_NEWNS))
    _libc(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    _libc(
        libc.mount(b"tmpfs", little.encode(), b"tmpfs", ctypes.c_ulong(0), b"size=" + room.encode())
    )
    for folder in read_only:
        _libc(
            libc.mount(b"tmpfs", folder.encode(), b"tmpfs", ctypes.c_ulong(_MS_RDONLY), b"size=4k")
        )


def can_mount() -> bool:
    """Whether `hide` works here; asked in a child, which it ends."""
    pid = os.fork()
    if pid == 0:
        try:
            hide("/dev/shm", "1m")
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def memory_group(name: str) -> tuple[Path, str] | None:
    """Make a control group for memory; return it and the name of its file with the limit."""
    for root, file in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        group = Path(root) / name
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / file).exists() and os.access(group / file, os.W_OK):
            return group, file
        group.rmdir()
    return None
