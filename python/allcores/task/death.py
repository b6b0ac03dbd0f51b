"""What can be said of a worker that died: which task it held, and what killed it."""

from __future__ import annotations

import os
import reprlib
import signal
import time
from collections.abc import Callable
from typing import Any

from allcores import _core, cgroup
from allcores.errors import TaskTimeout
from allcores.task.records import (
    BUSY,
    DIVERTED,
    DONE,
    ENDED,
    GATE,
    HELD,
    KEPT,
    LAST,
    LEASE_BYTES,
    LEASE_WORDS,
    PEAK,
    PLACE,
    SENT,
    STAGE,
    START,
    TAG,
    TAKEN,
    VIEWED,
)


class Lease:
    """What a worker is doing, in memory that outlives it."""

    def __init__(self) -> None:
        self.block = _core.Block(LEASE_BYTES)
        words = memoryview(self.block).cast("B").cast("Q")
        self._words = words[:LEASE_WORDS]
        self.made = time.monotonic()

    @property
    def tag(self) -> int:
        """The task it holds; 0 for none."""
        return int(self._words[TAG])

    @property
    def stage(self) -> int:
        """How far its start came: 0, INITIALIZING or READY."""
        return int(self._words[STAGE])

    @property
    def place(self) -> int:
        """Where in a task of several items it is; 0 in any other."""
        return int(self._words[PLACE])

    @property
    def start(self) -> int:
        """When it began its task, in nanoseconds of `time.monotonic_ns`."""
        return int(self._words[START])

    def take_back(self, seen: int, keep: int) -> bool:
        """Take back the items from `keep` on; False when the worker is not where it was seen.

        Args:
            seen: its word PLACE.
            keep: items that it keeps.
        """
        return _core.take_back(self.block, seen, keep)

    def doing(self) -> tuple[int, int, int]:
        """Return how many tasks it has done, and the tag and the start of the next, 0 if none."""
        for _ in range(8):
            done, tag, start = self.done, self.tag, self.start
            if self.done == done:
                break  # else it is through with tasks faster than they can be looked at
        return done, tag, start

    @property
    def done(self) -> int:
        """How many tasks it has done."""
        return int(self._words[DONE])

    @property
    def last(self) -> int:
        """The task that it did last."""
        return int(self._words[LAST])

    @property
    def kept(self) -> int:
        """How much anonymous memory it had after its last task; 1 before that."""
        return int(self._words[KEPT])

    @property
    def peak(self) -> int:
        """The most anonymous memory that it had until then."""
        return int(self._words[PEAK])

    def watch(self) -> None:
        """Close the gate, and have the worker say how much memory it keeps after each task."""
        self._words[KEPT] = 1
        self.gate = HELD

    def counts(self) -> dict[str, Any]:
        """Return what the worker has counted: seconds in tasks, and bytes."""
        words = self._words
        return {
            "tasks": int(words[ENDED]),
            "busy": int(words[BUSY]) / 1e9,
            "taken": int(words[TAKEN]),
            "sent": int(words[SENT]),
            "viewed": int(words[VIEWED]),
        }

    def divert(self) -> None:
        """Have the worker send what it prints."""
        self._words[DIVERTED] = 1

    @property
    def gate(self) -> int:
        """Whether it may take a task: OPEN, HELD or LEAVE."""
        return int(self._words[GATE])

    @gate.setter
    def gate(self, state: int) -> None:
        if state != self._words[GATE]:
            _core.set_gate(self.block, state)


def reap(process: Any) -> int | None:
    """Collect a dead child, and return its largest resident memory in bytes, if it can be had.

    Args:
        process: a process object whose sentinel says that it ended.
    """
    process.join(1)
    return getattr(getattr(process, "_popen", None), "max_rss", None)


