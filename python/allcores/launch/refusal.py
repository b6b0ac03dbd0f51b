"""What to do when the system doesn't start a process."""

from __future__ import annotations

import errno

__all__ = ["explain"]

_SANDBOX = (
    "allcores: a sandbox or a container's seccomp profile forbids a system call that starting a "
    "process needs (clone, socketpair, sendmsg, pipe2): allow it there, or try another start "
    'method, mp.set_start_method("spawn"); `allcores doctor` shows what is refused'
)
_DESCRIPTORS = (
    "allcores: each child takes two descriptors of its parent and one of the fork server: start "
    "fewer at a time, or raise the limit (ulimit -n 4096)"
)
_PROCESSES = (
    "allcores: this user or container may have no more processes and threads (ulimit -u, docker "
    "run --pids-limit): start fewer, or raise the limit"
)
_MEMORY = (
    "allcores: memory or address space is short: start fewer processes, or raise the limit "
    "(ulimit -v, docker run --memory)"
)
_ADVICE = {
    errno.EPERM: _SANDBOX,
    errno.EACCES: _SANDBOX,
    errno.ENOSYS: _SANDBOX,
    errno.EMFILE: _DESCRIPTORS,
    errno.ENFILE: _DESCRIPTORS,
    errno.EAGAIN: _PROCESSES,
    errno.ENOMEM: _MEMORY,
}


def explain(error: OSError) -> None:
    """Add a note to an error of the system: why it may be, and what to do.

    Args:
        error: what starting a process raised.
    """
    advice = _ADVICE.get(error.errno or 0)
    if advice is not None and advice not in getattr(error, "__notes__", ()):
        error.add_note(advice)
