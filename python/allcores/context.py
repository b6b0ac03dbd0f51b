"""The contexts: the whole interface of the package, bound to one start method each.

They are the standard library's context classes (programs ask for
``multiprocessing.context.BaseContext``) with our process classes and our shared objects. The
default context's start method is kept here; setting it leaves the standard library's alone.

The default is ``forkserver``: it never forks a process that has threads, starts children
quickly, and as `__main__` is not run again in a child, programs need no guard for it.
"""

from __future__ import annotations

import multiprocessing.context as _std
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.context import (
    AuthenticationError,
    BufferTooShort,
    ProcessError,
    TimeoutError,
    assert_spawning,
    get_spawning_popen,
    set_spawning_popen,
)
from typing import Any, ClassVar

from allcores import process as _process
from allcores.process import ForkProcess, ForkServerProcess, Process, SpawnProcess

__all__ = [
    "AuthenticationError",
    "BaseContext",
    "BufferTooShort",
    "DefaultContext",
    "ForkContext",
    "ForkProcess",
    "ForkServerContext",
    "ForkServerProcess",
    "Process",
    "ProcessError",
    "SpawnContext",
    "SpawnProcess",
    "TimeoutError",
    "assert_spawning",
    "get_spawning_popen",
    "set_spawning_popen",
]


def _started_ahead(method: str, count: Any) -> Any:
    """Have the workers of a program's first pool started while the modules for it are imported."""
    from allcores.cpus import cpu_count
    from allcores.launch import blank

    first = "allcores.pool" not in sys.modules
    if count is None and first:
        count = cpu_count()
    return blank.ahead(method, count if first and isinstance(count, int) else 0)


class BaseContext(_std.BaseContext):
    """Everything the package offers, bound to one start method.

    Get one with ``allcores.get_context("spawn")``; libraries should take a context rather
    than set the start method of the program they are used in.
    """

    _name: str
    Process: ClassVar[type[_process.BaseProcess]]

    def cpu_count(self) -> int:
        """Return the number of CPUs of the machine, whether this process may use them or not.

        Raises:
            NotImplementedError: the number can't be found out.
        """
        count = os.cpu_count()
        if count is None:
            raise NotImplementedError(
                "the operating system doesn't tell the number of CPUs; pass the number of "
                "processes explicitly"
            )
        return count

    def Pipe(self, duplex: bool = True) -> Any:
        """Return two connection objects joined by a pipe.

        Args:
            duplex: False gives ``(receiver, sender)``, one way only.
        """
        from allcores.connection import Pipe

        return Pipe(duplex)

    def Manager(self) -> Any:
        """Return a started manager, whose methods make objects that processes share."""
        from allcores.managers import SyncManager

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Lock(self) -> Any:
        """Return a lock that one process or thread holds at a time."""
        from allcores.synchronize import Lock

        return Lock(ctx=self.get_context())

    def RLock(self) -> Any:
        """Return a lock that its holder may take again."""
        from allcores.synchronize import RLock

        return RLock(ctx=self.get_context())

    def Condition(self, lock: Any = None) -> Any:
        """Return a condition variable on `lock`, or on an RLock of its own."""
        from allcores.synchronize import Condition

        return Condition(lock, ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> Any:
        """Return a semaphore of `value` units."""
        from allcores.synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> Any:
        """Return a semaphore that can't be released above `value`."""
        from allcores.synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self) -> Any:
        """Return a flag that processes can wait for."""
        from allcores.synchronize import Event

        return Event(ctx=self.get_context())

    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Return a barrier that lets `parties` processes through together.

        Args:
            parties: how many have to arrive.
            action: called by one of them before they are let through.
            timeout: seconds that each waits, unless it says otherwise.
        """
        from allcores.synchronize import Barrier  # type: ignore[attr-defined,unused-ignore]

        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize: int = 0) -> Any:
        """Return a queue of at most `maxsize` items (0: no limit)."""
        from allcores.queues import Queue

        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize: int = 0) -> Any:
        """Return a queue with ``task_done`` and ``join``."""
        from allcores.queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self) -> Any:
        """Return a queue with ``put``, ``get``, ``empty`` and ``close`` only."""
        from allcores.queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        max_memory: int | str | None = None,
        relay: bool = True,
    ) -> Any:
        """Return a pool of worker processes.

        Args:
            processes: how many workers; None for one a usable CPU.
            initializer: called in each worker as it starts.
            initargs: arguments of the initializer.
            maxtasksperchild: tasks after which a worker is replaced; None for never.
            max_memory: what the workers may have together, in bytes or as a text such as
                ``"4 GiB"``; None for no limit.
            relay: whether what workers print, log and warn comes to this process.
        """
        context = self.get_context()
        with _started_ahead(context._name, processes):
            from allcores.pool import Pool

            return Pool(
                processes,
                initializer,
                initargs,
                maxtasksperchild,
                context=context,
                max_memory=max_memory,
                relay=relay,
            )

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """Return a ctypes object in shared memory, without a lock."""
        from allcores.sharedctypes import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """Return a ctypes array in shared memory, without a lock."""
        from allcores.sharedctypes import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """Return a ctypes object in shared memory, with a lock unless `lock` is False."""
        from allcores.sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """Return a ctypes array in shared memory, with a lock unless `lock` is False."""
        from allcores.sharedctypes import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    def freeze_support(self) -> None:
        """Run the child, when this is one, of a program frozen into an executable.

        Call it first thing in the main module of a program that will be frozen; anywhere
        else it does nothing.
        """
        if getattr(sys, "frozen", False):
            from allcores.launch.command import freeze_support

            freeze_support()

    def allow_connection_pickling(self) -> None:
        """Make connections and sockets picklable; importing the module is what does it."""
        import allcores.connection  # noqa: F401

    def set_executable(self, executable: Any) -> None:
        """Set the interpreter that spawned children and the fork server run.

        Args:
            executable: its path; None for the standard library's choice.
        """
        from allcores.launch.command import set_executable

        set_executable(executable)

    def set_forkserver_preload(
        self, module_names: Sequence[str], *, on_error: str = "ignore"
    ) -> None:
        """Name modules that the fork server imports, so that its children find them loaded.

        It has to be called before the first process starts. `__main__` may be named but is
        never run there.

        Args:
            module_names: names of importable modules.
            on_error: what to do about one that can't be imported: "ignore", "warn" or
                "fail", which ends the server, so that starting a process fails.

        Raises:
            TypeError: a name is no string.
            ValueError: an unknown `on_error`.
        """
        from allcores.launch.forkserver import set_forkserver_preload

        set_forkserver_preload(module_names, on_error=on_error)

    def get_context(self, method: str | None = None) -> Any:
        """Return the context of a start method; None for this one.

        Raises:
            ValueError: there is no such start method here.
        """
        if method is None:
            return self
        try:
            return _contexts[method]
        except KeyError:
            known = ", ".join(repr(name) for name in _contexts)
            raise ValueError(
                f"cannot find context for {method!r}; start methods on this system: {known}"
            ) from None

    def get_start_method(self, allow_none: bool = False) -> str:
        """Return the name of this context's start method."""
        return self._name

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Refuse: only the default context has a start method that can be set.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "cannot set start method of concrete context; call allcores.set_start_method(), "
            "or use another context from get_context()"
        )


