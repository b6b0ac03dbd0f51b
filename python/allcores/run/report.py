"""``allcores run --report``: where the time went, as measured.

Workers count in their leases anyway (task/records.py), which costs them a few nanoseconds a task.
What is measured besides, in the program's own process, is put around the methods concerned here, so
a program without a report pays nothing for it.

What pools in child processes do is theirs, and is not in the report.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["begin", "text"]

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Tally:
    """What is counted, in seconds and bytes.

    Attributes:
        begin: when it began, by `time.monotonic`.
        pools: how many pools and executors there were.
        workers: how many workers they had.
        tasks: tasks that workers did.
        busy: seconds that workers spent in tasks.
        there: seconds that workers were there for tasks, idle or not.
        taken: bytes of tasks.
        sent: bytes of results.
        viewed: bytes of results that arrived as views, without a copy.
        lines: those of the pools, which have counted such bytes of tasks.
        waiting: seconds that the main thread waited for results.
        starting: seconds in which workers were started.
    """

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.pools = self.workers = self.tasks = self.taken = self.sent = self.viewed = 0
        self.busy = self.there = self.waiting = self.starting = 0.0
        self.lines: list[Any] = []
        self._lock = threading.Lock()

    def add(self, counts: dict[str, Any], there: float) -> None:
        """Add what a worker has counted.

        Args:
            counts: from `death.Lease.counts`.
            there: seconds from its start to its end.
        """
        with self._lock:
            self.workers += 1
            self.there += there
            self.tasks += counts["tasks"]
            self.busy += counts["busy"]
            self.taken += counts["taken"]
            self.sent += counts["sent"]
            self.viewed += counts["viewed"]


def begin(program: str) -> Callable[[], None]:
    """Begin to count; return what prints the report, to be called at the program's exit.

    Args:
        program: its name.
    """
    tally = Tally()
    from allcores.engines.contract import Engine
    from allcores.task.crew import Crew

    fill, attend, let_go = Crew.fill, Engine.attend, Crew._let_go

    @functools.wraps(fill)
    def timed_fill(self: Crew) -> None:
        if self.line not in tally.lines:
            tally.pools += 1
            tally.lines.append(self.line)
        start = time.monotonic()
        try:
            fill(self)
        finally:
            tally.starting += time.monotonic() - start

    @functools.wraps(attend)
    def timed_attend(self: Engine, job: Any, done: Callable[[], bool], timeout: Any) -> bool:
        if threading.current_thread() is not threading.main_thread():
            return attend(self, job, done, timeout)
        start = time.monotonic()
        try:
            return attend(self, job, done, timeout)
        finally:
            tally.waiting += time.monotonic() - start

    @functools.wraps(let_go)
    def counted_let_go(self: Crew, worker: Any) -> Any:
        lease = let_go(self, worker)
        if lease is not None:
            tally.add(lease.counts(), time.monotonic() - lease.made)
        return lease

    Crew.fill = timed_fill  # type: ignore[method-assign]
    Engine.attend = timed_attend  # type: ignore[method-assign]
    Crew._let_go = counted_let_go  # type: ignore[method-assign]
    owner = os.getpid()

    def end() -> None:
        if os.getpid() == owner and sys.stderr is not None:
            cpu = time.process_time()
            print(text(program, tally, time.monotonic() - tally.begin, cpu), file=sys.stderr)

    return end


def text(program: str, tally: Tally, wall: float, cpu: float) -> str:
    """Return the report.

    Args:
        program: its name.
        tally: what was counted.
        wall: seconds that the program took.
        cpu: seconds that its own process computed.
    """
    rows = [
        (
            "time",
            f"{wall:.2f} s; of it {tally.waiting:.2f} s waiting for results and "
            f"{tally.starting:.2f} s starting workers",
        ),
        ("this process", f"{cpu:.2f} s of CPU time"),
    ]
    if tally.pools == 0:
        rows.append(("pools", "none, so there were no tasks"))
    else:
        rows += [
            ("pools", f"{tally.pools}, with {tally.workers} workers"),
            ("tasks", f"{tally.tasks:,}, which took {tally.busy:.2f} s together"),
            ("workers", f"{_share(tally)} of {tally.there:.2f} s in tasks"),
            ("data", f"{_bytes(tally.taken)} to workers, {_bytes(tally.sent)} back"),
        ]
        viewed = tally.viewed + sum(line.viewed for line in tally.lines)
        if viewed:
            rows.append(("not copied", f"{_bytes(viewed)}, which arrived as views"))
    lines = [f"allcores: where the time of {program} went"]
    return "\n".join(lines + [f"  {name:<14}{value}" for name, value in rows])


def _share(tally: Tally) -> str:
    return f"{tally.busy / tally.there:.0%}" if tally.there > 0 else "0%"


def _bytes(count: int) -> str:
    if count < 1024:
        return f"{count} bytes"
    size, unit = float(count), 0
    while size >= 1024 and unit < 4:
        size /= 1024
        unit += 1
    return f"{size:.1f} {_UNITS[unit]}"
