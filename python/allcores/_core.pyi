"""The shared memory of allcores (Rust, `crates/allcores-py`).

Processes that share an arena find each other's objects by three numbers: the arena's
session, the place of the object's block, and which use of that place it is. An object
lives as long as any process holds it. What a killed process held is given back by
whoever notices its death first.

Waiting never holds the GIL. Signal handlers run at least every 50 ms meanwhile; what
they raise ends the wait. Times are seconds; `None` waits for ever, negative not at all.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, SupportsIndex, TypeVar, final, overload

from typing_extensions import Buffer

_T = TypeVar("_T")

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

def watch(pid: int) -> bool:
    """Have what a child of this process holds given back the moment it dies.

    A thread without Python does that. It pauses for forks.

    Returns:
        False where the system has no pidfds; waiters then find out a little later.
    """

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

def fallbacks() -> dict[str, str]:
    """Return the system calls that were refused to this process so far.

    Returns:
        By the name of the call: what is done instead.
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
class Frozen:
    """Content in shared memory that nobody changes any more: a read-only buffer."""

    @staticmethod
    def from_handle(session: int, offset: int, generation: int, nbytes: int) -> Frozen:
        """Open what another process has frozen.

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
    def view(self, start: int, nbytes: int, shared: bool = False) -> View:
        """Return a view of a part of it, for this process alone.

        Args:
            start: Its first byte.
            nbytes: How many.
            shared: The next tasks are likely to have the same: a worker keeps the mapping.

        Raises:
            ValueError: There are not so many.
            MemoryError: It can't be mapped, and there is no memory for a copy.
        """
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class View:
    """Memory that looks like frozen content, as a writable buffer of bytes.

    It is the same memory until somebody writes to it: then the kernel copies the page, for this
    process alone.
    """

    def __buffer__(self, flags: int, /) -> memoryview: ...

def freeze(buffer: Buffer, before: Frozen | None = None) -> Frozen:
    """Copy a buffer into shared memory, where nobody will change it.

    Args:
        buffer: Without gaps in its memory, in any order of dimensions.
        before: Returned instead when its content is the same.

    Raises:
        MemoryError: No memory of that size is left.
    """

def find(buffer: Buffer) -> tuple[Frozen, int] | None:
    """Return what a buffer is frozen as and its first byte in there; None when it isn't.

    It is when it lies in a `View` of this process and nobody has written to its pages.
    """

def address(buffer: Buffer) -> tuple[int, int]:
    """Return where the memory of a buffer begins in this process, and its size in bytes."""

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
        kind: int = 0,
    ) -> bool:
        """Put the bytes in, waiting for room.

        Args:
            data: A contiguous buffer; it is copied.
            refs: Offsets of shared objects that this process holds and that `data` names:
                they live at least until the received `Message` is gone.
            tag: A number for `get` to write into a lease. Not 0 when leases are used.
            timeout: Seconds.
            kind: What it is, from 0 to 127; for `collect` and `Server`.

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

class Lock:
    """A lock that one thread of one process holds at a time.

    Anybody may release it, as with the standard library's. But it knows which process took it,
    and when that one dies, a waiter has the lock within 100 ms. What the lock guards may be half
    changed then, and `owner_died` says so until `mark_consistent`.

    Example:
        >>> lock = Lock()
        >>> with lock:
        ...     lock.locked()
        True
    """

    def __new__(cls, *, ctx: object = None, _handle: Handle | None = None) -> Self: ...
    def acquire(self, block: object = True, timeout: float | None = None) -> bool:
        """Take the lock, and return whether that was possible.

        Args:
            block: Whether to wait for it.
            timeout: Seconds to wait at most.

        Raises:
            TypeError: `timeout` is no number.
        """

    def release(self) -> None:
        """Let go of the lock, whichever process or thread took it.

        Raises:
            ValueError: Nobody holds it.
        """

    def locked(self) -> bool:
        """Return whether somebody holds it."""

    @property
    def owner_died(self) -> bool:
        """Whether a holder died in the lock, and nobody has called `mark_consistent` since.

        Look at it when you have the lock: what the lock guards may be half changed then.
        Plain ``with lock:`` goes on working either way.
        """

    def mark_consistent(self) -> None:
        """Say that what the lock guards is right again.

        Raises:
            ValueError: This process does not hold the lock.
        """

    def handle(self) -> Handle:
        """Return the numbers by which another process opens it, while somebody holds it."""

    @staticmethod
    def from_handle(session: int, offset: int, generation: int) -> Lock:
        """Open the lock of another process's `handle`.

        Raises:
            allcores.errors.StaleHandle: It is gone.
        """

    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def _is_mine(self) -> bool: ...
    def _count(self) -> int: ...
    def _get_value(self) -> int: ...
    def _is_zero(self) -> bool: ...
    @property
    def _semlock(self) -> Self: ...
    @property
    def maxvalue(self) -> int: ...

