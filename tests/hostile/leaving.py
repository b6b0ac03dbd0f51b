"""A program whose children leave while others make and drop queues, as fast as they can."""

from __future__ import annotations

import os
import signal
import traceback
from typing import Any

LEAVES = 3000


def _make_and_drop(mp: Any) -> None:
    try:
        while True:
            for size in (10, 3000, 70_000):
                queue = mp.Queue()
                queue.put((1, b"x" * size))
                queue.put(mp.Event())
                assert queue.get() == (1, b"x" * size)
                del queue
    except BaseException:
        traceback.print_exc()
        os._exit(3)


def _leave(core: Any) -> None:
    try:
        core.leave()
    except BaseException:
        traceback.print_exc()
        os._exit(4)
    os._exit(0)


def main() -> None:
    """Fork those that are busy, then one after the other of those that leave."""
    import allcores as mp
    from allcores import _core

    kept = mp.Event()  # so that children take part
    busy = []
    try:
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                _make_and_drop(mp)
            busy.append(pid)
        for _ in range(LEAVES):
            pid = os.fork()
            if pid == 0:
                _leave(_core)
            assert os.waitpid(pid, 0)[1] == 0
        assert all(os.waitpid(pid, os.WNOHANG) == (0, 0) for pid in busy)
    finally:
        for pid in busy:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert not kept.is_set()
    print("all right")
