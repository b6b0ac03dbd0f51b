"""What a test run left behind: processes, shared memory, temporary files.

The run is made the reaper of its orphans (`PR_SET_CHILD_SUBREAPER`), so a grandchild whose parent
died becomes a child of the run, and one look at the run's own children finds everything that is
left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SHM = Path("/dev/shm")
# (allcores has no semaphores that have a name.)
_OF_IMPORT = re.compile(r"sem\.(joblib-\d+-\w+|[A-Za-z0-9]{6})")


def become_subreaper() -> None:
    """Make orphaned descendants children of this process instead of init's."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """The pids of this process's children, those that exited and weren't waited for as well."""
    pids: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            pids.update(map(int, (task / "children").read_text().split()))
    return pids


def is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def wait_for_exit(pids: set[int], grace_s: float) -> set[int]:
    """Wait until the processes are gone, for `grace_s` at most; return those that still run."""
    deadline = time.monotonic() + grace_s
    for pid in pids:
        if is_zombie(pid):
            continue
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(max(0, deadline - time.monotonic()) * 1000)
        finally:
            os.close(fd)
    return {pid for pid in pids if not is_zombie(pid)}


def reap_adopted(pids: set[int]) -> None:
    """Wait for exited orphans that became children of this process."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def describe(pid: int) -> str:
    """One line on a process, for the message of a failed check."""
    try:
        command = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return f"{pid} (gone by now)"
    return f"{pid} (parent {parent}): {command.strip()[:160] or 'no command line'}"


def shared_memory_files() -> set[str]:
    """The names in `/dev/shm`."""
    try:
        return set(os.listdir(SHM))
    except OSError:
        return set()


def wait_for_files_to_go(before: set[str], grace_s: float) -> set[str]:
    """Wait until what is new in `/dev/shm` goes, for `grace_s` at most; return what stays.

    Other programs make files there, too: one of theirs that nobody holds at this moment is about to
    be held, or to go.

    Args:
        before: the names that there were.
        grace_s: seconds to wait.
    """
    deadline = time.monotonic() + grace_s
    left = shared_memory_files() - before
    while left and time.monotonic() < deadline:
        left = {name for name in left & shared_memory_files() if not held_by_others(name)}
        time.sleep(0.1 if left else 0)
    return left


def remove_of_imports(before: set[str]) -> None:
    """Remove the semaphores with which joblib tries what the system can do.

    It makes and removes one as it is imported. A worker that is killed meanwhile, as tests do,
    leaves it under joblib's name, or that which the C library gives it first, or both.

    Args:
        before: the names that there were.
    """
    for name in shared_memory_files() - before:
        if _OF_IMPORT.fullmatch(name) and not held_by_others(name):
            (SHM / name).unlink(missing_ok=True)


def held_by_others(name: str) -> bool:
    """Whether a process outside this run has the file of `/dev/shm` mapped or open.

    Other programs on the machine may use `/dev/shm` while the tests run: their files aren't ours to
    judge.
    """
    target = str(SHM / name)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if target in (entry / "maps").read_text(errors="replace"):
                return True
        with contextlib.suppress(OSError):
            if any(os.readlink(fd) == target for fd in (entry / "fd").iterdir()):
                return True
    return False
