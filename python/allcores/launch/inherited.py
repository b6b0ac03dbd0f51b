"""Descriptors that this process was given at its start.

Apart from forkserver.py, which is slow to import, for children that start none of their own.
"""

from __future__ import annotations

# The end of the socket pair on which the program's fork server is asked for children.
server: int | None = None
# What the arguments of a child of the fork server held.
fds: list[int] | None = None


def adopt(client: int, inherited: list[int] | None = None) -> None:
    """Remember what a fresh child was given."""
    global server, fds
    server, fds = client, inherited
