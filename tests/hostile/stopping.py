"""Programs whose processes are interrupted by signals, or stopped and continued, all the time."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from typing import Any


def _tick(seen: list[int]) -> None:
    signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)


def _quiet() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(inbox: Any, outbox: Any, lock: Any, items: Any, condition: Any, barrier: Any) -> None:
    """A partner under a timer of its own: one round for each item, until None."""
    seen: list[int] = []
    _tick(seen)
    while (item := inbox.get()) is not None:
        with lock:
            items.append(item)
        barrier.wait()
        with condition:
            condition.notify_all()
        outbox.put((item, "y" * 3000))
    _quiet()
    outbox.put(len(seen))


def _double(n: int) -> int:
    return 2 * n


def ticking(method: str, rounds: int = 150) -> None:
    """Everything, while a signal handler in Python runs a thousand times a second."""
    import allcores as mp

    context = mp.get_context(method)
    inbox, outbox, lock, items = (
        context.Queue(4),
        context.Queue(),
        context.Lock(),
        mp.Manager().list(),
    )
    condition, barrier, semaphore = context.Condition(), context.Barrier(2), context.Semaphore(1)
    partner = context.Process(target=_answer, args=(inbox, outbox, lock, items, condition, barrier))
    partner.start()
    seen: list[int] = []
    _tick(seen)
    with context.Pool(2) as pool:
        for n in range(rounds):
            inbox.put(n)
            barrier.wait()
            with condition:
                condition.wait(0.002)
            with semaphore, lock:
                assert items[-1] == n
            assert outbox.get() == (n, "y" * 3000)
            if n % 10 == 0:
                assert pool.map(_double, range(5)) == [0, 2, 4, 6, 8]
    inbox.put(None)
    theirs = outbox.get()
    partner.join()
    _quiet()
    assert partner.exitcode == 0
    assert list(items) == list(range(rounds))
    assert len(seen) > 10, len(seen)
    assert theirs > 10, theirs
    print("all right")


def _stopper(pids: list[int], stop: threading.Event, seed: int) -> None:
    """Stop and continue one process after the other; all of them run in the end."""
    chance = random.Random(seed)
    while not stop.is_set():
        pid = chance.choice(pids)
        os.kill(pid, signal.SIGSTOP)
        stop.wait(chance.uniform(0.001, 0.02))
        os.kill(pid, signal.SIGCONT)
        stop.wait(chance.uniform(0, 0.01))


def _square(n: int) -> int:
    return n * n


def stopped(method: str, rounds: int = 60) -> None:
    """Workers, a partner and the fork server are stopped and continued in the middle of things."""
    import allcores as mp
    from allcores.launch import forkserver

    seed = random.randrange(1 << 30)
    print("seed", seed, file=sys.stderr)
    context = mp.get_context(method)
    inbox, outbox, lock, items = (
        context.Queue(4),
        context.Queue(),
        context.Lock(),
        mp.Manager().list(),
    )
    condition, barrier = context.Condition(), context.Barrier(2)
    partner = context.Process(target=_answer, args=(inbox, outbox, lock, items, condition, barrier))
    partner.start()
    with context.Pool(2) as pool:
        assert partner.pid is not None
        pids = [partner.pid, *{worker.pid for worker in pool._pool}]
        server = forkserver._forkserver._forkserver_pid
        if server is not None:
            pids.append(server)
        stop = threading.Event()
        thread = threading.Thread(target=_stopper, args=(pids, stop, seed))
        thread.start()
        for n in range(rounds):
            inbox.put(n)
            barrier.wait()
            assert outbox.get()[0] == n
            assert pool.map(_square, range(6), 1) == [0, 1, 4, 9, 16, 25]
            if n % 20 == 0:
                child = context.Process(target=_square, args=(n,))
                child.start()
                child.join()
                assert child.exitcode == 0
        stop.set()
        thread.join()
    inbox.put(None)
    assert outbox.get() > 0
    partner.join()
    assert list(items) == list(range(rounds))
    assert not lock.owner_died  # to be stopped is not to be dead
    print("all right")


def _hold(lock: Any, held: Any, go: Any) -> None:
    with lock:
        held.set()
        go.wait()


def holder_stopped() -> None:
    """A stopped holder keeps its lock; nobody takes it for dead."""
    import allcores as mp

    context = mp.get_context("fork")
    lock, held, go = context.Lock(), context.Event(), context.Event()
    child = context.Process(target=_hold, args=(lock, held, go))
    child.start()
    held.wait()
    os.kill(child.pid, signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)
    go.set()
    assert not lock.acquire(timeout=0.5)
    os.kill(child.pid, signal.SIGCONT)
    with lock:
        assert not lock.owner_died
    child.join()
    assert child.exitcode == 0
    print("all right")


def parent_stopped() -> None:
    """Children go on while their parent is stopped; it finds what they did."""
    import allcores as mp

    context = mp.get_context("fork")
    queue = context.Queue()
    me = os.getpid()

    def work() -> None:
        os.kill(me, signal.SIGSTOP)
        for n in range(2000):
            queue.put(n)
        time.sleep(0.05)
        os.kill(me, signal.SIGCONT)

    child = context.Process(target=work)
    child.start()
    assert [queue.get() for _ in range(2000)] == list(range(2000))
    child.join()
    assert child.exitcode == 0
    print("all right")
