"""What goes through the pipes between a child, its parent and the fork server, byte by byte."""

from __future__ import annotations

import os
import struct

# The server answers with the pid, then with the exit code and the largest resident memory, in KiB.
# Instead of a pid, the negative number of the error that kept it from forking.
NUMBER = struct.Struct("=q")


def close(*fds: int) -> None:
    """Close descriptors; what a finalizer calls."""
    for fd in fds:
        os.close(fd)


def send(fd: int, data: bytes) -> None:
    """Write `data` for the child, which may have died already: then its exit code says so."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        pass


def read(fd: int, size: int) -> bytearray:
    """Read so many bytes of what the parent writes for this process.

    Raises:
        EOFError: it died before.
    """
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = os.readv(fd, [view])
        if count == 0:
            raise EOFError("the parent process ended before it had started this one")
        view = view[count:]
    return data


def read_number(fd: int) -> int:
    """Read a number that the server wrote.

    Raises:
        EOFError: the server died first.
    """
    data = b""
    while len(data) < NUMBER.size:
        part = os.read(fd, NUMBER.size - len(data))
        if not part:
            raise EOFError(
                "the fork server ended unexpectedly, or had no descriptor left (ulimit -n); was it "
                "killed?"
            )
        data += part
    number: int = NUMBER.unpack(data)[0]
    return number
