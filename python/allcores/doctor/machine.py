"""The machine: cores, memory, kernel, containers."""

import os
import platform
import sys

from allcores import cgroup, cpus
from allcores.doctor.finding import Finding, Verdict, size

__all__ = ["cores", "memory", "system"]

_GIB = 1 << 30


def cores(root: str = "/") -> list[Finding]:
    """Look at the cores this program may use, and at what takes some away."""
    total, allowed, usable = cpus.total_count(), cpus.affinity_count(), cpus.cpu_count()
    found = [Finding("total", str(total), data=total)]
    found.append(
        Finding(
            "by affinity",
            str(allowed),
            "ok" if allowed == total else "note",
            ""
            if allowed == total
            else "taskset, a cpuset or a batch system keeps this program from the other cores.",
            data=allowed,
        )
    )
    quota = cgroup.cpu_quota(root)
    if quota is None:
        found.append(Finding("by cgroup quota", "no quota"))
    else:
        lower = quota.cpus < allowed
        found.append(
            Finding(
                "by cgroup quota",
                f"{quota.cpus:g}",
                "note" if lower else "ok",
                f"Set by {quota.source}: more workers than that are paused in turn. Give the "
                "container more (docker run --cpus, resources.limits.cpu)."
                if lower
                else "",
                data=quota.cpus,
            )
        )
    chosen = cpus.override()
    if chosen is not None:
        found.append(Finding("by -X cpu_count or PYTHON_CPU_COUNT", str(chosen), data=chosen))
    advice = (
        "" if usable > 1 else "With one core nothing runs side by side: no speed-up is possible."
    )
    found.append(
        Finding(
            "usable (the default number of workers)",
            str(usable),
            "ok" if usable > 1 else "note",
            advice,
            data=usable,
        )
    )
    found.append(_load(usable))
    return found


def memory(root: str = "/") -> list[Finding]:
    """Look at the memory there is and at what limits it."""
    found = []
    info = _meminfo(root)
    if "MemTotal" in info:
        found.append(Finding("total", size(info["MemTotal"]), data=info["MemTotal"]))
    available = info.get("MemAvailable")
    if available is not None:
        low = available < _GIB
        advice = "Workers may be killed for lack of memory: use fewer, or free some." if low else ""
        verdict: Verdict = "note" if low else "ok"
        found.append(Finding("available", size(available), verdict, advice, available))
    if "SwapTotal" in info:
        found.append(Finding("swap", size(info["SwapTotal"]), data=info["SwapTotal"]))
    found.append(_memory_limit(root, info.get("MemTotal")))
    if _read(root, "proc/sys/vm/overcommit_memory") == "2":
        found.append(
            Finding(
                "overcommit",
                "off (vm.overcommit_memory = 2)",
                "note",
                "Address space that is only reserved may be refused; if so, set it to 0: sysctl "
                "vm.overcommit_memory=0",
            )
        )
    if not found[:-1]:
        found.insert(0, Finding("total", "unknown on this system"))
    return found


def system(root: str = "/") -> list[Finding]:
    """Look at the kernel, the C library and signs of a container."""
    tested = sys.platform == "linux" and platform.machine() == "x86_64"
    libc = " ".join(platform.libc_ver()).strip() or "unknown (not glibc)"
    return [
        Finding(
            "kernel",
            f"{platform.system()} {platform.release()} {platform.machine()}",
            "ok" if tested else "note" if sys.platform == "linux" else "bad",
            "" if tested else "allcores is tested on Linux on x86-64; see PLATFORM.md.",
        ),
        Finding("C library", libc),
        Finding("container", ", ".join(_container(root)) or "no sign of one"),
    ]


def _load(usable: int) -> Finding:
    try:
        load = os.getloadavg()[0]
    except OSError:
        return Finding("load (last minute)", "unknown")
    busy = load > 0.5 * usable
    advice = "Other programs are using the cores now; speed-ups will be smaller." if busy else ""
    return Finding("load (last minute)", f"{load:.2f}", "note" if busy else "ok", advice, load)


def _memory_limit(root: str, total: int | None) -> Finding:
    limit = cgroup.memory_limit(root)
    if limit is None or (total is not None and limit.limit >= total):
        return Finding("cgroup limit", "no limit")
    left = "" if limit.used is None else f", {size(max(0, limit.limit - limit.used))} left"
    return Finding(
        "cgroup limit",
        size(limit.limit) + left,
        "note",
        f"Set by {limit.source}: beyond it the kernel kills a process of the group. Shared memory "
        "counts too.",
        limit.limit,
    )


def _meminfo(root: str) -> dict[str, int]:
    """Parse /proc/meminfo, in bytes."""
    values = {}
    for line in _read(root, "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[0].isdecimal():
            values[name] = int(words[0]) * 1024
    return values


def _container(root: str) -> list[str]:
    """Collect what containers and the like leave visible; hints, not proof."""
    hints = []
    for name, kind in (
        (".dockerenv", "Docker"),
        ("run/.containerenv", "Podman"),
        ("proc/vz", "OpenVZ"),
    ):
        if os.path.exists(os.path.join(root, name)):
            hints.append(kind)
    for variable, kind in (
        ("KUBERNETES_SERVICE_HOST", "Kubernetes"),
        ("AWS_LAMBDA_FUNCTION_NAME", "AWS Lambda"),
        ("SLURM_JOB_ID", "Slurm job"),
    ):
        if os.environ.get(variable) and kind not in hints:
            hints.append(kind)
    manager = os.environ.get("container")  # noqa: SIM112 (systemd and Podman write it so)
    if manager and manager.capitalize() not in hints:
        hints.append(manager)
    if "microsoft" in platform.release().lower():
        hints.append("WSL")
    return hints


def _read(root: str, name: str) -> str:
    try:
        with open(os.path.join(root, name), encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