class OomCounter:
    """How often the kernel's out-of-memory killer struck in this process's control group."""

    def __init__(self) -> None:
        self._file = self._find()
        self._seen = self._read()

    def struck(self) -> bool | None:
        """Return whether it struck since the last question; None when that can't be told."""
        before, self._seen = self._seen, self._read()
        if before is None or self._seen is None:
            return None
        return self._seen > before

    @staticmethod
    def _find() -> str | None:
        try:
            for line in cgroup.read("/proc/self/cgroup").splitlines():
                number, controllers, path = line.split(":", 2)
                if number == "0" and not controllers:
                    for base in (f"/sys/fs/cgroup{path}", "/sys/fs/cgroup"):
                        file = f"{base}/memory.events"
                        if os.path.isfile(file):
                            return file
                elif "memory" in controllers.split(","):
                    for base in (f"/sys/fs/cgroup/memory{path}", "/sys/fs/cgroup/memory"):
                        file = f"{base}/memory.oom_control"
                        if os.path.isfile(file):
                            return file
        except ValueError:
            pass
        return None

    def _read(self) -> int | None:
        if self._file is None:
            return None
        try:
            for line in cgroup.read(self._file).splitlines():
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
        except ValueError:
            pass
        return None


# Makes the error of a task whose worker was ended: from the job, the part, the item, the worker.
Why = Callable[[Any, int, int, Any], Exception]


def overran(job: Any, part: int, item: int, timeout: float, fate: str) -> TaskTimeout:
    """Return the error of a task that took too long.

    Args:
        job: the result object.
        part: the task.
        item: position within it.
        timeout: seconds that it might have taken.
        fate: what becomes of who ran it.
    """
    index, args_repr = describe(job, part, item)
    return TaskTimeout(
        f"task {index} with {args_repr} took longer than its timeout of {timeout:g} s; {fate}",
        task_index=index,
        args_repr=args_repr,
        timeout=timeout,
    )


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 100
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = 6


def shorten(obj: object) -> str:
    """Return a repr of at most some hundred characters, whatever the object does."""
    try:
        return _repr.repr(obj)[:300]
    except Exception as error:
        return f"<{type(obj).__name__}, whose repr() raises {type(error).__name__}>"


def describe(job: Any, part: int, item: int) -> tuple[int, str]:
    """Return the index, in its call's input, of what was being worked on, and its arguments.

    Args:
        job: the result object.
        part: the task.
        item: position within it.
    """
    index = job._first(part) + item
    try:
        args, kwargs = job._arguments(part, item)
        shown = [shorten(arg) for arg in args]
        shown += [f"{name}={shorten(arg)}" for name, arg in kwargs.items()]
    except Exception:
        return index, "(unknown arguments)"  # the input was changed meanwhile, or can't be read
    return index, f"({', '.join(shown)})"


def error_for(
    job: Any, part: int, item: int, process: Any, memory: int | None, oom: bool | None
) -> Exception:
    """Return the error for a task whose worker died.

    Args:
        job: the result object.
        part: the task.
        item: position within it that was being worked on.
        process: the dead worker.
        memory: its largest resident memory in bytes, if known.
        oom: whether the out-of-memory killer struck lately, if known.
    """
    from allcores.errors import WorkerDied

    index, args_repr = describe(job, part, item)
    code = process.exitcode
    name = None
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
    killed = code == -signal.SIGKILL
    if not killed:
        oom = False
    if name is None:
        how = f"ended with exit code {code}: something called os._exit"
    elif oom:
        how = "was killed by the kernel because memory ran out: use fewer workers or smaller tasks"
    elif killed:
        how = "was killed by SIGKILL: somebody sent it"
        if oom is None:
            how += ", or memory ran out"
    elif name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"):
        how = f"crashed with {name}: a bug in native code that the task called"
    else:
        how = f"was ended by {name}"
    used = "" if memory is None else f"; it had used up to {memory / 2**20:.0f} MiB"
    return WorkerDied(
        f"worker process {process.pid} died while it ran task {index} with {args_repr}: "
        f"it {how}{used}. Only this task failed; the worker is replaced",
        task_index=index,
        args_repr=args_repr,
        pid=process.pid,
        exitcode=code,
        signal=name,
        max_rss=memory,
        oom_killed=oom,
    )
