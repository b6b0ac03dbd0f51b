"""Children that are started before it is known what they shall do.

An interpreter that starts, or a fork server that has much to do, takes a while. A pool knows how
many workers it needs before it knows anything else: so it has them started first, all at once,
and does its own work meanwhile. A *blank* child waits on its pipe for the process object, and ends
with that pipe. `Popen` takes a blank one where there is one, for any process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Blank(NamedTuple):
    """A child that has been started.

    Attributes:
        sentinel: becomes ready when it ends.
        data: what it reads from.
        pid: of a spawned one; the fork server tells it later.
        given: what it inherited, to be compared.
    """

    sentinel: int
    data: int
    pid: int | None
    given: object


_waiting: dict[str, list[Blank]] = {}
_lock = threading.Lock()


@contextmanager
def ahead(method: str | None, count: int) -> Iterator[None]:
    """Have so many children started; those that the block has not used end with it.

    Args:
        method: the start method; nothing happens with ``fork``.
        count: how many.
    """
    if method not in ("spawn", "forkserver") or count < 1:
        yield
        return
    starter: Any
    if method == "spawn":
        from allcores.launch import interpreter as starter
    else:
        from allcores.launch import client as starter
    mine = []
    try:
        for _ in range(count):
            mine.append(blank := starter.start_blank())
            with _lock:
                _waiting.setdefault(method, []).append(blank)
    except OSError:
        pass  # the start that is in earnest says what is wrong
    try:
        yield
    finally:
        with _lock:
            left = [blank for blank in mine if blank in _waiting[method]]
            for blank in left:
                _waiting[method].remove(blank)
        for blank in left:
            end(blank)


def count(method: str | None) -> int:
    """Return how many wait."""
    return len(_waiting.get(method or "", ()))


def take(method: str, given: object) -> Blank | None:
    """Return a child that waits, None when there is none.

    Args:
        method: the start method.
        given: what it has to have inherited.
    """
    with _lock:
        waiting = _waiting.get(method, ())
        for index, blank in enumerate(waiting):
            if blank.given == given:
                return _waiting[method].pop(index)
    return None


def end(blank: Blank) -> None:
    """End a child that is not needed."""
    os.close(blank.data)
    if blank.pid is not None:
        try:
            os.waitpid(blank.pid, 0)
        except ChildProcessError:
            pass
    os.close(blank.sentinel)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for blanks in _waiting.values():
        for blank in blanks:
            os.close(blank.sentinel)
            os.close(blank.data)
    _waiting.clear()


os.register_at_fork(after_in_child=_after_fork)
