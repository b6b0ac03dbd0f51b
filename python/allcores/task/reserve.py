"""Idle workers of pools that have ended: they wait a while for the next pool.

This is the side of the pool's process; between.py is the worker's. A worker that is told to leave
may say instead that it has left the rings, and wait on its pipe. Then the process object of the
old pool looks like that of a process that has ended, and the process itself is here: *parked*. A
new pool of the same settings sends it what a fresh child gets, a process object among it.

Never under ``fork``, whose children are copies of what the parent is at that moment. Under the
other methods a child knows of its parent only what it is told, and what it inherits: that is what
*settings* hold, and they have to be the same. What tasks may have done to a worker, it judges
itself, and leaves rather than come to another pool changed (between.py).
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import termios
import threading
import time
from array import array
from collections import deque
from collections.abc import Iterable
from multiprocessing import process as _process
from multiprocessing import util
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from allcores import budget
from allcores.cpus import SHARE, affinity, cpu_count
from allcores.launch import client, command, learn, payload
from allcores.launch.interpreter import tracker_fd
from allcores.launch.pipes import send
from allcores.task.work import IDLE_S

# A worker is not asked in the last second before it leaves.
_MARGIN_S = 1.0
# Seconds until a worker that was told to leave is killed.
_GRACE_S = 1.5
# What fits into a pipe that nobody reads from: sending must not wait for a worker that tidies up.
_MOST_BYTES = 32 << 10
# Modules that a worker is told to import at once, of about 100 bytes each.
_LESSON = 150
_LESSON_BYTES = 24 << 10


def settings(worker: Any) -> object:
    """Return what a worker that starts now inherits; a parked one serves where it is equal.

    Args:
        worker: a process object.
    """
    if util._logger is not None:  # type: ignore[attr-defined]
        return object()  # a logger has handlers: leave them to fresh processes
    return (
        type(worker),
        command.get_executable(),
        subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]
        tracker_fd(),
        client.server._preload,
        os.environ.copy(),
        budget.variables(worker),
        worker._config.get(SHARE),
        list(sys.path),
        [_file(fd) for fd in (1, 2)],
        affinity(),
        os.geteuid(),
    )


def _file(fd: int) -> tuple[int, ...] | None:
    """Return what tells the target of a standard stream from another."""
    try:
        facts = os.fstat(fd)
        return facts.st_dev, facts.st_ino, facts.st_rdev, fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError:
        return None


def _unread(data: int) -> int:
    """Return how many bytes are in a pipe."""
    count = array("i", [0])
    fcntl.ioctl(data, termios.FIONREAD, count)
    return count[0]


class Left:
    """In the place of a process that its pool is done with, and that is parked.

    Args:
        popen: the process.
        returncode: what it shall seem to have ended with.
    """

    def __init__(self, popen: Any, returncode: int) -> None:
        self.method = popen.method
        self.pid = popen.pid
        self.returncode = returncode
        self.sentinel = _ended()

    def poll(self, flag: int = 0) -> int:
        """Return the exit code."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code."""
        return self.returncode

    def nothing(self) -> None:
        """Do nothing to a process that has ended."""

    terminate = kill = interrupt = close = nothing


_ended_fd = -1


def _ended() -> int:
    """Return a descriptor that is ready as that of an ended process is; one for all."""
    global _ended_fd
    if _ended_fd < 0:
        _ended_fd, writer = os.pipe()
        os.close(writer)
    return _ended_fd


class _Parked(NamedTuple):
    popen: Any
    settings: object
    until: float  # by time.monotonic()


