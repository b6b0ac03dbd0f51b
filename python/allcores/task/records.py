"""What the steps of a task's way hand to each other: the records on the two rings.

A step knows these records and no other step. Numbers are in native order, without gaps::

    task    kind 1 | tag 8 | head: function number 8, function offset 8, generation 4, bytes 4,
            flags 4 | the function, when its offset is 0 | the payload
    result  kind 1 | tag 8 | of a LIST: nanoseconds 8 | the value, or the failure

The kind says in its upper bits what it is (below) and in its lower ones how the payload or the
value is written: 0 is a pickle, the others are plain values that need none. The tag, the job's
number and the part's, names a task for the life of its pool. The loops that read and write these
records once for each task are the core's (crates/allcores-py/src/task).

The words of a lease, 8 bytes each, say what a worker is doing; they are in shared memory, so that
they can be read when it is dead.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEAD = struct.Struct("=QQIII")

# Flags of a function: unpacking it may set globals of `__main__`, so others that do are to be
# unpacked again before they are called.
SETS_GLOBALS = 1

# Kinds of tasks: what the payload is, and what is done with it.
CALL = 0  # (args, kwargs): one call
MAP = 1  # items: one call with each
STARMAP = 2  # tuples: one call with each, unpacked
ONE = 3  # an item: one call
STAR_ONE = 4  # a tuple: one call, unpacked
STOP = 7  # nothing: the worker that takes it leaves

# Statuses of results.
VALUE = 0  # what the one call returned
LIST = 1  # what the calls returned
FAILURE = 2  # pid 4 | what a call raised, packed by failure.py
UNSENDABLE = 3  # it returned something that can't travel: (why, its repr)
NO_START = 4  # the initializer failed; packed by failure.py
POKE = 5  # nothing: whoever waits looks again. Or what a worker printed, logged or warned (tell.py)
LEFT = 6  # nothing; the part is the pid of a worker that has left the rings, and lives
LIBRARIES = 7  # a pickle: modules that its tasks imported; the part is the pid of a worker

# Words of a lease.
TAG = 0  # the task that the worker holds; set before the task leaves the ring
STAGE = 1  # how far its start has come: 0, INITIALIZING, READY
PLACE = 2  # in a task of several items: number of the task 16, end 24, current item 24
START = 3  # when it began the task, in nanoseconds of time.monotonic_ns; 0 from its end on
GATE = 4  # OPEN, HELD or LEAVE: what the worker looks at before it takes a task
DONE = 5  # how many tasks it has done, without those of jobs that were given up
KEPT = 6  # bytes of anonymous memory that it had after the last; nothing is written over a 0
PEAK = 7  # the most that it ever had, when it wrote that
LAST = 8  # the task that it did last
BUSY = 9  # nanoseconds that it spent in tasks
TAKEN = 10  # bytes of tasks that it took off the ring
SENT = 11  # bytes of results that it put on the ring
VIEWED = 12  # bytes of results that arrive as views, without a copy
HOLDS = 13  # not 0: it has printed a part of a line, which goes out with the end of the task
DIVERTED = 14  # not 0: what it prints goes to the pool's process; that writes this word
ENDED = 15  # how many tasks it has done; counted before the result is sent, unlike DONE
LEASE_WORDS = 16
LEASE_BYTES = 8 * LEASE_WORDS

# In GATE; only a pool that watches its workers' memory writes it (watch.py).
OPEN = 0
HELD = 1
LEAVE = 2

# In START: the pool has given the task up, and its worker with it.
DOOMED = (1 << 64) - 1
# A bit of START: the function is being unpacked, and the task's time has not begun.
LOADING = 1 << 63

INITIALIZING = 1
READY = 2

# Jobs that were given up: word `job % CANCELLED_WORDS` holds the number of one.
CANCELLED_WORDS = 1024


def kind(what: int) -> int:
    """Return the kind of a record whose payload is a pickle, or nothing.

    Args:
        what: a kind of task or a status of a result.
    """
    return what << 4


def current(place: int) -> int:
    """Return the item that a worker is at.

    Args:
        place: the word PLACE of its lease.
    """
    return place & 0xFFFFFF


def end(place: int) -> int:
    """Return the item before which a worker will stop.

    Args:
        place: the word PLACE of its lease.
    """
    return place >> 24 & 0xFFFFFF


class Link(NamedTuple):
    """What a worker needs to find its pool: handles of shared memory, by number.

    Attributes:
        tasks: handle of the task ring.
        results: handle of the result ring.
        lease: handle of the worker's lease.
        cancelled: handle of the words that name the jobs given up.
        parent: the pool's process in the arena (``_core.owner()``).
        manner: what to do with what it prints, logs and warns (tell.py); None to leave it alone.
    """

    tasks: tuple[int, int, int]
    results: tuple[int, int, int]
    lease: tuple[int, int, int]
    cancelled: tuple[int, int, int]
    parent: int
    manner: bytes | None = None
