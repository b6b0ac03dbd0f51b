"""Locks that the standard library has made for fork go to pools of every start method."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from typing import Any

import allcores
import pytest
from allcores import errors

METHODS = ["fork", "spawn", "forkserver"]
got: Any = None


def take(*things: Any) -> None:
    global got
    got = things


def use(item: int) -> tuple[int, bool]:
    """Take and give back each of them; add one to the value."""
    lock, rlock, semaphore, bounded, condition, event, value = got
    with lock, rlock, rlock, semaphore, bounded:
        assert not lock.acquire(False)
    with condition:
        condition.notify_all()
    with value.get_lock():
        value.value += 1
    # As long as nobody else is in there.
    with lock, pytest.raises(ValueError, match=r"too many times|released"):
        bounded.release()
    return item, event.is_set()


def everything() -> tuple[Any, ...]:
    std = multiprocessing.get_context("fork")
    event = std.Event()
    event.set()
    return (
        std.Lock(),
        std.RLock(),
        std.Semaphore(2),
        std.BoundedSemaphore(3),
        std.Condition(),
        event,
        std.Value("i", 0),
    )


@pytest.mark.parametrize("method", METHODS)
def test_initargs(method: str) -> None:
    """What the standard library made works in the workers, and it is the same lock for all."""
    things = everything()
    lock, value = things[0], things[-1]
    with allcores.get_context(method).Pool(2, take, things) as pool:
        assert pool.map(use, range(20), chunksize=1) == [(item, True) for item in range(20)]
        with value:
            assert value.value == 20
        with lock:
            waiting = pool.apply_async(use, (1,))
            with pytest.raises(multiprocessing.TimeoutError):
                waiting.get(timeout=0.1)
        assert waiting.get() == (1, True)
    with allcores.ProcessPoolExecutor(
        1, allcores.get_context(method), initializer=take, initargs=things
    ) as executor:
        assert executor.submit(use, 2).result() == (2, True)


def wait_for_it(condition: Any, ready: Any) -> None:
    with condition:
        ready.set()
        assert condition.wait(30)


def test_a_condition_wakes_who_waits_over_there() -> None:
    """An adopted condition notifies across the processes, also by the methods of its lock."""
    condition, ready = multiprocessing.get_context("fork").Condition(), allcores.Event()
    child = allcores.get_context("spawn").Process(target=wait_for_it, args=(condition, ready))
    child.start()
    ready.wait()
    condition.acquire()
    condition.notify()
    condition.release()
    child.join()
    assert child.exitcode == 0


def put(item: int) -> None:
    queue, simple = got
    queue.put(item)
    simple.put(-item)


@pytest.mark.parametrize("method", METHODS)
def test_queues(method: str) -> None:
    """What workers put into queues of the standard library's arrives, and what this does."""
    std = multiprocessing.get_context("fork")
    queue, simple = std.JoinableQueue(), std.SimpleQueue()
    with allcores.get_context(method).Pool(2, take, (queue, simple)) as pool:
        pool.map(put, range(4), chunksize=1)
        assert sorted(queue.get(timeout=150) for _ in range(4)) == [0, 1, 2, 3]
        assert sorted(simple.get() for _ in range(4)) == [-3, -2, -1, 0]
        queue.put("here")
        assert queue.get(timeout=150) == "here"
    for _ in range(5):
        queue.task_done()
    queue.join()
    queue.close()
    queue.join_thread()


def test_a_queue_in_use_is_refused() -> None:
    """Its thread keeps the lock with which it has begun."""
    queue = multiprocessing.get_context("fork").Queue()
    queue.put(1)
    try:
        with pytest.raises(errors.NotPicklable, match="in use already"):
            allcores.get_context("spawn").Pool(1, take, (queue,))
    finally:
        assert queue.get() == 1
        queue.close()
        queue.join_thread()


def test_a_barrier() -> None:
    barrier = multiprocessing.get_context("fork").Barrier(2)
    child = allcores.get_context("spawn").Process(target=barrier.wait, args=(30,))
    child.start()
    barrier.wait(30)
    child.join()
    assert child.exitcode == 0


def test_one_that_somebody_holds_is_refused() -> None:
    lock = multiprocessing.get_context("fork").Lock()
    with lock, pytest.raises(errors.NotPicklable, match="while somebody holds it"):
        allcores.get_context("spawn").Pool(1, take, (lock,))


def test_one_that_a_fork_may_have_is_refused() -> None:
    """Were it replaced here, the fork would go on with the old one."""
    lock = multiprocessing.get_context("fork").Lock()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(errors.NotPicklable, match="a fork may have it"):
        allcores.get_context("spawn").Pool(1, take, (lock,))


def test_importing_the_package_imports_no_more_for_it() -> None:
    """What isn't needed before there is a lock isn't imported."""
    program = "import allcores, sys; assert 'multiprocessing.util' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=150)
