"""What the steps of a task's way hand to each other: the records on the two rings.

A step knows these records and no other step. Numbers are little endian, without gaps::

    task    tag 8 | function number 8 | function offset 8 | generation 4 | bytes 4 | kind 4
            | the function, when its offset is 0 | the arguments
    result  tag 8 | pid 4 | status 4 | the value, or the failure

A tag names a task for the life of its pool. The words of a lease, 8 bytes each, say what a
worker is doing; they are in shared memory, so that they can be read when it is dead.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

TASK = struct.Struct("<QQQIII")
RESULT = struct.Struct("<QII")

# Kinds of tasks: what the arguments are, and what is done with them.
CALL = 0  # (args, kwargs): one call
MAP = 1  # items: one call with each
STARMAP = 2  # tuples: one call with each, unpacked
STOP = 3  # nothing: the worker that takes it leaves

# Statuses of results.
VALUE = 0  # what the call returned; for MAP and STARMAP the list
FAILURE = 1  # what it raised, packed by failure.py
UNSENDABLE = 2  # it returned something that can't travel: (why, its repr)
NO_START = 3  # the initializer failed; packed by failure.py

# Words of a lease.
TAG = 0  # the task that the worker holds; set before the task leaves the ring
STAGE = 1  # how far its start has come: 0, INITIALIZING, READY
ITEM = 2  # position, within the task, of the item being worked on
LEASE_WORDS = 3
LEASE_BYTES = 8 * LEASE_WORDS

INITIALIZING = 1
READY = 2


class Link(NamedTuple):
    """What a worker needs to find its pool: handles of shared memory, by number.

    Attributes:
        tasks: handle of the task ring.
        results: handle of the result ring.
        lease: handle of the worker's lease.
        parent: the pool's process in the arena (``_core.owner()``).
    """

    tasks: tuple[int, int, int]
    results: tuple[int, int, int]
    lease: tuple[int, int, int]
    parent: int


class Ticket(NamedTuple):
    """What the pool remembers of a task under way.

    Attributes:
        job: the result object that waits for it.
        part: which part of the job it is.
        first: position, within the call's input, of its first item.
        kind: CALL, MAP or STARMAP.
        payload: its arguments, to be shown should it never come back.
    """

    job: Any
    part: int
    first: int
    kind: int
    payload: Any
