"""Programs that are not related share objects: one offers them at an address, others join.

Who joins becomes a process of the program that offers: it maps the same memory, and has what
is offered as any child would. That is all or nothing, so it is for programs of one user on one
machine that trust each other (SECURITY.md), and four things are checked before the memory is handed
over: the socket is in a folder that is the user's alone, the kernel says that the other side
is the same user's, and each side has proved to the other that it knows the key.

::

    offers                              joins
    listens in a folder of mode 0700    connects
    SO_PEERCRED: same user?             SO_PEERCRED: same user?
    challenge, answer                   answer, challenge
    the memory's descriptor, session ─▶ maps it
    pickle of the objects            ─▶ unpickles it
                                     ◀─ has them: until then the sender holds them
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import struct
import tempfile
import threading
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any

from allcores import _core, pickling
from allcores.context import AuthenticationError

__all__ = ["Offer", "join", "offer"]

_SESSION = struct.Struct("=Q")
_CREDENTIALS = struct.Struct("3i")
_DONE = b"done"

_open_offers: weakref.WeakSet[Offer] = weakref.WeakSet()


def offer(
    objects: Mapping[str, Any], address: str | None = None, authkey: bytes | None = None
) -> Offer:
    """Let other programs of this user on this machine share objects; see `join`.

    Args:
        objects: what they get, by the names under which they get it.
        address: path of the socket; its folder has to be this user's alone (mode 0700). None
            makes a new folder.
        authkey: what they have to know; None is this process's own, which only its children have.

    Returns:
        The offer: a context manager whose end takes it back. It has an `address`.

    Raises:
        PermissionError: the folder is not this user's alone.
        OSError: there can be no socket there.
        allcores.errors.NotPicklable: one of the objects can't travel.

    Example:
        >>> from allcores import shared
        >>> with shared.offer({"jobs": shared.deque()}, authkey=b"secret") as open_offer:
        ...     path = open_offer.address
    """
    return Offer(objects, address, authkey)


def join(address: str, authkey: bytes | None = None) -> dict[str, Any]:
    """Share the memory of a program that has made an offer; this program becomes part of it.

    That has to come before anything else is shared here: a process has one shared memory.

    Args:
        address: the offer's.
        authkey: the offer's; None is this process's own.

    Returns:
        What is offered, by its names.

    Raises:
        ConnectionError: nobody offers anything there any more.
        FileNotFoundError: nor is there a socket.
        PermissionError: the other side is another user's.
        multiprocessing.AuthenticationError: the keys differ.
        RuntimeError: this process has a shared memory of its own already.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(os.fspath(address))
        _same_user(link)
        with Connection(os.dup(link.fileno())) as connection:
            key = _key(authkey)
            answer_challenge(connection, key)
            deliver_challenge(connection, key)
            with _joining:
                _attach(link)
            objects: dict[str, Any] = pickling.loads(connection.recv_bytes())
            connection.send_bytes(_DONE)
    return objects


# One at a time: of two threads, the second has the memory already.
_joining = threading.Lock()


def _attach(link: socket.socket) -> None:
    """Receive the memory and map it, if this process doesn't share it yet.

    One that does must not even receive the descriptor: to close one more of the same file would
    tell all others that this process is dead. Where there is no room for it, the kernel drops it.
    """
    has_one = _core.has_arena()
    message, descriptors, _, _ = socket.recv_fds(link, _SESSION.size, 0 if has_one else 1)
    if len(message) != _SESSION.size or len(descriptors) != (0 if has_one else 1):
        raise ConnectionResetError("the program that made the offer has gone meanwhile")
    (session,) = _SESSION.unpack(message)
    if not has_one:
        _core.attach(descriptors[0], session)
    elif _core.session() != session:
        raise RuntimeError(
            "this process has made shared objects already, and can be part of one program only: "
            "call join() before it makes a Queue, a Lock, a Pool or the like"
        )


class Offer:
    """Objects that programs of the same user can share as long as this is open."""

    def __init__(
        self, objects: Mapping[str, Any], address: str | None = None, authkey: bytes | None = None
    ) -> None:
        self._objects = dict(objects)
        self._key = _key(authkey)
        # Says here and now what can't travel.
        pickling.pack(self._objects, "the offer")
        folder = None
        if address is None:
            folder = tempfile.mkdtemp(prefix="allcores-")
            address = os.path.join(folder, "socket")
        #: The path of the socket.
        self.address = os.fspath(address)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _only_ours(os.path.dirname(os.path.abspath(self.address)))
            self._listener.bind(self.address)
            self._listener.listen()
        except BaseException:
            self._listener.close()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        self._end = weakref.finalize(
            self, _take_back, self._listener, self.address, folder, os.getpid()
        )
        _open_offers.add(self)
        arguments = self._listener, self._objects, self._key
        threading.Thread(target=_serve, args=arguments, name="allcores-offer", daemon=True).start()

    def close(self) -> None:
        """Take the offer back. Who has joined stays."""
        self._end()

    def __enter__(self) -> Offer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _take_back(listener: socket.socket, address: str, folder: str | None, owner: int) -> None:
    if os.getpid() != owner:
        listener.close()
        return
    # Before it is closed: this is what wakes the thread that accepts.
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _not_mine() -> None:
    """Close what a child of fork has of its parent's offers, so that they end with the parent."""
    global _joining
    _joining = threading.Lock()  # another thread may have held it
    for one in list(_open_offers):
        one._listener.close()


os.register_at_fork(after_in_child=_not_mine)


def _serve(listener: socket.socket, objects: dict[str, Any], key: bytes) -> None:
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return  # taken back
        # Each in a thread of its own: one that says nothing must not keep out the others.
        threading.Thread(
            target=_welcome, args=(link, objects, key), name="allcores-welcome", daemon=True
        ).start()


def _welcome(link: socket.socket, objects: dict[str, Any], key: bytes) -> None:
    """Hand the memory to whoever is at the other end, if it is who it should be."""
    # Whoever it is finds out by the end of the connection.
    with link, contextlib.suppress(OSError, EOFError, AuthenticationError):
        pid = _same_user(link)
        with Connection(os.dup(link.fileno())) as connection:
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
            socket.send_fds(link, [_SESSION.pack(_core.session())], [_core.arena_fd()])
            # Its death is known at once where there is a pid that means something here.
            _core.watch(pid)
            data, refs = pickling.pack(objects, "the offer")
            connection.send_bytes(data)
            connection.recv_bytes(len(_DONE))
            del refs


def _same_user(link: socket.socket) -> int:
    """Return the process at the other end, after a look at whose it is."""
    found = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(found)
    if user != os.geteuid():
        raise PermissionError(
            1, f"the other side is user {user}'s, and memory is shared within one user's only"
        )
    return int(pid)


def _only_ours(folder: str) -> None:
    """Refuse a folder that others could look or write into."""
    state = os.stat(folder)
    if state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) & 0o077:
        raise PermissionError(
            1,
            "the folder of the address has to be this user's alone: chmod 700, or leave the "
            "address out",
            folder,
        )


def _key(authkey: bytes | None) -> bytes:
    from multiprocessing import current_process

    key = current_process().authkey if authkey is None else authkey
    if not isinstance(key, bytes):
        raise TypeError(f"authkey must be bytes, not {type(key).__name__}")
    return bytes(key)