class RLock:
    """A lock that the thread which holds it can take again.

    It belongs to that thread of that process, which has to release it as often as it took it.
    When the process dies, it is as with `Lock`.
    """

    def __new__(cls, *, ctx: object = None, _handle: Handle | None = None) -> Self: ...
    def acquire(self, block: object = True, timeout: float | None = None) -> bool:
        """Take the lock, once more when this thread holds it, and return whether that was possible.

        Args:
            block: Whether to wait for it.
            timeout: Seconds to wait at most.

        Raises:
            TypeError: `timeout` is no number.
        """

    def release(self) -> None:
        """Let go of the lock once.

        Raises:
            AssertionError: This thread does not hold it.
        """

    def locked(self) -> bool:
        """Return whether somebody holds it."""

    @property
    def owner_died(self) -> bool:
        """Whether a holder died in the lock, and nobody has called `mark_consistent` since.

        Look at it when you have the lock: what the lock guards may be half changed then.
        Plain ``with lock:`` goes on working either way.
        """

    def mark_consistent(self) -> None:
        """Say that what the lock guards is right again.

        Raises:
            ValueError: This process does not hold the lock.
        """

    def handle(self) -> Handle:
        """Return the numbers by which another process opens it, while somebody holds it."""

    @staticmethod
    def from_handle(session: int, offset: int, generation: int) -> RLock:
        """Open the lock of another process's `handle`.

        Raises:
            allcores.errors.StaleHandle: It is gone.
        """

    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def _is_mine(self) -> bool: ...
    def _count(self) -> int: ...
    def _get_value(self) -> int: ...
    def _is_zero(self) -> bool: ...
    @property
    def _semlock(self) -> Self: ...
    @property
    def maxvalue(self) -> int: ...

class Semaphore:
    """A number of units that any process can take and give.

    Units taken by ``with`` come back when the process that took them dies. Those of `acquire`
    don't: anybody may release them, so nobody can know whose they are.

    Args:
        value: Units at the start.

    Raises:
        ValueError: `value` is negative or above 2147483647.

    Example:
        >>> semaphore = Semaphore(2)
        >>> with semaphore:
        ...     semaphore.get_value()
        1
    """

    def __new__(
        cls, value: int = 1, *, ctx: object = None, _handle: Handle | None = None
    ) -> Self: ...
    def acquire(self, block: object = True, timeout: float | None = None) -> bool:
        """Take a unit, and return whether that was possible.

        Args:
            block: Whether to wait for it.
            timeout: Seconds to wait at most.

        Raises:
            TypeError: `timeout` is no number.
        """

    def release(self) -> None:
        """Give a unit, and wake one who waits for it.

        Raises:
            ValueError: A BoundedSemaphore has all its units already.
        """

    def get_value(self) -> int:
        """Return how many units could be taken now."""

    def locked(self) -> bool:
        """Return whether no unit could be taken now."""

    def handle(self) -> Handle:
        """Return the numbers by which another process opens it, while somebody holds it."""

    @staticmethod
    def from_handle(session: int, offset: int, generation: int) -> Semaphore:
        """Open the semaphore of another process's `handle`.

        Raises:
            allcores.errors.StaleHandle: It is gone.
        """

    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def _get_value(self) -> int: ...
    def _is_zero(self) -> bool: ...
    @property
    def _semlock(self) -> Self: ...
    @property
    def maxvalue(self) -> int: ...

class BoundedSemaphore(Semaphore):
    """A semaphore that never has more units than at the start: one release too many is an error."""

    @staticmethod
    def from_handle(session: int, offset: int, generation: int) -> BoundedSemaphore:
        """Open the semaphore of another process's `handle`.

        Raises:
            allcores.errors.StaleHandle: It is gone.
        """

