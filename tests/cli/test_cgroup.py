"""Limits are found wherever a control group on the way up sets them."""

from __future__ import annotations

from pathlib import Path

import cgroup_trees as trees
import pytest
from allcores import cgroup


def test_v2_lowest_quota_on_the_way_up_wins(tmp_path: Path) -> None:
    """A group in the middle may allow less than the program's own."""
    root = trees.v2(
        tmp_path,
        "/batch/job/step",
        {
            "batch/cpu.max": "max 100000",
            "batch/job/cpu.max": "150000 100000",
            "batch/job/step/cpu.max": "400000 100000",
        },
    )
    quota = cgroup.cpu_quota(root)
    assert quota is not None
    assert quota.cpus == 1.5
    assert quota.source.endswith("batch/job/cpu.max")


def test_v2_in_a_container(tmp_path: Path) -> None:
    """A cgroup namespace shows the program's group as the root, with files in it."""
    root = trees.v2(tmp_path, "/", {"cpu.max": "50000 100000", "memory.max": "1073741824"})
    quota, memory = cgroup.cpu_quota(root), cgroup.memory_limit(root)
    assert quota is not None
    assert quota.cpus == 0.5
    assert memory is not None
    assert (memory.limit, memory.used) == (1 << 30, None)


def test_v1_mounted_group_of_a_container(tmp_path: Path) -> None:
    """Without a namespace, the membership is the host's path, and the mount shows that group."""
    root = trees.v1(
        tmp_path,
        "/docker/abc/inner",
        {
            "cpu/cpu.cfs_quota_us": "200000",
            "cpu/cpu.cfs_period_us": "100000",
            "cpu/inner/cpu.cfs_quota_us": "-1",
            "cpu/inner/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "memory/inner/memory.limit_in_bytes": "536870912",
            "memory/inner/memory.usage_in_bytes": "1000",
            "pids/pids.max": "100",
            "pids/inner/pids.max": "max",
        },
        mount_root="/docker/abc",
    )
    quota, memory, pids = cgroup.cpu_quota(root), cgroup.memory_limit(root), cgroup.pids_limit(root)
    assert quota is not None
    assert quota.cpus == 2.0
    assert memory is not None
    assert (memory.limit, memory.used) == (512 << 20, 1000)
    assert pids is not None
    assert pids[0] == 100


@pytest.mark.parametrize("member", ["/elsewhere/x", "/../../other", "/docker/abcdef"])
def test_membership_outside_of_the_mount(tmp_path: Path, member: str) -> None:
    """When the program's own group can't be seen, the mount point is the nearest that can."""
    root = trees.v1(
        tmp_path,
        member,
        {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
        mount_root="/docker/abc",
    )
    quota = cgroup.cpu_quota(root)
    assert quota is not None
    assert quota.cpus == 1.0


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense", "100000", "1 0", "-1 100000"])
def test_no_limit_or_nonsense_is_no_limit(tmp_path: Path, text: str) -> None:
    """A file that doesn't set a limit, or that can't be understood, limits nothing."""
    root = trees.v2(tmp_path, "/a", {"a/cpu.max": text, "a/memory.max": "max"})
    assert cgroup.cpu_quota(root) is None
    assert cgroup.memory_limit(root) is None
    assert cgroup.pids_limit(root) is None


def test_no_proc_at_all(tmp_path: Path) -> None:
    """A system without /proc has no groups."""
    assert cgroup.groups("cpu", str(tmp_path)) == []
    assert cgroup.cpu_quota(str(tmp_path)) is None


def test_mount_point_with_a_space(tmp_path: Path) -> None:
    """The kernel writes a space in a mount point as an octal escape."""
    place = tmp_path / "sys/fs/my groups"
    place.mkdir(parents=True)
    (place / "cpu.max").write_text("300000 100000\n")
    mount = "30 23 0:26 / /sys/fs/my\\040groups rw - cgroup2 cgroup2 rw"
    root = trees.make(tmp_path, "0::/", [mount], {})
    quota = cgroup.cpu_quota(root)
    assert quota is not None
    assert quota.cpus == 3.0
