"""Made-up file systems with control groups in them."""

from __future__ import annotations

from pathlib import Path

V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "32 31 0:29 {root} /sys/fs/cgroup/{name} rw,relatime shared:9 - cgroup cgroup rw,{name}"


def make(root: Path, membership: str, mounts: list[str], files: dict[str, str]) -> str:
    """Write /proc/self/{cgroup,mountinfo} and group files below ``root``; return it as text."""
    proc = root / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(membership + "\n")
    (proc / "mountinfo").write_text("\n".join(mounts) + "\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(root)


def v2(root: Path, path: str, files: dict[str, str], mount_root: str = "/") -> str:
    """Make a system with version 2 only."""
    return make(root, f"0::{path}", [V2_MOUNT.format(root=mount_root)], files)


def v1(root: Path, path: str, files: dict[str, str], mount_root: str = "/") -> str:
    """Make a system with version 1 for cpu and memory, and an empty version 2 beside them."""
    mounts = [V1_MOUNT.format(root=mount_root, name=name) for name in ("cpu", "memory", "pids")]
    mounts.append("41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw")
    lines = [f"{number}:{name}:{path}" for number, name in enumerate(("cpu", "memory", "pids"), 1)]
    return make(root, "\n".join([*lines, "0::/"]), mounts, files)
