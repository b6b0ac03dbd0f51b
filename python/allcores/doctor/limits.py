"""The limits on this process (``ulimit``), and what sets them."""

import sys

from allcores import cgroup
from allcores.doctor.finding import Finding, size

__all__ = ["limits"]

# Guessed: a pool needs a few descriptors for each worker, and the program its own.
_FEW_FILES = 256
_FEW_PROCESSES = 256
# Address space is reserved in one piece before it is used; below this hardly any is left for data.
_LITTLE_SPACE = 16 << 30


def limits(root: str = "/") -> list[Finding]:
    """Look at the resource limits that matter for processes and shared memory."""
    if sys.platform == "win32":
        return []
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = _limited(files[0]) and files[0] < _FEW_FILES
    found = [
        Finding(
            "open files",
            f"{_number(files[0])} (can be raised to {_number(files[1])})",
            "note" if low else "ok",
            "Few for many workers: ulimit -n 4096" if low else "",
            files[0],
        )
    ]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    low = _limited(processes) and processes < _FEW_PROCESSES
    advice = "Shared by all programs of this user: ulimit -u 4096" if low else ""
    found.append(
        Finding("processes", _number(processes), "note" if low else "ok", advice, processes)
    )
    pids = cgroup.pids_limit(root)
    if pids is not None:
        low = pids[0] < _FEW_PROCESSES
        advice = f"Set by {pids[1]}; threads count too (docker run --pids-limit)." if low else ""
        found.append(
            Finding("processes by cgroup", str(pids[0]), "note" if low else "ok", advice, pids[0])
        )
    found.append(_address_space(resource.getrlimit(resource.RLIMIT_AS)[0]))
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    found.append(Finding("locked memory", _bytes(locked), data=locked))
    written = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if _limited(written):
        found.append(
            Finding(
                "file size",
                _bytes(written),
                "note",
                "Shared memory counts as a file here and can't grow beyond it: ulimit -f unlimited",
                written,
            )
        )
    return found


def _address_space(limit: int) -> Finding:
    if not _limited(limit):
        return Finding("address space", "unlimited", data=limit)
    low = limit < _LITTLE_SPACE
    advice = "Leaves little room to reserve shared memory in: ulimit -v unlimited" if low else ""
    return Finding("address space", size(limit), "note" if low else "ok", advice, limit)


def _limited(limit: int) -> bool:
    return limit >= 0  # RLIM_INFINITY is -1 here


def _number(limit: int) -> str:
    return f"{limit:,}" if _limited(limit) else "unlimited"


def _bytes(limit: int) -> str:
    return size(limit) if _limited(limit) else "unlimited"
