"""A worker: take a task off the ring, do it, put its result on the other ring.

The loop itself is the core's (crates/allcores-py/src/task/serve.rs); here is what it needs seldom.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable, Iterable
from multiprocessing import process, util
from typing import Any, NoReturn

from allcores import _core, budget, pickling
from allcores.launch import tether
from allcores.launch.fingerprint import fingerprint
from allcores.process import ForkProcess, ForkServerProcess, SpawnProcess
from allcores.task.records import (
    CANCELLED_WORDS,
    INITIALIZING,
    LEASE_BYTES,
    LEFT,
    LIBRARIES,
    NO_START,
    READY,
    STAGE,
    VIEWED,
    Link,
    kind,
)

# Seconds for which an idle worker waits for another pool (a guess).
IDLE_S = 10.0
# Fingerprints of functions that a worker remembers (a guess).
_MARKS = 1000


def keeps(
    process_obj: Any, initializer: Callable[..., object] | None, maxtasks: int | None
) -> bool:
    """Tell whether a worker of such a pool may serve another one.

    Not one that has run an initializer, nor one that is to be replaced after some tasks.

    Args:
        process_obj: the worker's process object, in either process.
        initializer: of the pool.
        maxtasks: of the pool.
    """
    kind = type(process_obj)
    return initializer is None and maxtasks is None and kind in (SpawnProcess, ForkServerProcess)


def main(
    link: Link,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    maxtasks: int | None,
) -> None:
    """Be a worker, until told to stop.

    Args:
        link: the pool.
        initializer: called first, if there is one; when it fails, so does the pool.
        initargs: its arguments.
        maxtasks: tasks after which to leave; None for no limit.
    """
    budget.settle()
    me = process.current_process()
    between = None
    if keeps(me, initializer, maxtasks):
        from allcores.task.between import Between

        signal.signal(signal.SIGINT, _ignore)
        between = Between()
    elif type(me) is ForkProcess and "t" not in sys.abiflags:
        # What came with the fork is shared with the parent for as long as nothing writes there, and
        # a collection writes to every object. (So does this without the GIL, where it marks each.)
        gc.freeze()
    # Who is to tell what it has imported; a fork would copy the page of each name only to look.
    tells = between is not None or type(me) is ForkServerProcess
    loaded = set(sys.modules) if tells else None
    while _serve(link, initializer, initargs, maxtasks, loaded, between is not None):
        me = between.next()  # type: ignore[union-attr]
        if me is None:
            return
        link, initializer, initargs, maxtasks = me._args


def _serve(
    link: Link,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    maxtasks: int | None,
    loaded: set[str] | None,
    stays: bool,
) -> bool:
    """Serve one pool; return whether the pool's process was told that this one `stays`."""
    # Ctrl-C reaches workers too: it ends the task that runs, never the worker.
    signal.signal(signal.SIGINT, _ignore)
    # A fork copies the parent's handlers, which are about the parent: `terminate` has to work,
    # and no event loop of the parent's must hear of this process's signals.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    # The pool ends its workers; that is no reason why they should have no children.
    # They end with it, though, as nobody else knows of them.
    config = process.current_process()._config  # type: ignore[attr-defined]
    config["daemon"] = False
    config[tether.MARK] = True
    if not tether.tether():
        return False  # (where there is no such thing, an idle worker still looks every second)
    budget.reseed()
    try:
        worker = _Worker(link)
    except (ValueError, OSError):
        if _core.is_alive(link.parent):
            raise
        return False  # the pool's process ended while this one started
    teller = worker.begin_to_tell(link)
    try:
        if not worker.start(initializer, initargs):
            return False
        reason, done = worker.server.run(link.parent, maxtasks)
    finally:
        if teller is not None:
            teller.end()
    util.debug(f"worker exiting after {done} tasks ({reason})")
    if loaded is not None:
        worker.tell(loaded, stays)
    return stays and reason == "stop" and worker.leave()


def _failure() -> Any:
    """Return a module that is slow to import, for when something fails."""
    from allcores.task import failure

    return failure


def _ignore(*_: object) -> None:
    """Handle a signal that is for the pool's process."""


