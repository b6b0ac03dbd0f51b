"""Each exception that the documentation promises is raised, and is of the promised class."""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import allcores
import pytest
from allcores import connection, shared_memory


def full_queue() -> None:
    full = allcores.Queue(1)
    full.put(1)
    full.put_nowait(2)


def closed_queue(act: str) -> None:
    closed = allcores.Queue()
    closed.close()
    getattr(closed, act)(*([1] if act == "put" else []))


def too_much_done() -> None:
    allcores.JoinableQueue().task_done()


def broken_barrier() -> None:
    barrier = allcores.Barrier(2)
    barrier.abort()
    barrier.wait()


def too_long_for_a_barrier() -> None:
    allcores.Barrier(2).wait(0)


def above_the_bound() -> None:
    allcores.BoundedSemaphore(1).release()


def process_twice() -> None:
    process = allcores.Process(target=abs, args=(1,))
    process.start()
    try:
        process.start()
    finally:
        process.join()


def joined_too_early() -> None:
    allcores.Process(target=abs).join()


def closed_while_it_runs() -> None:
    event = allcores.Event()
    process = allcores.Process(target=event.wait)
    process.start()
    try:
        process.close()
    finally:
        event.set()
        process.join()


def used_after_close() -> None:
    process = allcores.Process(target=abs, args=(1,))
    process.start()
    process.join()
    process.close()
    process.is_alive()


def start_method_twice() -> None:
    allcores.get_start_method()
    allcores.set_start_method("fork")


@contextmanager
def pipe() -> Iterator[Any]:
    one, other = allcores.Pipe()
    with one, other:
        yield one, other


def end_of_file() -> None:
    with pipe() as (one, other):
        other.close()
        one.recv()


def longer_than_allowed() -> None:
    with pipe() as (one, other):
        other.send_bytes(b"12345")
        one.recv_bytes(4)


def buffer_too_short() -> None:
    with pipe() as (one, other):
        other.send_bytes(b"12345")
        one.recv_bytes_into(bytearray(3))


def negative_offset() -> None:
    with pipe() as (one, _):
        one.send_bytes(b"123", -1)


def wrong_key() -> None:
    with connection.Listener(authkey=b"right") as listener:

        def accept() -> None:
            with pytest.raises(allcores.AuthenticationError):
                listener.accept()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            connection.Client(listener.address, authkey=b"wrong")
        finally:
            thread.join()


def pool_of_none() -> None:
    allcores.Pool(0)


def joined_while_it_runs() -> None:
    with allcores.pool.ThreadPool(1) as pool:
        pool.join()


def closed_pool() -> None:
    with allcores.pool.ThreadPool(1) as pool:
        pool.close()
        pool.apply(abs, (1,))


def with_pool(act: Callable[[Any, Any], object]) -> Callable[[], None]:
    """Return what acts on a pool whose one worker is busy until the end."""

    def act_on_it() -> None:
        gate = allcores.Event()
        with allcores.get_context("fork").Pool(1) as pool:
            try:
                act(pool, gate)
            finally:
                gate.set()

    act_on_it.__name__ = act.__name__
    return act_on_it


def result_too_late(pool: Any, gate: Any) -> None:
    pool.apply_async(gate.wait).get(timeout=0)


def next_too_late(pool: Any, gate: Any) -> None:
    pool.imap(lambda _: gate.wait(), [1]).next(timeout=0)


def success_asked_too_early(pool: Any, gate: Any) -> None:
    pool.apply_async(gate.wait).successful()


def no_items_left(pool: Any, gate: Any) -> None:
    pool.imap(abs, []).next()


def not_started() -> None:
    allcores.managers.SyncManager().list()


def started_twice() -> None:
    with allcores.Manager() as manager:
        manager.start()


def unknown_typecode() -> None:
    allcores.Value("no such code", 1)


def bad_lock() -> None:
    allcores.Value("i", 1, lock="no lock")


def no_such_block() -> None:
    shared_memory.SharedMemory("allcores-no-such-block")


def not_in_the_list() -> None:
    values = shared_memory.ShareableList([1, 2])
    try:
        values.index(3)
    finally:
        values.shm.close()
        values.shm.unlink()


def executor_of_none() -> None:
    allcores.ProcessPoolExecutor(0)


def chunks_of_none() -> None:
    with allcores.ProcessPoolExecutor(1) as executor:
        executor.map(abs, [1], chunksize=0)


def after_shutdown() -> None:
    executor = allcores.ProcessPoolExecutor(1)
    executor.shutdown()
    executor.submit(abs, 1)


