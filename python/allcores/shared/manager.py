"""Managers: what ``Manager()`` returns.

The lists and dicts of a manager live in the arena, and need no server. Everything else is served
by the standard library's server process, which a `SyncManager` starts when it is first needed: a
program that only wants lists and dicts never has one.
"""

from __future__ import annotations

import multiprocessing.managers as _std
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from multiprocessing.context import ProcessError
from typing import Any

from allcores.launch import tether
from allcores.shared.dict import Dict
from allcores.shared.list import List

__all__ = ["BaseManager", "SharedMemoryManager", "SyncManager"]

_State: Any = _std.State  # type: ignore[attr-defined]


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
    """A manager for lists and dicts in the arena, and for all else by the standard server.

    A list or a dict outlives its manager for as long as any process has it.
    """

    # The server is wanted, but nothing has needed it yet.
    _lazy = False

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
        if type(self) is SyncManager and fresh and initializer is None and self._address is None:
            self._lazy = True
            self._owner = os.getpid()
            self._starting = threading.Lock()
            self._state.value = _State.STARTED
            return
        super().start(initializer, initargs)

    def _serve(self) -> None:
        """Start the server if it is wanted and not there yet."""
        if not self._lazy:
            return
        if os.getpid() != self._owner:
            raise ProcessError(
                "the manager's server was not running yet when this process was forked; make "
                "what it serves (all but lists and dicts) in the process that made the manager, "
                "and pass it on"
            )
        with self._starting:
            if self._lazy and self._state.value == _State.STARTED:
                self._state.value = _State.INITIAL
                try:
                    super().start()
                    self._lazy = False
                finally:
                    self._state.value = _State.STARTED

    def shutdown(self) -> None:  # type: ignore[override]
        """End the server, and with it what it serves. Lists and dicts live on."""
        # The start of a server puts its own function in front of this one.
        self._lazy = False
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
        """Return the number of objects that the server has; lists and dicts are not its."""
        if self._lazy:
            return 0
        count: int = super()._number_of_objects()  # type: ignore[misc]
        return count

    def list(self, iterable: Iterable[Any] = (), /) -> List:  # type: ignore[override]
        """Return a list that processes share.

        Args:
            iterable: what is in it first.

        Raises:
            multiprocessing.ProcessError: the manager is not started, or it was shut down.
        """
        self._check()
        return List(iterable)

    def dict(self, mapping: Any = (), /, **items: Any) -> Dict:  # type: ignore[override]
        """Return a dict that processes share.

        Args:
            mapping: a mapping, or an iterable of pairs, that is in it first.
            **items: more of them, with names as keys.

        Raises:
            multiprocessing.ProcessError: the manager is not started, or it was shut down.
        """
        self._check()
        return Dict(mapping, **items)

    def _check(self) -> None:
        state = self._state.value
        if state == _State.SHUTDOWN:
            raise ProcessError("this manager has been shut down; make another one")
        if state != _State.STARTED:
            raise ProcessError("this manager is not started yet: call start(), or use `with`")


class SharedMemoryManager(BaseManager, _std.SharedMemoryManager):
    """A manager that frees the shared memory segments that it made, by the standard server."""