class _Worker:
    def __init__(self, link: Link) -> None:
        self._hooks = _Hooks()
        results = _core.Ring.from_handle(*link.results)
        lease = _core.Block.from_handle(*link.lease, LEASE_BYTES)
        self._results = results
        self._words = memoryview(lease).cast("B").cast("Q")
        self._hooks.words = self._words
        self.server = _core.Server(
            _core.Ring.from_handle(*link.tasks),
            results,
            lease,
            _core.Block.from_handle(*link.cancelled, 8 * CANCELLED_WORDS),
            self._hooks,
        )
        signal.signal(signal.SIGINT, self._interrupted)

    def begin_to_tell(self, link: Link) -> Any:
        """Have what is printed, logged and warned go to the pool's process, if it is to."""
        if link.manner is None:
            return None
        from allcores.task.tell import Teller

        self._hooks.teller = teller = Teller(self._results, self._words, link.parent)
        teller.begin(link.manner)
        return teller

    def start(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> bool:
        """Run the initializer; tell the pool, and return False, when it fails."""
        if initializer is not None:
            self._words[STAGE] = INITIALIZING
            try:
                initializer(*initargs)
            except BaseException as error:
                data, refs = _failure().pack(error, skip=1)
                _log()
                self._results.put(data, refs, 0, None, kind(NO_START))
                return False
        self._words[STAGE] = READY
        return True

    def tell(self, loaded: set[str], stays: bool) -> None:
        """Tell what tasks had to import, for others to have it loaded: those that stay, or follow.

        Args:
            loaded: names of modules that are known; grows.
            stays: whether this worker is for other pools, too.
        """
        new = [name for name in sys.modules if name not in loaded]
        loaded.update(new)
        if new:
            from allcores.task.between import libraries

            if found := libraries(new):
                try:
                    data = pickle.dumps((found, stays))
                    self._results.put(data, (), os.getpid(), None, kind(LIBRARIES))
                except (ValueError, OSError):
                    pass  # the pool's process has ended

    def leave(self) -> bool:
        """Let go of the pool, but live; return whether the pool's process was told."""
        signal.signal(signal.SIGINT, _ignore)
        tether.untether()
        try:
            self._results.put(b"", (), os.getpid(), None, kind(LEFT))
        except (ValueError, OSError):
            return False  # it has ended
        return True

    def _interrupted(self, *_: object) -> None:
        if self.server.interrupt():
            raise KeyboardInterrupt


def _log() -> None:
    """Log what an initializer raised, as concurrent.futures does, where somebody listens to it."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logger = logging.getLogger("concurrent.futures")
        if logger.handlers:
            logger.critical("Exception in initializer:", exc_info=True)


class _Hooks:
    """What the loop leaves to Python."""

    def __init__(self) -> None:
        self.teller: Any = None
        self.words: Any = None
        self._seen: set[bytes] = set()  # fingerprints of functions
        self._session = _core.session()
        self._pid = struct.pack("=I", os.getpid())

    def function(
        self, offset: int, generation: int, nbytes: int, inline: bytes
    ) -> Callable[..., Any]:
        """Return the function of a task.

        Args:
            offset: where it is stored; 0 when it is `inline`.
            generation: of that place.
            nbytes: its size.
            inline: its bytes.
        """
        data: bytes | memoryview = inline
        if offset:
            data = memoryview(_core.Block.from_handle(self._session, offset, generation, nbytes))
        rebuild = sys.modules.get("allcores.launch.rebuild")
        mark = fingerprint(data)
        is_new = mark not in self._seen
        if len(self._seen) > _MARKS:
            self._seen.clear()
        self._seen.add(mark)
        # It may refer to classes that came with another one, and have changed since. What tasks
        # made of them stays when nothing has.
        loads = rebuild.load_changed if rebuild is not None and is_new else pickling.loads
        func: Callable[..., Any] = loads(data)
        if self.teller is not None and self.teller.pending:
            self.teller.settle()
        return func

    def flush(self) -> None:
        """Send what a task printed last, as it is no whole line."""
        self.teller.flush()

    def pack(self, value: Any) -> tuple[bytes, pickling.Refs]:
        """Return a result as bytes, and the handles in it."""
        data, refs = pickling.pack(value, "the result")
        if refs.nbytes and self.words is not None:
            self.words[VIEWED] += refs.nbytes
        return data, refs

    def failed(self, error: BaseException, reading: bool) -> tuple[bytes, list[int]]:
        """Return what a task raised as bytes, and the handles in it.

        Args:
            error: what was raised.
            reading: while the task was unpacked, before its function was called.
        """
        if reading and not isinstance(error, KeyboardInterrupt):
            data, refs = _failure().pack(error, lost="unpacking the task in the worker raised it")
        else:
            carry = sys.modules.get("allcores.task.carry")
            skip = carry is not None and carry.is_ours(error)
            data, refs = _failure().pack(error, skip=int(skip))
        return self._pid + data, refs

    def unsendable(self, value: Any, error: BaseException) -> bytes:
        """Return what to send in place of a result that can't travel."""
        packed: bytes = _failure().pack_unsendable(value, error)
        return packed

    def end_copy(self, error: BaseException | None) -> NoReturn:
        """End a process that a task forked and that has come out of the task.

        It is no worker: the task's result, and the next task, are for the one it was forked from.
        """
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            import traceback

            traceback.print_exception(error)
            code = 1
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
