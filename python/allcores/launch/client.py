"""Start method ``forkserver``, the side of those that ask: they get children from the fork server.

They all, children of children too, hold the same end of one socket pair; each request is one
message on it, and the answers come through a pipe that the request carries, so nothing is locked
and nothing is listened to. The server ends when the last holder of that end does. server.py is the
other side.

Quick to import, as a program's first children are asked for before anything else is done.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from allcores import _core
from allcores.launch import blank, inherited
from allcores.launch.command import command_line
from allcores.launch.interpreter import start, tracker_fd
from allcores.launch.pipes import send

if TYPE_CHECKING:
    from allcores.launch import learn

# The kernel refuses more descriptors in one message (SCM_MAX_FD).
_MAX_FDS = 253


class ForkServer:
    """This process's connection to the fork server of the program."""

    def __init__(self) -> None:
        self._forkserver_pid: int | None = None  # of a server that this process started
        self._owner = os.getpid()
        self._preload: tuple[list[str], str] = ([], "ignore")
        self._lock = threading.Lock()

    def ensure_running(self) -> None:
        """Start the server unless it runs; returns before it is ready."""
        with self._lock:
            self._ensure_running()

    def _ensure_running(self) -> int:
        if inherited.server is not None and not self._is_dead():
            return inherited.server
        self._drop()
        from multiprocessing import util

        from allcores.launch.prepare import module_path

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(True)  # whatever socket.setdefaulttimeout() says
        theirs.setblocking(True)
        reader, writer = os.pipe()
        try:
            arena = _core.arena_fd()
            command = command_line(
                "server",
                requests=theirs.fileno(),
                setup=reader,
                arena=arena,
                session=_core.session(),
            )
            self._forkserver_pid = start(command, [theirs.fileno(), reader, arena])
            self._owner = os.getpid()
            replace = sys.modules.get("allcores.run.replace")
            setup = {
                "sys_path": module_path(),
                "preload": self._preload,
                "replaced": None if replace is None else replace.describe(),
            }
            send(writer, pickle.dumps(setup))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(reader)
            os.close(writer)
        # A number, not a socket object: nothing shall close or complain about it in a child.
        inherited.server = ours.detach()
        # After all children have been joined (exit priority 0 and above come first).
        util.Finalize(self, self._stop, exitpriority=-1000)
        return inherited.server

    def _is_dead(self) -> bool:
        if self._forkserver_pid is None or self._owner != os.getpid():
            return False  # somebody else's child: sending to it will tell
        try:
            pid, _ = os.waitpid(self._forkserver_pid, os.WNOHANG)
        except ChildProcessError:
            return True
        return pid != 0

    def _drop(self) -> None:
        if inherited.server is not None:
            os.close(inherited.server)
        inherited.server = None
        self._forkserver_pid = None

    def _stop(self) -> None:
        """Let go of the server, and wait for its end when this process was its last user."""
        with self._lock:
            pid, owner = self._forkserver_pid, self._owner
            self._drop()
            if pid is None or owner != os.getpid():
                return
            try:
                watch = os.pidfd_open(pid)
            except OSError:
                return
            from multiprocessing.connection import wait

            try:
                # Others may still hold it, daemons that outlive this process for example.
                wait([watch], 1.0)
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
            finally:
                os.close(watch)

    def request(self, data: int, status: int, fds: list[int], tracker: int | None) -> None:
        """Ask the server for a child.

        Args:
            data: the child reads its process object from it.
            status: the server writes the pid and later the exit code to it.
            fds: descriptors that the arguments hold.
            tracker: descriptor of the resource tracker, where there is one.

        Raises:
            ValueError: more descriptors than one message can carry.
        """
        most = _MAX_FDS - 6
        if len(fds) > most:
            raise ValueError(
                f"too many fds: the arguments hold {len(fds)} descriptors, and a forkserver "
                f"child can be given {most}; send the rest through a connection"
            )
        with self._lock:
            for attempt in range(2):
                client = self._ensure_running()
                # The child's output goes where this process's goes now, not to where it went
                # when the server started.
                standard = [fd for fd in (1, 2) if _is_open(fd)]
                message = pickle.dumps((len(fds), tracker is not None, standard))
                sent = [data, status, client, *fds]
                sent += [*([] if tracker is None else [tracker]), *standard]
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", sent))]
                channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=client)
                try:
                    channel.sendmsg([message], rights)
                    return
                except ConnectionError:
                    # It was killed. Start another, once.
                    if attempt:
                        raise
                finally:
                    channel.detach()
                self._drop()

    def learn(self, modules: list[learn.Module]) -> None:
        """Have the server, if it runs, import modules that its children will need.

        Args:
            modules: their names and files.
        """
        # Never waited for: a pool that a finalizer ends may come here, in the middle of a request.
        if not self._lock.acquire(False):
            return  # then it does without
        try:
            if inherited.server is None or self._is_dead():
                return
            from allcores.launch import learn

            channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=inherited.server)
            try:
                for batch in learn.batches(modules):
                    channel.send(pickle.dumps(batch), socket.MSG_DONTWAIT)
            except OSError:
                pass  # it is dead, or busy
            finally:
                channel.detach()
        finally:
            self._lock.release()

    def get_inherited_fds(self) -> list[int] | None:
        """Return the descriptors this process got from the server; None for other processes."""
        return inherited.fds

    def set_forkserver_preload(
        self, modules_names: Sequence[str], *, on_error: str = "ignore"
    ) -> None:
        """Name the modules that a server started from now on imports."""
        modules = list(modules_names)
        if not all(type(name) is str for name in modules):
            raise TypeError(f"module_names must be a list of strings, not {modules_names!r}")
        if on_error not in ("ignore", "warn", "fail"):
            raise ValueError(f"on_error must be 'ignore', 'warn' or 'fail', not {on_error!r}")
        self._preload = (modules, on_error)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


server = ForkServer()


def _after_fork() -> None:
    # Another thread may have held it; and the server is the parent's child, not this one's.
    server._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def given() -> object:
    """Return what a child inherits whatever it shall do."""
    return inherited.server, tracker_fd(), [_target(fd) for fd in (1, 2)]


def _target(fd: int) -> tuple[int, int] | None:
    try:
        facts = os.fstat(fd)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def start_child(fds: list[int]) -> blank.Blank:
    """Ask for a child that waits for its process object.

    Args:
        fds: descriptors that it gets besides.
    """
    opened: list[int] = []
    try:
        sentinel, status = pipe = os.pipe()
        opened += pipe
        child_data, data = pipe = os.pipe()
        opened += pipe
        server.request(child_data, status, fds, tracker_fd())
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    os.close(child_data)
    os.close(status)
    return blank.Blank(sentinel, data, None, given())


def start_blank() -> blank.Blank:
    """Ask for a child for whatever comes."""
    return start_child([])
