"""The fork server's own process: waits for requests, forks, reports what became of the children.

It has one thread and never runs code of the program except the modules named for preloading, so
forking it is safe. It is part of the arena from its start, and so are its children.
"""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import multiprocessing.util as _util
import os
import pickle
import select
import signal
import socket
import sys
import time
import warnings
from typing import Any, NoReturn

from allcores import _core, budget
from allcores.launch import child, inherited, learn
from allcores.launch.pipes import NUMBER
from allcores.process import leave

# What every worker needs, loaded before the first fork, and what most children come to need: the
# first ones, which somebody waits for with the start of this process, go without.
_FIRST = ("allcores", "allcores.task.between")
_OWN = ("allcores.connection", "allcores.launch.rebuild", "allcores.task.failure", "traceback")
# How long the first children have, without company, and what is asked for so soon after the first
# request is a part of the same (a guess).
_SOON_S = 0.05


def main(requests: int, setup: int, arena: int, session: int) -> None:
    """Run the server until the last process that could ask it is gone.

    Args:
        requests: its end of the socket pair.
        setup: pipe with a pickled dict of ``sys_path`` and ``preload``.
        arena: the one descriptor of the arena.
        session: the arena's id.
    """
    # Ctrl-C is for the program, and the server ends with it: SIGINT, blocked when this process
    # was started, stays so. Were it ignored, a child would lose one that comes before the child
    # can deal with it; so it finds it waiting (see process.py).
    gc.disable()  # nothing of what is loaded here is ever garbage
    for fd in (requests, arena):
        os.set_inheritable(fd, False)
    _core.attach(arena, session)
    with open(setup, "rb") as stream:
        data = pickle.load(stream)
    sys.path[:] = data["sys_path"]
    _load(_FIRST)
    if data["replaced"] is not None:  # before anybody's library is loaded
        from allcores.run import replace

        replace.install(*data["replaced"])
    modules, on_error = data["preload"]
    if modules:
        _load(_OWN)
        _preload(modules, on_error)
    _flush()
    _util._close_stdin()  # type: ignore[attr-defined]
    with socket.socket(fileno=requests) as channel:
        _Server(channel, bool(modules)).serve()


def _load(modules: tuple[str, ...]) -> None:
    """Import modules of this package; children share their pages as long as nothing writes there.

    Args:
        modules: their names.
    """
    gc.disable()
    for name in modules:
        importlib.import_module(name)
    gc.enable()
    gc.freeze()


def _preload(modules: list[str], on_error: str) -> None:
    gc.disable()
    for name in modules:
        if name == "__main__":
            continue  # never run a second time
        try:
            importlib.import_module(name)
        except Exception as error:
            if on_error == "fail":
                import traceback

                traceback.print_exc()
                raise SystemExit(1) from error
            if on_error == "warn":
                warnings.warn(
                    f"the fork server can't preload {name!r}: {error!r}; children will import "
                    "it themselves, or fail to",
                    ImportWarning,
                    stacklevel=1,
                )
    gc.enable()
    gc.freeze()


def _flush() -> None:
    # What is still in a buffer would be written once more by each child.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


class _Server:
    def __init__(self, requests: socket.socket, is_warm: bool) -> None:
        self._requests = requests
        self._children: dict[int, int] = {}  # pid -> status pipe
        self._tried: dict[int, list[learn.Module]] = {}  # pid of who tries them -> modules
        self._is_warm = is_warm
        self._asked_at = 0.0  # for the first child, by time.monotonic()

    def serve(self) -> None:
        """Answer requests; return when no process is left that could send one."""
        awake, waker = os.pipe()
        os.set_blocking(awake, False)
        os.set_blocking(waker, False)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(waker)
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        poll.register(awake, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(None if self._is_warm else 1e3 * _SOON_S)}
            if not self._is_warm and (not ready or self._is_late()):
                self._is_warm = True
                _load(_OWN)
            if awake in ready:
                os.read(awake, 4096)
                self._reap()
            if self._requests.fileno() in ready and not self._answer((awake, waker)):
                return

    def _is_late(self) -> bool:
        """Tell whether what is asked for now is more than the first children."""
        now = time.monotonic()
        self._asked_at = self._asked_at or now
        return now - self._asked_at > _SOON_S

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            modules = self._tried.pop(pid, None)
            if modules is not None and status == 0:
                learn.load(modules)
                if budget.is_numeric():
                    import threadpoolctl  # noqa: F401  # workers keep such libraries in bounds
                gc.freeze()
            pipe = self._children.pop(pid, None)
            if pipe is not None:
                _tell(pipe, os.waitstatus_to_exitcode(status), usage.ru_maxrss)
                os.close(pipe)

    def _answer(self, own: tuple[int, ...]) -> bool:
        message, fds, flags, _ = socket.recv_fds(self._requests, 4096, 256)
        if not message:
            return False
        if flags & socket.MSG_CTRUNC:
            # This process has no room for so many descriptors: no child, but the others live.
            _refuse(fds, errno.EMFILE)
            return True
        content = pickle.loads(message)
        if isinstance(content, list):
            self._try(content, own)
            return True
        count, has_tracker, standard = content
        data, status, client, *rest = fds
        for fd in fds:
            os.set_inheritable(fd, False)
        try:
            pid = os.fork()
        except OSError as error:
            _refuse(fds, error.errno or errno.EAGAIN)
            return True
        if pid == 0:
            user, rest = rest[:count], rest[count:]
            tracker = rest.pop(0) if has_tracker else None
            self._become_child(
                own, data, status, client, user, tracker, dict(zip(standard, rest, strict=True))
            )
        self._children[pid] = status
        for fd in fds:
            if fd != status:
                os.close(fd)
        _tell(status, pid)
        return True

    def _try(self, modules: list[learn.Module], own: tuple[int, ...]) -> None:
        """Have a fork of this process import modules, before this process does."""
        try:
            pid = os.fork()
        except OSError:
            return  # then children import them themselves
        if pid:
            self._tried[pid] = modules
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._requests.close()
            for fd in (*own, *self._children.values()):
                os.close(fd)
            code = not learn.is_harmless(modules)
            _core.leave()
        finally:
            os._exit(code)

    def _become_child(
        self,
        own: tuple[int, ...],
        data: int,
        status: int,
        client: int,
        user: list[int],
        tracker: int | None,
        standard: dict[int, int],
    ) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._requests.close()
            for fd in (*own, status, *self._children.values()):
                os.close(fd)
            for number, fd in standard.items():
                os.dup2(fd, number)
                os.close(fd)
            gc.unfreeze()
            budget.reseed()
            inherited.adopt(client, user)
            atexit._clear()
            atexit.register(_util._exit_function)  # type: ignore[attr-defined]
            code = child.run(data, tracker)
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                import traceback

                traceback.print_exc()
        finally:
            try:
                atexit._run_exitfuncs()
                _quiet_flush()
                leave()
            finally:
                os._exit(code)


def _quiet_flush() -> None:
    try:
        _flush()
    except (OSError, ValueError):
        pass


def _refuse(fds: list[int], code: int) -> None:
    """Tell who asked for a child that there is none, and why, as far as that can be told."""
    if len(fds) > 1:
        _tell(fds[1], -code)
    for fd in fds:
        os.close(fd)


def _tell(pipe: int, *numbers: int) -> None:
    try:
        os.write(pipe, b"".join(map(NUMBER.pack, numbers)))
    except BrokenPipeError:
        pass  # nobody wants to know any more


def _nothing(*_: Any) -> None:
    """Handle SIGCHLD: the wake-up descriptor does the work, but only if there is a handler."""
