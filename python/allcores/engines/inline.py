"""The engine that does a task in the thread that asks for it: for a debugger, and for one worker.

A call that is waited for (``get``, ``next``, or a plain ``apply`` or ``map``) is made in there. One
that nobody waits for yet (``apply_async``, ``map_async``) is made at once, so that its callback and
``ready()`` behave as elsewhere. ``imap`` makes a call when its result is taken, and reads its input
no further.

Nothing runs beside the caller, so nothing can be stopped: a `timeout` of a task isn't kept to, and
a breakpoint can be looked at for as long as it takes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from allcores.engines.contract import TERMINATE
from allcores.engines.local import Local, Task, perform


class Inline(Local):
    """The caller's own thread."""

    lazy = True

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[int, deque[Task]] = {}

    def put(self, task: Task) -> None:
        """Keep a task until somebody asks for its job.

        Args:
            task: the task.
        """
        tasks = self._tasks.get(task[0])
        if tasks is None:
            tasks = self._tasks.setdefault(task[0], deque())
        tasks.append(task)

    def finish(self, number: int, early: bool = False) -> None:
        """Forget a job that is complete.

        Args:
            number: the job.
            early: not needed: what it has left is forgotten.
        """
        super().finish(number)
        self._tasks.pop(number, None)

    def leave(self, job: Any) -> None:
        """Do a job now, as nobody waits for it yet.

        Args:
            job: the job.
        """
        while self._step(job):
            pass

    def join(self) -> None:
        """Do everything."""
        for job in list(self.jobs.values()):
            self.leave(job)

    def _wait(self, job: Any, done: Callable[[], bool], baton: Any, timeout: float) -> None:
        """Do the job's next task; wait when another thread is at its last.

        Args:
            job: what is waited for.
            done: not needed.
            baton: released at each news.
            timeout: seconds to wait; a task takes as long as it takes.
        """
        if not self._step(job):
            baton.acquire(timeout=timeout)

    def _step(self, job: Any) -> bool:
        """Do a job's next task; False when it has none."""
        tasks = self._tasks.get(job._job)
        if not tasks or self.state == TERMINATE:
            return False
        try:
            task = tasks.popleft()
        except IndexError:
            return False  # another thread was quicker
        began = time.monotonic_ns()
        try:
            value = perform(*task[2:])
        except BaseException as error:
            self.lose(task, error)
            if isinstance(error, KeyboardInterrupt):
                raise  # it is the caller's, whatever becomes of the job
        else:
            self.deliver(task, value, began)
        return True
