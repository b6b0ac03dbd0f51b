"""The limits that Linux control groups (cgroups) put on this program.

A container, a systemd unit or a batch system may give a program less than the machine has. The
limit sits in a file of the group the program is in, or of any group above it, and the lowest one
counts: every question here therefore walks from the program's own group up to the top of what it
can see.

Both versions are read, and both at once where a system runs them side by side (there, each
controller belongs to one of them). Sources: the kernel's ``admin-guide/cgroup-v2``,
``admin-guide/cgroup-v1/{cgroups,memory}``, ``scheduler/sched-bwc``, and ``proc(5)`` for
``/proc/PID/mountinfo``.

Only ``os`` is imported, as the pool asks for the number of cores when a program starts.
"""

import os
from typing import NamedTuple

__all__ = [
    "CpuQuota",
    "Group",
    "MemoryLimit",
    "cpu_quota",
    "groups",
    "memory_limit",
    "pids_limit",
    "read",
]

# Version 1 has no word for "no limit" in memory files: it shows the largest page-aligned number.
_NO_LIMIT = 1 << 60


class Group(NamedTuple):
    """One group directory: the cgroup version it belongs to, and its path."""

    version: int
    path: str


class CpuQuota(NamedTuple):
    """How many cores' worth of time the program may use, and the file that says so."""

    cpus: float
    source: str


class MemoryLimit(NamedTuple):
    """A memory limit in bytes, what its group uses of it (None: unknown), and its file."""

    limit: int
    used: int | None
    source: str


def groups(controller: str, root: str = "/") -> list[Group]:
    """List the groups that limit this process, its own first, then the ones above.

    Args:
        controller: ``"cpu"``, ``"memory"``, ``"pids"``.
        root: Where the file system starts; tests point it at a made-up tree.

    Returns:
        Directories, which need not exist: a container may show a group's path without its files.
        Empty where there are no cgroups (macOS, Windows, no ``/proc``).
    """
    v1, v2 = _memberships(controller, root)
    found: list[Group] = []
    for line in _lines(root, "proc/self/mountinfo"):
        mount = _mount(line, controller)
        if mount is None:
            continue
        version, mount_root, mount_point = mount
        member = v1 if version == 1 else v2
        if member is None:
            continue
        top = os.path.join(root, mount_point.lstrip("/"))
        parts = _below(member, mount_root)
        for depth in range(len(parts), -1, -1):
            group = Group(version, os.path.join(top, *parts[:depth]))
            if group not in found:
                found.append(group)
    return found


def cpu_quota(root: str = "/") -> CpuQuota | None:
    """Find the lowest CPU quota on the way up, in cores; None when nothing limits it."""
    lowest: CpuQuota | None = None
    for version, path in groups("cpu", root):
        if version == 2:
            source = os.path.join(path, "cpu.max")
            words = read(source).split()
        else:
            source = os.path.join(path, "cpu.cfs_quota_us")
            words = (read(source) + " " + read(os.path.join(path, "cpu.cfs_period_us"))).split()
        if len(words) != 2:
            continue
        quota, period = _number(words[0]), _number(words[1])
        if quota is None or not period or quota <= 0:
            continue  # "max" in version 2 and -1 in version 1 mean: no limit here
        cpus = quota / period
        if lowest is None or cpus < lowest.cpus:
            lowest = CpuQuota(cpus, source)
    return lowest


def memory_limit(root: str = "/") -> MemoryLimit | None:
    """Find the lowest memory limit on the way up; None when nothing limits it."""
    lowest: MemoryLimit | None = None
    for version, path in groups("memory", root):
        name, usage = (
            ("memory.max", "memory.current")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        source = os.path.join(path, name)
        limit = _number(read(source))
        if limit is None or limit >= _NO_LIMIT:
            continue
        if lowest is None or limit < lowest.limit:
            lowest = MemoryLimit(limit, _number(read(os.path.join(path, usage))), source)
    return lowest


def pids_limit(root: str = "/") -> tuple[int, str] | None:
    """Find the lowest limit on processes and threads, with its file; None when there is none."""
    found = [
        (limit, source)
        for _, path in groups("pids", root)
        if (limit := _number(read(source := os.path.join(path, "pids.max")))) is not None
    ]
    return min(found, default=None)


def _memberships(controller: str, root: str) -> tuple[str | None, str | None]:
    """Return this process's path in the version 1 tree of the controller, and in version 2's."""
    v1 = v2 = None
    for line in _lines(root, "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            v1 = path
        elif number == "0" and not controllers:
            v2 = path
    return v1, v2


def _mount(line: str, controller: str) -> tuple[int, str, str] | None:
    """Parse a mountinfo line: (version, root of the mount, mount point); None for other mounts."""
    left, separator, right = line.partition(" - ")
    fields, kind = left.split(" "), right.split(" ")
    if not separator or len(fields) < 5:
        return None
    if kind[0] == "cgroup2":
        version = 2
    elif kind[0] == "cgroup" and controller in kind[-1].split(","):
        version = 1
    else:
        return None
    return version, _unescape(fields[3]), _unescape(fields[4])


def _below(member: str, mount_root: str) -> list[str]:
    """Return the path of a group as components below its mount point.

    A container often mounts just its own group: the mount's root is then that group, and the
    membership, told from the host's view, lies at or below it. When it does not (a namespace shows
    ``/..``, or another root), the mount point itself is the nearest group that can be seen.
    """
    prefix = mount_root.rstrip("/")
    if member != prefix and not member.startswith(prefix + "/"):
        return []
    parts = [part for part in member[len(prefix) :].split("/") if part]
    return [] if ".." in parts else parts


def _unescape(text: str) -> str:
    """Undo mountinfo's octal escapes of space, tab, newline and backslash."""
    for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, plain)
    return text


def _lines(root: str, name: str) -> list[str]:
    return read(os.path.join(root, name)).splitlines()


def read(path: str) -> str:
    """Return a small file's text; empty when it can't be read, as it then sets no limit."""
    # (A file object would take four more system calls, and a pool asks for several files.)
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            parts = []
            while part := os.read(fd, 1 << 16):
                parts.append(part)
        finally:
            os.close(fd)
    except OSError:
        return ""
    return b"".join(parts).decode("utf-8", "surrogateescape").strip()


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