class Event:
    """A flag that many can wait for.

    Example:
        >>> event = Event()
        >>> event.wait(timeout=0)
        False
    """

    def __new__(cls, *, ctx: object = None, _handle: Handle | None = None) -> Self: ...
    def is_set(self) -> bool:
        """Return whether it is set."""

    def set(self) -> None:
        """Set it, and wake all who wait."""

    def clear(self) -> None:
        """Take the flag back."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it is set or was meanwhile: nobody waits on because of a `clear` right
            behind the `set`.

        Raises:
            TypeError: `timeout` is no number.
        """

    def handle(self) -> Handle:
        """Return the numbers by which another process opens it, while somebody holds it."""

    @staticmethod
    def from_handle(session: int, offset: int, generation: int) -> Event:
        """Open the event of another process's `handle`.

        Raises:
            allcores.errors.StaleHandle: It is gone.
        """

class Condition:
    """Wait for what others change under a lock.

    Who waits longest is notified first. When the receiver of a notification dies before it has
    the lock back, the next one gets it.

    Args:
        lock: A Lock or RLock; a new RLock when None.

    Raises:
        TypeError: `lock` is something else.
    """

    def __new__(
        cls,
        lock: Lock | RLock | None = None,
        *,
        ctx: object = None,
        _handle: Handle | None = None,
    ) -> Self: ...
    def acquire(self, block: object = True, timeout: float | None = None) -> bool:
        """Take the lock; see `Lock.acquire`."""

    def release(self) -> None:
        """Let go of the lock; see `Lock.release`."""

    def locked(self) -> bool:
        """Return whether somebody holds the lock."""

    def wait(self, timeout: float | None = None) -> bool:
        """Let go of the lock, wait until notified, and take the lock again.

        The lock is taken again also when Ctrl-C ends the wait.

        Args:
            timeout: Seconds to wait at most; taking the lock again may last longer.

        Returns:
            Whether it was notified. After the death of a process a wait may end without
            need, so look at what you wait for, or use `wait_for`.

        Raises:
            AssertionError: This thread does not hold the lock.
            TypeError: `timeout` is no number.
        """

    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T:
        """Wait until `predicate` returns something true, and return that.

        Args:
            predicate: Called with the lock held.
            timeout: Seconds to wait at most; then the predicate's last result comes back.

        Raises:
            AssertionError: This thread does not hold the lock.
            TypeError: `timeout` is no number.
        """

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` who wait, those first that wait longest.

        Raises:
            AssertionError: This thread does not hold the lock.
        """

    def notify_all(self) -> None:
        """Wake all who wait.

        Raises:
            AssertionError: This thread does not hold the lock.
        """

    def handle(self) -> Handle:
        """Return the numbers by which another process opens it, while somebody holds it."""

    @staticmethod
    def from_handle(session: int, offset: int, generation: int, lock: Lock | RLock) -> Condition:
        """Open the condition of another process's `handle`.

        Raises:
            allcores.errors.StaleHandle: It is gone.
        """

    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    @property
    def _lock(self) -> Lock | RLock: ...

class Barrier:
    """A number of parties that wait for each other; see `allcores.sync.Barrier`.

    It breaks when a process is killed that has waited in this round or the one before.
    """

    def __new__(
        cls,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: object = None,
        _handle: Handle | None = None,
    ) -> Self: ...
    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties do.

        Args:
            timeout: Seconds to wait at most; the barrier breaks then. None: as the barrier
                was made.

        Returns:
            Which of the parties this was, from 0 in the order of their coming.

        Raises:
            threading.BrokenBarrierError: The barrier is broken, or broke meanwhile.
            TypeError: `timeout` is no number.
        """

    def reset(self) -> None:
        """Make it like new; those who wait get a BrokenBarrierError."""

    def abort(self) -> None:
        """Break it, for those who wait and those who come, until `reset`."""

    @property
    def parties(self) -> int:
        """How many have to come."""

    @property
    def n_waiting(self) -> int:
        """How many wait now."""

    @property
    def broken(self) -> bool:
        """Whether it is broken."""

    def handle(self) -> Handle:
        """Return the numbers by which another process opens it, while somebody holds it."""

    @staticmethod
    def from_handle(
        session: int,
        offset: int,
        generation: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Barrier:
        """Open the barrier of another process's `handle`.

        Raises:
            allcores.errors.StaleHandle: It is gone.
        """

class Life:
    """Whether a manager has been shut down; known to the handles of what it made."""

    def __new__(cls, *, _handle: Handle | None = None) -> Self: ...
    @property
    def offset(self) -> int:
        """Place of the flag in the arena."""

    @property
    def over(self) -> bool:
        """Whether it has been shut down."""

    def end(self) -> None:
        """Say that it has been shut down. Who waits under this life is told."""

    def check(self) -> None:
        """Do nothing while it lasts.

        Raises:
            allcores.errors.ManagerShutDown: It is over.
        """

    def call(self, function: Callable[..., _T], /, *arguments: Any, **named: Any) -> _T:
        """Call a function, whose waits end with this life.

        Raises:
            allcores.errors.ManagerShutDown: It is over, or was while the function waited.
        """

class ContainerLock:
    """A container's lock for several operations of a thread, which may take it again.

    It keeps all other threads, of all processes, out of the container. When its holder dies,
    the operations that were done stay done.
    """

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it; see `Lock.acquire`."""

    def release(self) -> None:
        """Let it go, as often as it was taken.

        Raises:
            AssertionError: This thread doesn't have it.
        """

    def __enter__(self) -> bool: ...
    def __exit__(self, *exception: object) -> None: ...
    def locked(self) -> bool:
        """Return whether any thread has it."""

    @property
    def owner_died(self) -> bool:
        """Whether a holder died, and nobody has said since that all is well."""

    def mark_consistent(self) -> None:
        """Say that all is well with the content again.

        Raises:
            ValueError: This process doesn't have the lock.
        """

class LockedValue:
    """A property: the attribute `value` of an object's `_obj`, under its `_lock`."""

    def __get__(self, instance: Any, owner: Any = None) -> Any: ...
    def __set__(self, instance: Any, value: Any) -> None: ...

class List:
    """The base of the shared list: what has to happen in the arena.

    Each operation happens as a whole, also when its process is killed in it. Objects other
    than numbers, texts, bytes, None, True and False are pickled, before and after the list
    is entered; no Python code runs inside.

    Args:
        iterable: What is in it first.
        handle: Open the list that these numbers name, instead of making one.
        life: The manager that it belongs to; that of what is being read, if none is given
            for a handle.

    Raises:
        MemoryError: There is no memory left.
        allcores.errors.StaleHandle: The list of `handle` is gone, or another program's.
    """

    def __new__(
        cls,
        iterable: Iterable[Any] | None = None,
        /,
        *,
        handle: Handle | None = None,
        life: Life | None = None,
    ) -> Self: ...
    @classmethod
    def from_handle(cls, session: int, offset: int, generation: int) -> Self:
        """Open a list by its three numbers.

        Raises:
            allcores.errors.StaleHandle: It is gone, or another program's.
        """

    def handle(self) -> Handle:
        """Return session, offset and generation."""

    @property
    def offset(self) -> int:
        """Place of the list in the arena."""

    @property
    def life(self) -> Life | None:
        """The manager that it belongs to."""

    @property
    def lock(self) -> ContainerLock:
        """What keeps all others out of the list for several operations."""

    @property
    def version(self) -> int:
        """The number of changes so far."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Any: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[Any]: ...
    @overload
    def __setitem__(self, index: SupportsIndex, value: Any, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Any], /) -> None: ...
    def __delitem__(self, index: SupportsIndex | slice, /) -> None: ...
    def __iter__(self) -> Iterator[Any]:
        """Iterate by the index: each item is the one that is there when it is asked for."""

    def append(self, value: Any, /) -> None:
        """Add an item at the end."""

    def extend(self, iterable: Iterable[Any], expected: int | None = None, /) -> bool:
        """Add items at the end, all at once.

        Args:
            iterable: The items.
            expected: Change nothing when the list's version is another one by now.

        Returns:
            Whether they were added.
        """

    def insert(self, index: SupportsIndex, value: Any, /) -> None:
        """Add an item before the one at `index`; out of range is an end."""

    def pop(self, index: SupportsIndex = -1, /) -> Any:
        """Remove an item and return it.

        Raises:
            IndexError: There is none at `index`.
        """

    def push(self, value: Any, front: bool, most: int | None, /) -> None:
        """Add an item at an end; of a list with `most` items the one at the other end goes."""

    def clear(self) -> None:
        """Remove all items."""

    def reverse(self) -> None:
        """Turn the order round."""

    def snapshot(self) -> tuple[list[Any], int]:
        """Return the items, and the version of the list that they are."""

    def reorder(self, order: Sequence[int], expected: int) -> bool:
        """Bring what is at `order[i]` to `i`, if the version is still the expected one.

        Raises:
            ValueError: `order` doesn't name each index once.
        """

    def delete_if(self, index: int, expected: int) -> bool:
        """Remove an item, if the version is still the expected one."""

class Dict:
    """The base of the shared dict: what has to happen in the arena.

    Each operation on a key happens as a whole, also when its process is killed in it. Objects
    are pickled and keys compared before and after the dict is entered; no Python code runs
    inside.

    Args:
        handle: Open the dict that these numbers name, instead of making one.
        life: As of a list.

    Raises:
        MemoryError: There is no memory left.
        allcores.errors.StaleHandle: The dict of `handle` is gone, or another program's.
    """

    def __new__(cls, *, handle: Handle | None = None, life: Life | None = None) -> Self: ...
    @classmethod
    def from_handle(cls, session: int, offset: int, generation: int) -> Self:
        """Open a dict by its three numbers.

        Raises:
            allcores.errors.StaleHandle: It is gone, or another program's.
        """

    def handle(self) -> Handle:
        """Return session, offset and generation."""

    @property
    def offset(self) -> int:
        """Place of the dict in the arena."""

    @property
    def life(self) -> Life | None:
        """The manager that it belongs to."""

    @property
    def lock(self) -> ContainerLock:
        """What keeps all others out of the dict for several operations."""

    @property
    def version(self) -> int:
        """Grows with each change; odd while one is under way."""

    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __delitem__(self, key: Any, /) -> None: ...
    def __iter__(self) -> Iterator[Any]:
        """Iterate over the keys. `keys()` does so whatever happens to the dict meanwhile.

        Raises:
            RuntimeError: The number of keys has changed since the start.
        """

    def __reversed__(self) -> Iterator[Any]:
        """Iterate over the keys, the one that was inserted last first.

        Raises:
            RuntimeError: The number of keys has changed since the start.
        """

    def get(self, key: Any, default: Any = None, /) -> Any:
        """Return a key's value, or `default` when it is not there.

        Raises:
            TypeError: The key is not hashable.
        """

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        """Return a key's value; when it is not there, `default`, which it has from then on.

        Of several processes that do this at once, one's default is in, and all return that.

        Raises:
            TypeError: The key is not hashable.
            allcores.errors.NotPicklable: The key or the default can't travel.
        """

    def pop(self, key: Any, /, *default: Any) -> Any:
        """Remove a key and return its value. Of several processes one gets it.

        Raises:
            KeyError: It is not there, and there is no default.
            TypeError: The key is not hashable.
        """

    def popitem(self) -> tuple[Any, Any]:
        """Remove the key that was inserted last; return it and its value.

        Raises:
            KeyError: There is none.
        """

    def clear(self) -> None:
        """Remove all keys, at once."""

    def add(self, key: Any, n: Any = 1, /) -> Any:
        """Add `n` to a key's value in one operation, and return the new value.

        A missing key counts as 0. Exact however many processes do it at once. Quick for ints
        of up to 62 bits and floats; other values that have ``+`` are added by Python and put in
        if the value has stayed the same meanwhile, else that begins again.

        Raises:
            TypeError: The key is not hashable, or its value and `n` can't be added.
        """

    def update_key(self, key: Any, function: Callable[[Any], Any], /, *default: Any) -> Any:
        """Put what a function makes of a key's value in its place, and return that.

        The function runs while others may use the dict. When they changed this value meanwhile,
        the function is called again, with the new one; so it should do nothing else.

        Args:
            key: The key.
            function: Called with the value.
            *default: The value when the key is not there.

        Raises:
            KeyError: The key is not there, and there is no default.
            TypeError: The key is not hashable.
        """

    def _keys(self) -> list[Any]: ...
    def _values(self) -> list[Any]: ...
    def snapshot(self) -> tuple[list[tuple[Any, Any]], int]:
        """Return the pairs, and the version of the dict that they are."""

    def _items(self) -> list[tuple[Any, Any]]: ...

# The loops of a pool (allcores.task.records has the layouts).

def post(ring: Ring, tag: int, head: bytes, what: int, payload: object) -> int:
    """Post one task whose payload needs no pickle.

    Args:
        ring: Where to.
        tag: The task.
        head: Its head, and its function if that is inline.
        what: The kind of task.
        payload: For CALL the tuple of arguments, else the item.

    Returns:
        How many bytes it has; 0 when the payload needs a pickle, and nothing has happened.
    """

def post_each(
    ring: Ring, tag: int, head: bytes, what: int, items: object, start: int, stop: int
) -> tuple[int, int]:
    """Post a task for each of some items of a list, a tuple or a range.

    Args:
        ring: Where to.
        tag: The first task; the next ones count up.
        head: As for `post`.
        what: The kind of task.
        items: What they are some of.
        start: Index of the first.
        stop: Index behind the last.

    Returns:
        How many were posted, and their bytes. If not all: they are more than 8 MiB, or the next one
        needs a pickle.
    """

def post_items(
    ring: Ring, tag: int, head: bytes, what: int, items: object, start: int, stop: int
) -> int:
    """Post one task of several items of a list, a tuple or a range.

    Args:
        ring: Where to.
        tag: The task.
        head: As for `post`.
        what: MAP or STARMAP.
        items: What they are some of.
        start: Index of the first.
        stop: Index behind the last.

    Returns:
        How many bytes it has; 0 when the items need a pickle, and nothing has happened.
    """

def collect(
    ring: Ring, jobs: dict[int, Any], line: object, timeout: float, most: int, patient: bool
) -> int:
    """Take results off a ring and give each to its job.

    Args:
        ring: Where from.
        jobs: By number. News of a job that isn't there is dropped.
        line: Makes exceptions of what is none.
        timeout: Seconds to wait for the first.
        most: How many to take at most.
        patient: Whether there is a core to spare for looking a little longer before it sleeps.

    Returns:
        How many there were.
    """

def doom(lease: Block, start: int) -> bool:
    """Give up the task that a worker began at `start`, by the word START of its lease.

    Its process ends when it comes to the task's end, if the pool hasn't ended it before.

    Args:
        lease: its lease.
        start: the word START of that.

    Returns:
        False when the task had ended.

    Raises:
        ValueError: there is no task.
    """

def set_gate(lease: Block, state: int) -> None:
    """Say whether a worker may take its next task.

    Args:
        lease: its lease.
        state: 0 when it may, 1 when it has to wait, 2 when it has to leave instead.
    """

def take_back(lease: Block, seen: int, end: int) -> bool:
    """Take back the items from `end` on from the worker of a lease.

    Args:
        lease: The worker's.
        seen: Its word PLACE, as it was read.
        end: The worker will stop before this item.

    Returns:
        False when the worker got on meanwhile; then nothing has happened.

    Raises:
        ValueError: `end` is not between its current item and its present end.
    """

class Server:
    """A worker's loop.

    Args:
        tasks: The ring of tasks.
        results: The ring of results.
        lease: Where it notes what it does.
        cancelled: Words with the numbers of jobs given up.
        hooks: Does what is needed seldom; see allcores.task.work.
    """

    def __new__(
        cls, tasks: Ring, results: Ring, lease: Block, cancelled: Block, hooks: object
    ) -> Server: ...
    def run(self, pool: int, most: int | None = None) -> tuple[str, int]:
        """Do tasks until told to stop.

        Args:
            pool: The process that the pool is of; when it is gone, so is the work.
            most: Tasks after which to stop.

        Returns:
            "stop", "enough" or "gone", and how many tasks were done.
        """

    def interrupt(self) -> bool:
        """Return whether a task runs, and take note that it is being interrupted."""

class Importer:
    """In the place of ``builtins.__import__`` and ``importlib.import_module``.

    A call is no frame in a traceback, as one of a function in Python would be.

    Args:
        import_: ``builtins.__import__``.
        import_module: ``importlib.import_module``.
        names: First parts of the names of modules that `redirect` is asked about.
        redirect: Called with a name, the globals of who imports and the names wanted of the
            module (None for the module itself); returns a module, or None for the usual one.
    """

    def __new__(
        cls,
        import_: Callable[..., Any],
        import_module: Callable[..., Any],
        names: list[str],
        redirect: Callable[[str, Any, Any], Any],
    ) -> Importer: ...
    def __call__(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = None,
        level: int | None = None,
    ) -> Any:
        """As ``builtins.__import__``."""

    def import_module(self, name: str, package: str | None = None) -> Any:
        """As ``importlib.import_module``."""

class Surroundings:
    """What is around a call: standard streams, filters of warnings, and no context variable.

    The filters are those that there are when this is made.

    Args:
        out: The one that `sys.stdout` is to be.
        err: The one that `sys.stderr` is to be.
    """

    def __new__(cls, out: object, err: object) -> Surroundings: ...
    def same(self) -> bool:
        """Return whether it is all so, and no context variable is set."""

    def same_warnings(self) -> bool:
        """Return whether the filters of warnings are the same."""
