"""The shared memory of allcores (Rust, `crates/allcores-py`).

Processes that share an arena find each other's objects by three numbers: the arena's
session, the place of the object's block, and which use of that place it is. An object
lives as long as any process holds it. What a killed process held is given back by
whoever notices its death first.

Waiting never holds the GIL. Signal handlers run at least every 50 ms meanwhile; what
they raise ends the wait. Times are seconds; `None` waits for ever, negative not at all.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

from typing_extensions import Buffer

Handle = tuple[int, int, int]
"""Session, offset in bytes, generation: what another process needs to open an object."""

def arena_fd() -> int:
    """Return the descriptor of the arena, making the arena when there is none yet.

    It is the only one of this process. It must be neither closed nor duplicated: closing
    any descriptor of that file tells all others that this process is dead.

    Raises:
        MemoryError: The system refuses the memory.
        OSError: It refuses `memfd_create` or the mapping.
    """

def session() -> int:
    """Return the random 64-bit number that tells this arena from all others."""

def has_arena() -> bool:
    """Return whether this process has an arena already."""

def attach(fd: int, session: int) -> None:
    """Take part in the arena that a parent handed over; once, before anything else.

    Args:
        fd: A descriptor of it, inherited or received. From now on it belongs to the arena.
        session: What :func:`session` says in the parent.

    Raises:
        ValueError: `fd` is no arena of this build or not that session's, or this process
            has another one already.
    """

def owner() -> int:
    """Return the number (30 bits, never 0) by which others know this process."""

def is_alive(owner: int) -> bool:
    """Return whether the process with this number still exists. A stopped one does."""

def recover() -> int:
    """Give back what dead processes held, and return how many there were."""

def leave() -> None:
    """Give back all that this process holds, as its death would.

    Nothing of the arena may be in use any more, in no thread.
    """

def pin(offset: int) -> None:
    """Keep an object alive until this process ends.

    Args:
        offset: Where it is; this process has to hold it.
    """

def stats() -> dict[str, int]:
    """Count what is in the arena; walks through all of it.

    Returns:
        `capacity`, `committed`, `live_bytes`, `warm_bytes` (free, but not given back to
        the system) in bytes, `live_blocks` and `processes` as numbers; empty when there
        is no arena.
    """

@final
class Block:
    """Shared memory as a writable buffer of bytes, zero at first.

    `memoryview(block)`, `numpy.frombuffer(block)` and `ctypes` types' `from_buffer` see
    the live memory and keep the block. It starts at a multiple of 64 bytes, from 32 KiB
    on at a page; large ones go back to the system when the last process lets go.

    Args:
        nbytes: Its size, 0 or more.

    Raises:
        ValueError: Negative size.
        MemoryError: No memory of that size is left.
    """

    def __new__(cls, nbytes: int) -> Block: ...
    @staticmethod
    def from_handle(session: int, offset: int, generation: int, nbytes: int) -> Block:
        """Open a block of another process.

        Raises:
            ValueError: It is gone, or of another program (`allcores.errors.StaleHandle`).
        """
    def handle(self) -> Handle:
        """Return what another process needs to open it, beside its size."""
    @property
    def offset(self) -> int:
        """Where it is, in bytes from the start of the arena."""
    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Ring:
    """A queue of items between any number of processes, first in, first out for each sender.

    Small items lie in the ring itself, larger ones in blocks of memory of their own. A
    sender that is killed loses at most its own unfinished item; an item whose receiver is
    killed before it has it is delivered again.

    Example:
        >>> ring = Ring(100)
        >>> ring.put(b"one")
        True
        >>> ring.get()
        b'one'
    """

    def __new__(cls, capacity: int, unbounded: bool = False) -> Ring:
        """Make an empty ring.

        Args:
            capacity: How many items may wait, exactly.
            unbounded: Any number may; `put` never waits then.

        Raises:
            ValueError: `capacity` is less than 1.
            MemoryError: There is no shared memory left.
        """

    @staticmethod
    def from_handle(session: int, offset: int, generation: int) -> Ring:
        """Open the ring that another process's `handle` names.

        Raises:
            allcores.errors.StaleHandle: It is gone.
        """

    def handle(self) -> Handle:
        """Return what another process needs to open this ring."""

    @property
    def offset(self) -> int:
        """Where the ring is in the arena."""

    @property
    def capacity(self) -> int | None:
        """How many items may wait; `None` is any number."""

    def put(
        self,
        data: Buffer,
        refs: Sequence[int] = (),
        tag: int = 0,
        timeout: float | None = None,
    ) -> bool:
        """Put the bytes in, waiting for room.

        Args:
            data: A contiguous buffer; it is copied.
            refs: Offsets of shared objects that this process holds and that `data` names:
                they live at least until the received `Message` is gone.
            tag: A number for `get` to write into a lease. Not 0 when leases are used.
            timeout: Seconds.

        Returns:
            False when there was no room until the timeout; then nothing has happened.
        """

    def get(
        self, timeout: float | None = None, lease: Block | None = None
    ) -> bytes | Message | None:
        """Take an item out, waiting for one.

        Args:
            timeout: Seconds.
            lease: Its first 8 bytes, a number in native order, are set to the item's tag
                before the item leaves the ring. When this process is killed in between,
                the item is delivered to another and the number is 0 again, so read it
                after `recover()`, not before.

        Returns:
            The item: `bytes` of up to 96, else a `Message`; `None` when none came.
        """

    def put_object(self, obj: object, timeout: float | None = None) -> bool | None:
        """Put in a value that needs no pickle: int, float, bool, None, bytes or str.

        Returns:
            What `put` does, or `None` when the value is none of these exactly, an int of
            more than 64 bits or a str that is no Unicode text; then nothing has happened.
        """

    def get_object(
        self, timeout: float | None, loads: Callable[[Any], object], nothing: object
    ) -> Any:
        """Take out what `put_object` or `put` put in; the latter goes through `loads`.

        Returns:
            The object, or `nothing` when none came until the timeout.
        """

    def qsize(self) -> int:
        """Return how many items wait."""

    def empty(self) -> bool:
        """Return whether none does."""

    def unfinished(self) -> int:
        """Return how many items were put in for which nobody has called `task_done`."""

    def task_done(self) -> bool:
        """Say that an item has been worked off; False when all have been already."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait until all items have been worked off; False when that took too long."""

@final
class Message:
    """The bytes of an item, a read-only buffer without a copy.

    It belongs to the process that received it, not to its forks. As long as it or a view
    of it lives, so do the objects that travelled with the item.
    """

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
