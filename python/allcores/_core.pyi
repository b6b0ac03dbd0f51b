"""The shared memory of allcores (Rust, `crates/allcores-py`).

Processes that share an arena find each other's objects by three numbers: the arena's
session, the place of the object's block, and which use of that place it is. An object
lives as long as any process holds it. What a killed process held is given back by
whoever notices its death first.

Waiting never holds the GIL. Signal handlers run at least every 50 ms meanwhile; what
they raise ends the wait. Times are seconds; `None` waits for ever, negative not at all.
"""

from typing import final

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