def replaced_under_fork() -> None:
    allcores.ProcessPoolExecutor(1, allcores.get_context("fork"), max_tasks_per_child=1)


def result_of_a_future_too_late() -> None:
    gate = allcores.Event()
    with allcores.ProcessPoolExecutor(1) as executor:
        try:
            executor.submit(gate.wait).result(timeout=0)
        finally:
            gate.set()


def result_of_a_cancelled_future() -> None:
    gate = allcores.Event()
    with allcores.ProcessPoolExecutor(1) as executor:
        first = executor.submit(gate.wait)
        while not first.running():
            time.sleep(0.001)
        waiting = executor.submit(abs, 1)
        waiting.cancel()
        gate.set()
        waiting.result()


def worker_killed() -> None:
    with allcores.ProcessPoolExecutor(1) as executor:
        executor.submit(exit_at_once).result()


def exit_at_once() -> None:
    import os

    os._exit(3)


TABLE: list[tuple[Callable[[], object], type[BaseException]]] = [
    (lambda: allcores.get_context("no such method"), ValueError),
    (lambda: allcores.set_start_method("no such method", force=True), ValueError),
    (start_method_twice, RuntimeError),
    (lambda: allcores.get_context("fork").set_start_method("spawn"), ValueError),
    (lambda: allcores.set_forkserver_preload([1]), TypeError),
    (process_twice, AssertionError),
    (joined_too_early, AssertionError),
    (closed_while_it_runs, ValueError),
    (used_after_close, ValueError),
    (lambda: allcores.Queue().get_nowait(), queue.Empty),
    (lambda: allcores.Queue().get(timeout=0.001), queue.Empty),
    (full_queue, queue.Full),
    (lambda: closed_queue("put"), ValueError),
    (lambda: closed_queue("get"), ValueError),
    (lambda: allcores.Queue().join_thread(), AssertionError),
    (too_much_done, ValueError),
    (lambda: allcores.Lock().release(), ValueError),
    (lambda: allcores.RLock().release(), AssertionError),
    (above_the_bound, ValueError),
    (lambda: allcores.Condition().wait(), AssertionError),
    (lambda: allcores.Condition().notify(), AssertionError),
    (broken_barrier, threading.BrokenBarrierError),
    (too_long_for_a_barrier, threading.BrokenBarrierError),
    (end_of_file, EOFError),
    (longer_than_allowed, OSError),
    (buffer_too_short, multiprocessing.BufferTooShort),
    (negative_offset, ValueError),
    (wrong_key, multiprocessing.AuthenticationError),
    (lambda: connection.Listener(family="AF_PIPE"), ValueError),
    (pool_of_none, ValueError),
    (lambda: allcores.Pool(1, initializer="not callable"), TypeError),
    (joined_while_it_runs, ValueError),
    (closed_pool, ValueError),
    (with_pool(result_too_late), multiprocessing.TimeoutError),
    (with_pool(next_too_late), multiprocessing.TimeoutError),
    (with_pool(success_asked_too_early), ValueError),
    (with_pool(no_items_left), StopIteration),
    (not_started, (AssertionError, multiprocessing.ProcessError)),
    (started_twice, multiprocessing.ProcessError),
    (unknown_typecode, (TypeError, ValueError)),
    (bad_lock, AttributeError),
    (no_such_block, FileNotFoundError),
    (lambda: shared_memory.SharedMemory(create=True, size=0), ValueError),
    (not_in_the_list, ValueError),
    (executor_of_none, ValueError),
    (chunks_of_none, ValueError),
    (replaced_under_fork, ValueError),
    (after_shutdown, RuntimeError),
    (result_of_a_future_too_late, TimeoutError),
    (result_of_a_cancelled_future, CancelledError),
    (worker_killed, BrokenProcessPool),
]


@pytest.mark.parametrize(("act", "error"), TABLE, ids=lambda one: getattr(one, "__name__", ""))
def test_documented_exception(act: Callable[[], object], error: type[BaseException]) -> None:
    """The call raises what the documentation says, and tells more than its name."""
    with pytest.raises(error):
        act()


def test_a_short_buffer_loses_nothing() -> None:
    """The message that didn't fit is in the exception."""
    with pipe() as (one, other):
        other.send_bytes(b"12345")
        with pytest.raises(allcores.BufferTooShort) as caught:
            one.recv_bytes_into(bytearray(3))
    assert caught.value.args[0] == b"12345"