class Reserve:
    """The parked workers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parked: list[_Parked] = []
        self._coming: deque[_Parked] = deque()  # those that were parked since `_tidy`
        self._leaving: list[Any] = []
        self._at_exit: Any = None
        # What tasks had to import: of workers that stay, and of those that are replaced.
        self._libraries: dict[learn.Module, None] = {}
        self._replaced: dict[learn.Module, None] = {}

    def start(self, worker: Any, wanted: object) -> bool:
        """Let a parked process be a worker; False when there is none.

        Args:
            worker: a process object that was not started.
            wanted: its `settings`.

        Raises:
            allcores.errors.NotPicklable: an argument can't travel; says which and why.
        """
        popen = self._take(wanted)
        if popen is None:
            return False
        _process._cleanup()  # type: ignore[attr-defined]
        try:
            popen._fds = []
            body = payload.pack(popen, worker)
        except BaseException:
            self._dismiss([popen])
            raise
        if popen._fds or len(body) > _MOST_BYTES:
            self._dismiss([popen])
            return False
        send(popen.data, body)
        worker._popen = popen
        worker._sentinel = popen.sentinel
        del worker._target, worker._args, worker._kwargs
        _process._children.add(worker)  # type: ignore[attr-defined]
        util.debug(f"process {popen.pid} of an earlier pool serves again")
        return True

    def count(self) -> int:
        """Return how many wait."""
        return len(self._parked) + len(self._coming)

    def _take(self, wanted: object) -> Any:
        with self._lock:
            self._tidy()
            now = time.monotonic()
            for index in reversed(range(len(self._parked))):
                parked = self._parked[index]
                if parked.settings == wanted and now < parked.until:
                    del self._parked[index]
                    return parked.popen
        return None

    def park(self, worker: Any, found: object, code: int) -> None:
        """Keep the process of a worker that has left its pool's rings.

        Args:
            worker: its process object, which looks ended from now on.
            found: its `settings` when it was started.
            code: the exit code that it shall seem to have.
        """
        popen = worker._popen
        worker._popen = left = Left(popen, code)
        worker._sentinel = left.sentinel
        _process._children.discard(worker)  # type: ignore[attr-defined]
        popen._kept = None
        self._coming.append(_Parked(popen, found, time.monotonic() + IDLE_S - _MARGIN_S))
        # Never waited for: a finalizer or a signal handler may end a pool in the middle of what
        # holds it. Then the next who comes finds the worker.
        if not self._lock.acquire(False):
            return
        try:
            if self._at_exit is None or not self._at_exit.still_active():
                # After the pools (15), before processes that still run are joined.
                self._at_exit = util.Finalize(None, self.clear, exitpriority=10)
            self._tidy()
            surplus = self._parked[: -cpu_count()]
            del self._parked[: len(surplus)]
        finally:
            self._lock.release()
        self._dismiss(parked.popen for parked in surplus)
        self._teach()

    def learn(self, modules: list[learn.Module], stays: bool) -> None:
        """Have modules imported by those that can use them.

        Args:
            modules: what the tasks of a worker had to import.
            stays: whether that worker is one of those that wait here; then the others do. If it
                is replaced instead, the fork server does, which nobody can ask meanwhile.
        """
        known = self._libraries if stays else self._replaced
        new = [module for module in modules if module not in known]
        if not new:
            return
        known.update(dict.fromkeys(new))
        if stays:
            self._teach()
        else:
            client.server.learn(new)

    def _teach(self) -> None:
        if not self._lock.acquire(False):
            return  # as in `park`: they learn it the next time
        try:
            modules = list(self._libraries)
            for popen, _, _ in self._parked:
                new = modules[getattr(popen, "known", 0) :][-_LESSON:]
                if not new:
                    continue
                lesson = payload.lesson(new)
                # There has to be room in the pipe for the next pool's message, too.
                if _unread(popen.data) + len(lesson) <= _LESSON_BYTES:
                    popen.known = len(modules)
                    send(popen.data, lesson)
        finally:
            self._lock.release()

    def tidy(self) -> None:
        """Collect those that have ended."""
        with self._lock:
            self._tidy()

    def _tidy(self) -> None:
        while self._coming:
            self._parked.append(self._coming.popleft())
        self._leaving = [popen for popen in self._leaving if not _is_over(popen)]
        self._parked = [parked for parked in self._parked if not _is_over(parked.popen)]

    def _dismiss(self, popens: Iterable[Any]) -> None:
        for popen in popens:
            send(popen.data, payload.LEAVE)
            with self._lock:
                self._leaving.append(popen)

    def clear(self) -> None:
        """End all parked workers, and wait until they have ended."""
        with self._lock:
            self._tidy()
            parked, self._parked = self._parked, []
        self._dismiss(entry.popen for entry in parked)
        until = time.monotonic() + _GRACE_S
        killed = False
        while True:
            self.tidy()
            if not self._leaving:
                return
            left = until - time.monotonic()
            if left <= 0 and not killed:
                killed = True
                for popen in self._leaving:
                    popen.kill()
            wait([popen.sentinel for popen in self._leaving], None if killed else left)

    def _after_fork(self) -> None:
        # They are the parent's: this process lets go of their pipes, so that they notice its end.
        parked = (*self._parked, *self._coming)
        popens = [*(entry.popen for entry in parked), *self._leaving]
        for popen in popens:
            os.close(popen.data)
            os.close(popen.sentinel)
        self.__init__()  # type: ignore[misc]


def _is_over(popen: Any) -> bool:
    if not wait([popen.sentinel], 0):
        return False
    if popen.method == "spawn":
        # The pipe was closed by the kernel just before the process can be collected.
        try:
            os.waitpid(popen.pid, 0)
        except ChildProcessError:
            pass
    popen.returncode = 0
    popen.close()
    return True


reserve = Reserve()
os.register_at_fork(after_in_child=reserve._after_fork)
