"""What the operating system offers, tried out rather than looked up.

A sandbox (gVisor, a seccomp filter, AWS Lambda) may show a recent kernel and refuse its calls.
"""

import errno
import os
import platform
import sys

from allcores.doctor.finding import Finding, size

__all__ = ["probes"]

_FUTEX_WAIT = 0
# Not private: the words the core waits on are shared between processes.
_FUTEX_CALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}


def probes(shm: str = "/dev/shm") -> list[Finding]:
    """Try the system calls that allcores builds on, and look at /dev/shm."""
    if sys.platform != "linux":
        return [Finding("system calls", "not looked at: this is not Linux")]
    return [_memfd(), _futex(), _pidfd(), _shm(shm)]


if sys.platform == "linux":

    def _memfd() -> Finding:
        """Make an anonymous shared memory as the arena does: create, grow, seal, let go."""
        import fcntl

        needs = "allcores keeps all shared data in one memfd (Linux 3.17)"
        try:
            memory = os.memfd_create("allcores-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            return Finding("memfd", f"refused: {error.strerror}", "bad", _sandbox(needs))
        try:
            os.posix_fallocate(memory, 0, 4096)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        except OSError as error:
            return Finding("memfd", f"can't grow: {error.strerror}", "bad", _sandbox(needs))
        finally:
            os.close(memory)
        return Finding("memfd", "works")

    def _futex() -> Finding:
        """Wait on a word that has already changed: a kernel that knows futexes says so at once."""
        import ctypes

        number = _FUTEX_CALL.get(platform.machine())
        if number is None:
            return Finding("futex", f"not tried on {platform.machine()}")
        word = ctypes.c_uint32(1)
        libc = ctypes.CDLL(None, use_errno=True)
        expected = ctypes.c_uint32(0)
        libc.syscall(
            ctypes.c_long(number), ctypes.byref(word), ctypes.c_int(_FUTEX_WAIT), expected, None
        )
        code = ctypes.get_errno()
        if code == errno.EAGAIN:
            return Finding("futex", "works")
        advice = _sandbox("allcores waits on futexes")
        return Finding("futex", f"refused: {os.strerror(code)}", "bad", advice)

    def _pidfd() -> Finding:
        try:
            os.close(os.pidfd_open(os.getpid()))
        except OSError as error:
            return Finding(
                "pidfd",
                f"refused: {error.strerror}",
                "note",
                _sandbox("The death of a worker is seen at once through a pidfd (Linux 5.3)"),
            )
        return Finding("pidfd", "works")


def _sandbox(needs: str) -> str:
    return f"{needs}; an older kernel lacks it and some sandboxes forbid it: allow it there."


def _shm(path: str) -> Finding:
    """Look at the file system of POSIX shared memory, which only the standard library's needs."""
    try:
        state = os.statvfs(path)
    except OSError:
        return Finding(
            path,
            "missing",
            "note",
            "multiprocessing's own locks and multiprocessing.shared_memory fail without it; what "
            "is allcores' own does not need it.",
            0,
        )
    total, free = state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize
    small = total < 1 << 30
    advice = (
        "Small: multiprocessing.shared_memory and PyTorch's data loaders run out of it (docker run "
        "--shm-size); what is allcores' own does not need it."
    )
    return Finding(
        path,
        f"{size(total)}, {size(free)} free",
        "note" if small else "ok",
        advice if small else "",
        total,
    )
