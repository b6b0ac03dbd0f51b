"""Pipes, sockets and waiting for them, on the standard library's connections.

A connection sends whatever the rest of the package can send: functions and classes of
`__main__`, lambdas and closures travel by value.

What has large buffers or shared objects in it goes another way between the ends of a `Pipe`: into a
ring in shared memory, which both ends hold, so that these are kept until they arrive, whatever
becomes of the sender. Through the pipe goes a notice, a pickle that takes the message off the ring.
"""

from __future__ import annotations

import itertools
import multiprocessing.connection as _std
import os
import pickle
import select
import socket
from multiprocessing import reduction as _reduction
from multiprocessing.connection import (
    answer_challenge,
    deliver_challenge,
    wait,
)
from typing import Any

from allcores import _core, pickling

__all__ = [
    "Client",
    "Connection",
    "Listener",
    "Pipe",
    "answer_challenge",
    "deliver_challenge",
    "wait",
]


def __getattr__(name: str) -> Any:
    return getattr(_std, name)


# Messages with large buffers that may wait in a pipe; who sends more waits, as with a full pipe.
_WAITING = 16
# How often who waits looks whether anybody could still read.
_LOOK_S = 0.1

_serials = itertools.count(1)


class Connection(_std.Connection):
    """One end of a pipe or of a socket."""

    # Of a pipe: for messages to the other end, and from there.
    _out: _core.Ring | None = None
    _in: _core.Ring | None = None

    def send(self, obj: Any) -> None:
        """Send an object to the other end, which gets it from `recv`.

        Raises:
            OSError: the connection is closed or can't be written to.
            allcores.errors.NotPicklable: the object can't travel; says which part and why.
        """
        conn: Any = self
        conn._check_closed()
        conn._check_writable()
        ring = self._out
        if ring is None:
            data = pickling.dumps(obj, "the object to send")
        else:
            data, refs = pickling.pack(obj, "the object to send")
            if refs:
                data = self._put(ring, data, refs)
        conn._send_bytes(memoryview(data))

    def _put(self, ring: _core.Ring, data: bytes, refs: pickling.Refs) -> bytes:
        """Put a message on the ring, and return the notice of it."""
        serial = os.urandom(4) + next(_serials).to_bytes(4, "little")
        broken = select.poll()
        broken.register(self.fileno(), 0)
        while not ring.put(serial + data, refs, 0, _LOOK_S):
            if broken.poll(0):
                raise BrokenPipeError(32, "nobody can read from the other end of the pipe any more")
        return pickle.dumps(_Notice(ring, serial), 5)


class _Notice:
    def __init__(self, ring: _core.Ring, serial: bytes) -> None:
        self._what = ring.handle(), serial

    def __reduce__(self) -> tuple[Any, ...]:
        return _take, self._what


# Messages that were taken off a ring before their turn: two processes send, or receive.
_early: dict[tuple[int, bytes], Any] = {}


def _take(handle: tuple[int, int, int], serial: bytes) -> Any:
    """Return the object of which a notice has come.

    Args:
        handle: of the ring that it is on; an end of the pipe holds it.
        serial: of the message.
    """
    offset = handle[1]
    message = _early.pop((offset, serial), None)
    ring = None if message is not None else _core.Ring.from_handle(*handle)
    while ring is not None:
        message = ring.get(0)
        if message is None:
            raise EOFError(
                "the message that was announced is gone: another process has taken it from this "
                "end of the pipe, and ended"
            )
        found = bytes(memoryview(message)[: len(serial)])
        if found == serial:
            break
        _early[offset, found] = message
    return pickling.loads(memoryview(message)[len(serial) :])


def _rebuild(handle: Any, readable: bool, writable: bool, *rings: Any) -> Connection:
    conn = Connection(handle.detach(), readable, writable)
    conn._out, conn._in = (ring and _core.Ring.from_handle(*ring) for ring in rings)
    return conn


def _reduce(conn: Connection) -> tuple[Any, ...]:
    rings = [conn._out, conn._in]
    for ring in rings:
        if ring is not None:
            pickling.note_sent(ring.offset)
    handles = [ring and ring.handle() for ring in rings]
    return _rebuild, (_reduction.DupFd(conn.fileno()), conn.readable, conn.writable, *handles)


def _join(one: Connection, other: Connection) -> tuple[Connection, Connection]:
    if one.writable:
        one._out = other._in = _core.Ring(_WAITING)
    if other.writable:
        other._out = one._in = _core.Ring(_WAITING)
    return one, other


_reduction.register(Connection, _reduce)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Return two connection objects joined by a pipe.

    Args:
        duplex: False gives ``(receiver, sender)``, one way only.
    """
    if duplex:
        one, other = socket.socketpair()
        one.setblocking(True)  # whatever socket.setdefaulttimeout() says
        other.setblocking(True)
        return _join(Connection(one.detach()), Connection(other.detach()))
    reader, writer = os.pipe()
    return _join(Connection(reader, writable=False), Connection(writer, readable=False))


def _ours(conn: Any) -> Any:
    """Turn a connection that the standard library has just opened into one of ours."""
    if type(conn) is _std.Connection:
        conn.__class__ = Connection
    return conn


class Listener(_std.Listener):
    """A socket that waits for `Client`; see the standard library's class for its arguments."""

    def accept(self) -> Any:
        """Wait for a client and return the connection to it.

        Raises:
            OSError: the listener is closed.
            AuthenticationError: the client doesn't know the key.
        """
        return _ours(super().accept())


def Client(address: Any, family: str | None = None, authkey: bytes | None = None) -> Any:
    """Connect to a `Listener` and return the connection.

    Args:
        address: the listener's.
        family: "AF_INET" or "AF_UNIX"; None to guess from the address.
        authkey: the secret that both ends know; None for none.

    Raises:
        AuthenticationError: the listener doesn't know the key.
    """
    return _ours(_std.Client(address, family, authkey))