class DefaultContext(BaseContext, _std.DefaultContext):
    """The context behind the functions of the package; its start method can be set once."""

    Process = Process
    _actual_context: BaseContext | None

    def __init__(self, context: BaseContext) -> None:
        _std.DefaultContext.__init__(self, context)

    def get_context(self, method: str | None = None) -> Any:
        """Return the context of a start method; None for the default, which is then settled.

        Raises:
            ValueError: there is no such start method here.
        """
        if method is not None:
            return super().get_context(method)
        if self._actual_context is None:
            self._actual_context = self._default_context  # type: ignore[attr-defined]
        return self._actual_context

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose how processes start: "fork", "spawn" or "forkserver".

        Args:
            method: the name; None with `force` goes back to the default.
            force: choose again although it has been settled before.

        Raises:
            RuntimeError: it has been settled already, by this function or by use.
            ValueError: there is no such start method here.
        """
        if self._actual_context is not None and not force:
            raise RuntimeError(
                "context has already been set: a process was started or the start method "
                "asked for; set it first thing, or pass force=True"
            )
        if method is None and force:
            self._actual_context = None
            return
        self._actual_context = self.get_context(method)

    def get_start_method(self, allow_none: bool = False) -> str | None:  # type: ignore[override]
        """Return the name of the start method, which settles it.

        Args:
            allow_none: return None, and settle nothing, when it isn't settled yet.
        """
        if self._actual_context is None and allow_none:
            return None
        name: str = self.get_context()._name
        return name

    def get_all_start_methods(self) -> list[str]:
        """Return the start methods of this system, the default first."""
        return list(_contexts)


class ForkContext(BaseContext, _std.ForkContext):
    """Children start as copies of this process: at once, with all it has, threads excepted."""

    _name = "fork"
    Process = ForkProcess


class SpawnContext(BaseContext, _std.SpawnContext):
    """Children start as fresh interpreters: slowest, nothing inherited."""

    _name = "spawn"
    Process = SpawnProcess


class ForkServerContext(BaseContext, _std.ForkServerContext):
    """Children are forked from a small server process without threads."""

    _name = "forkserver"
    Process = ForkServerProcess


# In the order of Python 3.14, whose default is the same.
_contexts: dict[str, BaseContext] = {
    "forkserver": ForkServerContext(),
    "fork": ForkContext(),
    "spawn": SpawnContext(),
}
default_context = DefaultContext(_contexts["forkserver"])
# The names that some programs know from the standard library's module.
_concrete_contexts = _contexts
_default_context = default_context


def set_default(method: str) -> None:
    """Make `method` the one that is taken where none is chosen, and the first of all.

    Args:
        method: the name.
    """
    context = _contexts.pop(method)
    others = dict(_contexts)
    _contexts.clear()
    _contexts.update({method: context, **others})
    default_context._default_context = context  # type: ignore[attr-defined]


def force_start_method(method: str) -> None:
    """Make `method` the default of this process, whatever it was."""
    default_context._actual_context = _contexts[method]
