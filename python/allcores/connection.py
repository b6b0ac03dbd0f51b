"""Pipes, sockets and waiting for them, on the standard library's connections.

A connection sends whatever the rest of the package can send: functions and classes of
`__main__`, lambdas and closures travel by value.
"""

from __future__ import annotations

import multiprocessing.connection as _std
import os
import socket
from multiprocessing import reduction as _reduction
from multiprocessing.connection import (
    answer_challenge,
    deliver_challenge,
    wait,
)
from typing import Any

from allcores import pickling

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


class Connection(_std.Connection):
    """One end of a pipe or of a socket."""

    def send(self, obj: Any) -> None:
        """Send an object to the other end, which gets it from `recv`.

        Raises:
            OSError: the connection is closed or can't be written to.
            allcores.errors.NotPicklable: the object can't travel; says which part and why.
        """
        conn: Any = self
        conn._check_closed()
        conn._check_writable()
        conn._send_bytes(memoryview(pickling.dumps(obj, "the object to send")))


def _rebuild(handle: Any, readable: bool, writable: bool) -> Connection:
    return Connection(handle.detach(), readable, writable)


def _reduce(conn: Connection) -> tuple[Any, ...]:
    return _rebuild, (_reduction.DupFd(conn.fileno()), conn.readable, conn.writable)


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
        return Connection(one.detach()), Connection(other.detach())
    reader, writer = os.pipe()
    return Connection(reader, writable=False), Connection(writer, readable=False)


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
