"""The memory of this process and those it started, as the kernel counts it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def family_bytes() -> int:
    """Memory of this process and all below it; what they share is counted once."""
    return sum(_bytes(pid, "Pss:") for pid in [os.getpid(), *_descendants()])


def workers_bytes() -> int:
    """Memory that the processes below this one have each for themselves."""
    return sum(_bytes(pid, "Private_Clean:", "Private_Dirty:") for pid in _descendants())


def _bytes(pid: int, *lines: str) -> int:
    text = ""
    with contextlib.suppress(OSError):  # it has ended
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = (line.split() for line in text.splitlines())
    return sum(int(field[1]) << 10 for field in fields if field[0] in lines)


def _descendants() -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may contain anything: state and parent.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]
