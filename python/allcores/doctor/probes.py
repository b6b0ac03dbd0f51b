"""What the operating system offers, tried out rather than looked up.

A sandbox (gVisor, a seccomp filter, AWS Lambda) may show a recent kernel and refuse its calls.
"""

import errno
import importlib
import os
import platform
import sys

from allcores.doctor.finding import Finding, Verdict, size

__all__ = ["probes"]

_FUTEX_WAIT = 0
# Not private: the words the core waits on are shared between processes.
_FUTEX_CALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}


def probes(shm: str = "/dev/shm") -> list[Finding]:
    """Try the system calls that allcores builds on, and look at /dev/shm."""
    if sys.platform != "linux":
        return [Finding("system calls", "not looked at: this is not Linux")]
    return [_memfd(), _byte_locks(), _futex(), _pidfd(), *_fallbacks(), _shm(shm)]


# Calls with a line of their own in the report.
_SHOWN = ("memfd_create", "futex", "pidfd_open")


def _instead() -> dict[str, str]:
    """Return what the core does in place of the calls that were refused to it.

    Empty while it has no shared memory: the look at the core, which comes before, makes some.
    """
    try:
        core = importlib.import_module("allcores._core")
    except ImportError:
        return {}
    fallbacks: dict[str, str] = core.fallbacks() if core.has_arena() else {}
    return fallbacks


def _fallbacks() -> list[Finding]:
    """Report what the core had refused while it made its shared memory."""
    return [
        Finding(call, f"refused; instead: {instead}", "note", _sandbox("It works, but slower"))
        for call, instead in _instead().items()
        if call not in _SHOWN
    ]


if sys.platform == "linux":

    def _memfd() -> Finding:
        """Make an anonymous shared memory as the arena does: create, grow, seal, let go."""
        import fcntl

        needs = "allcores keeps all shared data in one memfd (Linux 3.17)"
        try:
            memory = os.memfd_create("allcores-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError as error:
            place = _instead().get("memfd_create")
            if place is None:
                return Finding("memfd", f"refused: {error.strerror}", "bad", _sandbox(needs))
            value = f"refused: {error.strerror}; instead: {place}"
            return Finding("memfd", value, "note", _sandbox(needs))
        try:
            os.posix_fallocate(memory, 0, 4096)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        except OSError as error:
            instead = _instead().keys() & {"fallocate", "fcntl(F_ADD_SEALS)"}
            verdict: Verdict = "note" if instead else "bad"
            return Finding(
                "memfd", f"can't grow or be sealed: {error.strerror}", verdict, _sandbox(needs)
            )
        finally:
            os.close(memory)
        return Finding("memfd", "works")

    def _byte_locks() -> Finding:
        """Lock a byte of a file, which tells the living from the dead."""
        import fcntl
        import tempfile

        advice = _sandbox("allcores knows who is alive by locks on bytes of its memory")
        try:
            with tempfile.TemporaryFile() as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 64)
        except OSError as error:
            return Finding("byte locks", f"refused: {error.strerror}", "bad", advice)
        return Finding("byte locks", "work")

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
        advice = _sandbox("Waiting looks every millisecond without futexes, which costs time")
        return Finding("futex", f"refused: {os.strerror(code)}", "note", advice)

    def _pidfd() -> Finding:
        try:
            os.close(os.pidfd_open(os.getpid()))
        except OSError as error:
            return Finding(
                "pidfd",
                f"refused: {error.strerror}",
                "note",
                _sandbox(
                    "The death of a worker is seen at once through a pidfd (Linux 5.3), else "
                    "within a quarter of a second"
                ),
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
