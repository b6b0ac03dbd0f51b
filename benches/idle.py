"""What waiting for nothing costs: CPU time of processes that wait while nothing happens."""

from __future__ import annotations

import contextlib
import os
import queue as _queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAIT_S = 2.0


def _waits(context: Any) -> dict[str, Callable[[], object]]:
    """A wait of `WAIT_S` for each primitive, which nobody ends."""
    queue, lock, event = context.Queue(), context.Lock(), context.Event()
    condition, semaphore, barrier = context.Condition(), context.Semaphore(0), context.Barrier(2)
    lock.acquire()

    def on_queue() -> None:
        with contextlib.suppress(_queue.Empty):
            queue.get(timeout=WAIT_S)

    def on_condition() -> None:
        with condition:
            condition.wait(WAIT_S)

    def on_barrier() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(WAIT_S)

    return {
        "Queue.get": on_queue,
        "Lock": lambda: lock.acquire(timeout=WAIT_S),
        "Event": lambda: event.wait(WAIT_S),
        "Condition": on_condition,
        "Semaphore": lambda: semaphore.acquire(timeout=WAIT_S),
        "Barrier": on_barrier,
    }


def _measure(wait: Callable[[], object], end: Any) -> None:
    before = time.process_time()
    wait()
    end.send(time.process_time() - before)


def by_primitive(mp: Any) -> dict[str, float]:
    """The CPU time of one idle waiter, in milliseconds a second."""
    context = mp.get_context("fork")
    running = {}
    for name, wait in _waits(context).items():
        ours, theirs = context.Pipe()
        child = context.Process(target=_measure, args=(wait, theirs))
        child.start()
        running[name] = (child, ours)
    figures = {name: end.recv() / WAIT_S * 1e3 for name, (_, end) in running.items()}
    for child, _ in running.values():
        child.join()
    return figures


def waiter(mp: Any) -> float:
    """The dearest of them."""
    return max(by_primitive(mp).values())


def _ran(pid: int) -> int:
    """Nanoseconds that the threads of a process have run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def pool(mp: Any) -> float:
    """The CPU time of a pool of 2 that has nothing to do, threads of its process included."""
    with mp.get_context("fork").Pool(2) as workers:
        pids = {*workers.map(_pid, range(20), 1), os.getpid()}
        time.sleep(0.5)
        before = {pid: _ran(pid) for pid in pids}
        time.sleep(WAIT_S)
        return sum(_ran(pid) - before[pid] for pid in pids) / WAIT_S / 1e6


def _pid(_: int) -> int:
    return os.getpid()


if __name__ == "__main__":
    import importlib

    for library in ("allcores", "multiprocessing"):
        mp = importlib.import_module(library)
        for name, figure in {**by_primitive(mp), "Pool(2)": pool(mp)}.items():
            print(f"{library:16} {name:10} {figure:8.3f} ms/s")
