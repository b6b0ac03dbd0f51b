"""Managers: what ``Manager()`` returns.

What a `SyncManager` makes lives in the arena and needs no server. The standard library's server
process is started when something else is needed: a type that a program has registered, the
manager's address, an initializer. A manager that was given an address, or connects to one, does
everything by the server at that address, as documented.
"""

from __future__ import annotations

import multiprocessing.managers as _std
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from multiprocessing.context import ProcessError
from typing import Any

from allcores import _core
from allcores.launch import tether
from allcores.shared import managed, simple
from allcores.shared.deques import Deque
from allcores.shared.dicts import Dict
from allcores.shared.lists import List
from allcores.shared.sets import Set

__all__ = ["BaseManager", "SharedMemoryManager", "SyncManager"]

_State: Any = _std.State  # type: ignore[attr-defined]


class _PoolRefused(ValueError, _std.RemoteError):
    """A pool can't have such arguments; the standard library's server says it like this."""


class BaseManager(_std.BaseManager):
    """A manager that starts its server by a context of this package.

    Args:
        address: where the server listens; None lets it choose.
        authkey: the key that clients have to know; None is the process's own.
        serializer: "pickle" or "xmlrpclib".
        ctx: the context that starts the server; None is the default one.
        **options: what the standard library's class takes besides, such as
            `shutdown_timeout`, in seconds.
    """

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        **options: Any,
    ) -> None:
        if ctx is None:
            from allcores.context import default_context as ctx
        super().__init__(address, authkey, serializer, ctx, **options)

    @classmethod
    def _run_server(cls, *args: Any, **kwargs: Any) -> None:
        # Nobody else would end the server of a process that was killed. It ends by itself, or its
        # socket's folder would stay. A signal that nobody else uses: what the server forks has the
        # handler as well, and CPython loses a signal that it handles in the moment of a fork. With
        # SIGTERM that was a worker of a pool which didn't end.
        number = getattr(signal, "SIGRTMAX", signal.SIGTERM)
        signal.signal(number, lambda *_: sys.exit(0))
        if tether.tether(number):
            super()._run_server(*args, **kwargs)  # type: ignore[misc]


