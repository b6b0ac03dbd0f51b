"""``Process`` under each start method, on the standard library's own process classes.

``current_process``, ``active_children`` and ``parent_process`` are the standard library's,
and so is their state: a process started here is seen by everything that asks there.
"""

from __future__ import annotations

import multiprocessing.context as _std_context
import multiprocessing.process as _std
import signal
import sys
import threading
from multiprocessing.process import (
    BaseProcess,
    active_children,
    current_process,
    parent_process,
)
from typing import Any

from allcores import _core
from allcores.launch import adopt as _adopt  # noqa: F401  # from now on it knows of each fork
from allcores.launch import refusal, tether
from allcores.timeouts import seconds

__all__ = ["BaseProcess", "active_children", "current_process", "parent_process"]


def __getattr__(name: str) -> Any:
    # State such as `_current_process` is rebound over there: always ask for today's.
    return getattr(_std, name)


class _Launched(BaseProcess):
    """What the processes of all start methods have in common."""

    # The standard library's `_bootstrap` would make this *its* start method in the child.
    # Ours is kept apart from it, in `_method`.
    _start_method: Any = None
    _method: str | None = None
    # Who starts several in a row sees to it that they are watched.
    _is_one_of_many = False
    # In the child: nothing of the program runs any more after `_bootstrap`.
    _leaves_at_once = True

    def start(self) -> None:
        """Start the process, once.

        Raises:
            allcores.errors.NotPicklable: an argument can't travel; says which and why.
            OSError: the system refuses a process or what it needs; a note says what to do.
        """
        try:
            super().start()
        except OSError as error:
            refusal.explain(error)
            raise
        if not self._is_one_of_many:
            self._watch()

    def _watch(self) -> None:
        # What it holds is given back the moment it dies, whoever waits for it or not.
        _core.watch(self._popen.pid)  # type: ignore[attr-defined]

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, or `timeout` seconds.

        Args:
            timeout: seconds; None for as long as it takes.

        Raises:
            TypeError: the timeout is no number.
            ValueError: the process object is closed, or the timeout is NaN.
        """
        super().join(seconds(timeout))

    def interrupt(self) -> None:
        """Send SIGINT to the process, which raises KeyboardInterrupt in it.

        Raises:
            ValueError: the process object is closed.
        """
        self._check_closed()  # type: ignore[attr-defined]
        popen = self._popen  # type: ignore[attr-defined]
        if popen is None:
            raise ValueError("can't interrupt a process that was not started; call start() first")
        popen._send_signal(signal.SIGINT)

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        """Run in the child: everything from its first step to its exit code."""
        from allcores import context

        if self._method is not None:
            context.force_start_method(self._method)
        body = self.run

        def run() -> None:
            # Ctrl-C reaches every process of the terminal. The parent reports it, once;
            # a child leaves with exit code 1 and without a traceback.
            try:
                _unblock_interrupt()
                if tether.is_tethered(self) and not tether.tether():
                    sys.exit(1)
                body()
            except KeyboardInterrupt:
                sys.exit(1)
            except NameError as error:
                from allcores import pickling

                pickling.explain(error)
                raise

        vars(self)["run"] = run
        code: int = super()._bootstrap(parent_sentinel)  # type: ignore[misc]
        if self._leaves_at_once:
            leave()
        return code


def leave() -> None:
    """Give back what this process holds, as the last thing that it does.

    Without this it would look killed to those that share objects with it: a barrier would break.
    Threads that are still running may be using what it holds, so then that is left to whoever
    notices its end.
    """
    if _core.has_arena() and threading.active_count() == 1:
        _core.leave()


def _unblock_interrupt() -> None:
    """End the block on SIGINT under which every child of ours starts."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class Process(_Launched, _std_context.Process):
    """An activity that runs in a process of its own, under the default start method.

    The function and its arguments travel to the child; `__main__` is not run again there,
    so a program needs no ``if __name__ == "__main__"`` guard. Functions and classes of
    `__main__`, lambdas and closures are fine.

    A child that ends by KeyboardInterrupt does so silently, with exit code 1.

    Args:
        group: always None; there for likeness with threading.Thread.
        target: called by `run` in the child.
        name: only for people; not unique.
        args: positional arguments of the target.
        kwargs: keyword arguments of the target.
        daemon: whether the child is ended with this process, however that ends; None
            inherits.

    Raises:
        allcores.errors.NotPicklable: from `start`; says which argument can't travel and why.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from allcores.context import default_context

        process: Any = default_context.get_context().Process
        return process._Popen(process_obj)

    @staticmethod
    def _after_fork() -> None:
        from allcores.context import default_context

        process: Any = default_context.get_context().Process
        process._after_fork()


class ForkProcess(_Launched, _std_context.ForkProcess):
    """A process that starts as a copy of this one."""

    _start_method: Any = None
    _method = "fork"

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from allcores.launch.fork import Popen

        return Popen(process_obj)


class SpawnProcess(_Launched, _std_context.SpawnProcess):
    """A process that starts as a fresh interpreter."""

    _start_method: Any = None
    _method = "spawn"

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from allcores.launch.spawn import Popen

        return Popen(process_obj)


class ForkServerProcess(_Launched, _std_context.ForkServerProcess):
    """A process that is forked, for this one, from a small server without threads."""

    _start_method: Any = None
    _method = "forkserver"

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from allcores.launch.forkserver import Popen

        return Popen(process_obj)
