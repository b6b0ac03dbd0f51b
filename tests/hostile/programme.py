"""A program that uses most of allcores, for machines that refuse something.

``python programme.py METHOD`` prints "all right" at the end. What an error of the system says, with
its notes, goes to standard error. ``prepare`` makes the machine hostile before allcores is loaded.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Any


def square(n: int) -> int:
    return n * n


def hard(n: int) -> int:
    if n == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def work(queue: Any, lock: Any, shared: Any, number: int) -> None:
    for _ in range(50):
        with lock:
            shared[0] += 1
    shared.append(number)
    queue.put((number, "x" * 1000))


def die_with(lock: Any, ready: Any) -> None:
    lock.acquire()
    ready.set()
    os.kill(os.getpid(), signal.SIGKILL)


def play(method: str) -> None:
    import allcores as mp
    from allcores.errors import WorkerDied

    context = mp.get_context(method)
    queue, lock, ready = context.Queue(), context.Lock(), context.Event()
    shared = mp.Manager().list([0])
    big = mp.Manager().list([bytes(3 << 20)])
    assert len(big[0]) == 3 << 20
    workers = [context.Process(target=work, args=(queue, lock, shared, i)) for i in range(2)]
    for worker in workers:
        worker.start()
    assert sorted(queue.get()[0] for _ in workers) == [0, 1]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, worker.exitcode
    counted, *numbers = shared
    assert counted == 100
    assert sorted(numbers) == [0, 1]

    victim = context.Process(target=die_with, args=(lock, ready))
    victim.start()
    ready.wait()
    with lock:
        assert lock.owner_died
        lock.mark_consistent()
    victim.join()

    with context.Pool(2) as pool:
        assert pool.map(square, range(20)) == [n * n for n in range(20)]
        died = ""
        try:
            pool.map(hard, range(5), chunksize=1)
        except WorkerDied as error:
            died = error.signal or ""
        assert died == "SIGKILL"
        assert pool.map(square, [5]) == [25]


def main(method: str) -> int:
    try:
        play(method)
    except (OSError, MemoryError) as error:
        traceback.print_exception(error)
        return 3
    from allcores import _core

    print("fallbacks:", *sorted(_core.fallbacks()))
    print("all right")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