class SyncManager(BaseManager, _std.SyncManager):
    """A manager of objects in the arena, and of registered types by the standard server.

    After its `shutdown`, or its ``with`` block, what it made can't be used any more: that raises
    `allcores.errors.ManagerShutDown`. A manager that is just forgotten ends nothing.
    """

    # The server is wanted, but nothing has needed it yet.
    _lazy = False
    # Everything is done by the server at an address.
    _by_server = False

    def __init__(self, address: Any = None, *args: Any, **options: Any) -> None:
        super().__init__(address, *args, **options)
        self._by_server = address is not None
        self._life: _core.Life | None = None
        self._owner = os.getpid()
        self._end_server: Callable[[], object] = lambda: None
        self._pools: weakref.WeakSet[Any] = weakref.WeakSet()

    def connect(self) -> None:
        """Connect to the server at the address, which does everything from now on."""
        self._by_server = True
        super().connect()

    def start(
        self,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        """Start the manager. Its server starts with it if it has to run somewhere or something.

        Otherwise it starts when it is first needed.

        Args:
            initializer: called in the server before it serves.
            initargs: arguments of the initializer.

        Raises:
            multiprocessing.ProcessError: the manager was started before.
            TypeError: the initializer can't be called.
        """
        fresh = self._state.value == _State.INITIAL
        if fresh:
            self._owner = os.getpid()
            # Now, so that children that are forked have the same.
            self._life = _core.Life()
        if type(self) is SyncManager and fresh and initializer is None and self._address is None:
            self._lazy = True
            self._starting = threading.Lock()
            self._state.value = _State.STARTED
            return
        self._start_server(initializer, initargs)

    def _start_server(self, *args: Any) -> None:
        super().start(*args)
        # It ends with the program, or with this object; and by our own `shutdown`, which the
        # standard library's `start` has just put this in front of.
        self._end_server = vars(self).pop("shutdown")

    def _serve(self) -> None:
        """Start the server if it is wanted and not there yet."""
        if not self._lazy:
            return
        if os.getpid() != self._owner:
            raise ProcessError(
                "the manager's server was not running yet when this process was forked; make "
                "what it serves in the process that made the manager, "
                "and pass it on"
            )
        with self._starting:
            if self._lazy and self._state.value == _State.STARTED:
                self._state.value = _State.INITIAL
                try:
                    self._start_server()
                    self._lazy = False
                finally:
                    self._state.value = _State.STARTED

    def shutdown(self) -> None:  # type: ignore[override]
        """End what this manager has made, and its server if it has one.

        Who waits for one of its objects, in whatever process, gets an exception.
        """
        if os.getpid() != self._owner:
            # As with the standard library: a child has a copy, and it isn't the child's to end.
            return
        self._lazy = False
        if self._life is not None:
            self._life.end()
        for pool in list(self._pools):
            pool.terminate()
        self._end_server()
        self._state.value = _State.SHUTDOWN

    def join(self, timeout: float | None = None) -> None:
        """Wait until the server has ended, for `timeout` seconds at most; None has no limit."""
        if vars(self).get("_process") is not None:
            super().join(timeout)

    @property
    def address(self) -> Any:
        """Where the server listens; this starts it."""
        self._serve()
        return super().address

    def __getattr__(self, name: str) -> Any:
        if name == "_process" and self._lazy:
            self._serve()
            return vars(self)["_process"]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _create(self, typeid: str, /, *args: Any, **kwds: Any) -> Any:
        self._serve()
        return super()._create(typeid, *args, **kwds)  # type: ignore[misc]

    def _debug_info(self) -> Any:
        self._serve()
        return super()._debug_info()  # type: ignore[misc]

    def _number_of_objects(self) -> int:
        """Return the number of objects that the server has; those in the arena are not its."""
        if self._lazy:
            return 0
        count: int = super()._number_of_objects()  # type: ignore[misc]
        return count

    def _made(self, kind: Callable[..., Any], typeid: str, *args: Any, **named: Any) -> Any:
        """Make an object in the arena; by the server when this manager has an address."""
        if self._by_server:
            make = getattr(_std.SyncManager, typeid, None)
            if make is None:
                raise NotImplementedError(
                    f"this manager works by the standard library's server, which knows no "
                    f"{typeid}: register one, or make it with allcores.shared.{typeid}"
                )
            return make(self, *args, **named)
        state = self._state.value
        if state == _State.SHUTDOWN:
            raise ProcessError("this manager has been shut down; make another one")
        if state != _State.STARTED:
            raise ProcessError("this manager is not started yet: call start(), or use `with`")
        return kind(self._life, *args, **named)

    def list(self, iterable: Iterable[Any] = (), /) -> Any:
        """Return a list that processes share, see `allcores.shared.lists.List`."""
        return self._made(List.under, "list", iterable)

    def dict(self, mapping: Any = (), /, **items: Any) -> Any:
        """Return a dict that processes share, see `allcores.shared.dicts.Dict`."""
        return self._made(Dict.under, "dict", mapping, **items)

    def set(self, iterable: Iterable[Any] = (), /) -> Any:
        """Return a set that processes share, see `allcores.shared.sets.Set`."""
        return self._made(Set.under, "set", iterable)

    def deque(self, iterable: Iterable[Any] = (), maxlen: int | None = None) -> Any:
        """Return a deque that processes share, see `allcores.shared.deques.Deque`."""
        return self._made(Deque.under, "deque", iterable, maxlen)

    def Namespace(self, /, **attributes: Any) -> Any:
        """Return an object whose attributes processes share."""
        return self._made(simple.Namespace.under, "Namespace", **attributes)

    def Value(self, typecode: Any, value: Any, lock: Any = True) -> Any:
        """Return one object that processes share; `typecode` and `lock` mean nothing."""
        return self._made(simple.Value.under, "Value", typecode, value, lock)

    def Array(self, typecode: str, sequence: Iterable[Any], lock: Any = True) -> Any:
        """Return numbers of one type that processes share."""
        return self._made(simple.Array.under, "Array", typecode, sequence, lock)

    def Lock(self) -> Any:
        """Return a lock, as of ``threading``."""
        return self._made(managed.Lock.under, "Lock")

    def RLock(self) -> Any:
        """Return a lock that its thread may take again."""
        return self._made(managed.RLock.under, "RLock")

    def Semaphore(self, value: int = 1) -> Any:
        """Return a semaphore of `value` units."""
        return self._made(managed.Semaphore.under, "Semaphore", value)

    def BoundedSemaphore(self, value: int = 1) -> Any:
        """Return a semaphore that can't be released above `value`."""
        return self._made(managed.BoundedSemaphore.under, "BoundedSemaphore", value)

    def Condition(self, lock: Any = None) -> Any:
        """Return a condition variable on a lock of a manager, or on an RLock of its own."""
        return self._made(managed.Condition.under, "Condition", lock)

    def Event(self) -> Any:
        """Return a flag that processes can wait for."""
        return self._made(managed.Event.under, "Event")

    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Return a barrier; its last party calls `action`."""
        return self._made(managed.Barrier.under, "Barrier", parties, action, timeout)

    def Queue(self, maxsize: int = 0) -> Any:
        """Return a queue with ``task_done`` and ``join``, as of the module ``queue``."""
        return self._made(managed.Queue.under, "Queue", maxsize)

    def JoinableQueue(self, maxsize: int = 0) -> Any:
        """Return the same as `Queue`."""
        return self._made(managed.Queue.under, "JoinableQueue", maxsize)

    def Pool(self, *args: Any, **options: Any) -> Any:
        """Return a pool whose workers are this process's; the arguments are a `Pool`'s."""
        return self._made(self._new_pool, "Pool", *args, **options)

    def _new_pool(self, life: _core.Life, *args: Any, **options: Any) -> Any:
        try:
            pool = self._ctx.Pool(*args, **options)
        except ValueError as error:
            raise _PoolRefused(*error.args) from None
        self._pools.add(pool)
        return pool


class SharedMemoryManager(BaseManager, _std.SharedMemoryManager):
    """A manager that frees the shared memory segments that it made, by the standard server."""
