"""What the children of the tests do, in a module that children can import."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def count(lock: Any, counter: Any, times: int) -> None:
    for _ in range(times):
        with lock:
            counter[0] += 1


def count_in_threads(lock: Any, counter: Any, times: int, threads: int) -> None:
    running = [threading.Thread(target=count, args=(lock, counter, times)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def release(lock: Any) -> None:
    lock.release()


def release_not_mine(rlock: Any, conn: Any) -> None:
    try:
        rlock.release()
    except AssertionError:
        conn.send("not mine")


def die_with(lock: Any) -> None:
    lock.acquire()
    die()


def die_inside(semaphore: Any, conn: Any) -> None:
    with semaphore, semaphore:
        semaphore.acquire()
        conn.send(semaphore.get_value())
        signal.pause()


def take_turns(mine: Any, other: Any, rounds: int) -> None:
    for _ in range(rounds):
        mine.acquire()
        other.release()


def wait_for_event(event: Any, conn: Any) -> None:
    conn.send("here")
    conn.send(event.wait(30))


def answer_event(here: Any, there: Any, rounds: int) -> None:
    for _ in range(rounds):
        here.wait()
        here.clear()
        there.set()


def wait_notified(condition: Any, sleeping: Any, conn: Any) -> None:
    with condition:
        sleeping.release()
        conn.send(condition.wait(30))


def wait_for_four(condition: Any, state: Any) -> None:
    with condition:
        state[0] = 0
        condition.notify()
        assert condition.wait_for(lambda: state[0] == 4, 30)


def pass_barrier(barrier: Any, conn: Any, rounds: int) -> None:
    conn.send([barrier.wait() for _ in range(rounds)])


def break_with(barrier: Any, conn: Any) -> None:
    try:
        barrier.wait(30)
    except threading.BrokenBarrierError:
        conn.send("broken")


def die_at(barrier: Any, conn: Any, rounds: int) -> None:
    for _ in range(rounds):
        barrier.wait()
    conn.send("here")
    signal.pause()


def wait_at(barrier: Any) -> None:
    barrier.wait()


def action() -> None:
    Shared.counter[0] += 1


class Shared:
    counter: Any = None


def interrupted(waitable: Any, conn: Any) -> None:
    try:
        conn.send("here")
        waitable()
    except KeyboardInterrupt:
        conn.send("interrupted")


def use_nested(box: dict[str, list[Any]], conn: Any) -> None:
    with box["locks"][0], box["locks"][1]:
        box["rest"][0].set()
    conn.send([type(part).__name__ for parts in box.values() for part in parts])


def in_time(ready: Callable[[], bool]) -> bool:
    """Look until it is so; the test's watchdog ends it if it never is."""
    while not ready():
        pass
    return True
