"""Queue, SimpleQueue and JoinableQueue do what the standard library's do."""

from __future__ import annotations

import multiprocessing.queues
import os
import pickle
import signal
import threading
import time
from queue import Empty, Full
from typing import Any

import allcores as mp
import pytest
from allcores import queues
from allcores.errors import NotPicklable
from asleep import asleep

VALUES: list[Any] = [
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2**63,
    10**50,
    True,
    False,
    None,
    1.5,
    float("inf"),
    "",
    "text",
    "ä€😀" * 40,
    "\ud800",
    b"",
    b"x" * 96,
    b"x" * 97,
    b"y" * 100_000,
    b"z" * 3_000_000,
    bytearray(b"abc"),
    [1, [2, {"three": (4,)}]],
    list(range(10_000)),
    complex(1, 2),
]


@pytest.mark.parametrize("make", [mp.Queue, mp.SimpleQueue, mp.JoinableQueue])
def test_every_value_comes_out_equal_and_of_its_type(make: Any) -> None:
    queue = make()
    for value in VALUES:
        queue.put(value)
    for value in VALUES:
        got = queue.get()
        assert got == value
        assert type(got) is type(value)
    assert queue.empty()


def test_subclasses_are_not_taken_for_their_base() -> None:
    queue = mp.Queue()
    queue.put(signal.SIGTERM)
    assert queue.get() is signal.SIGTERM


@pytest.mark.parametrize("maxsize", [1, 2, 6, 17, 1500])
def test_maxsize_is_exact(maxsize: int) -> None:
    queue = mp.Queue(maxsize)
    for _ in range(3):
        for i in range(maxsize):
            assert not queue.full()
            assert queue.qsize() == i
            queue.put(i, False)
        assert queue.full()
        with pytest.raises(Full):
            queue.put_nowait(0)
        with pytest.raises(Full):
            queue.put([0], timeout=0.01)
        for i in range(maxsize):
            assert queue.get_nowait() == i
        assert queue.empty()


def test_get_and_put_give_up_in_time() -> None:
    queue = mp.Queue(1)
    for call in (
        lambda: queue.get(False),
        lambda: queue.get(False, None),
        lambda: queue.get(False, 9),
        lambda: queue.get(True, -1),
        queue.get_nowait,
    ):
        with pytest.raises(Empty):
            call()
    start = time.monotonic()
    with pytest.raises(Empty):
        queue.get(True, 0.1)
    assert time.monotonic() - start >= 0.1
    queue.put(1)
    start = time.monotonic()
    with pytest.raises(Full):
        queue.put(2, timeout=0.1)
    assert time.monotonic() - start >= 0.1


def test_a_timeout_that_is_no_number_is_an_error() -> None:
    queue = mp.Queue(1)
    with pytest.raises(TypeError, match="timeout must be a number"):
        queue.get(timeout="soon")
    with pytest.raises(TypeError):
        mp.Queue("many")


def test_closed_queues_say_so() -> None:
    for queue in (mp.Queue(), mp.JoinableQueue()):
        queue.close()
        queue.close()
        queue.join_thread()
        assert queue.empty()
        with pytest.raises(ValueError, match="is closed"):
            queue.put(1)
        with pytest.raises(ValueError, match="is closed"):
            queue.get()
    queue = mp.Queue()
    queue.put(1)
    queue.close()
    with pytest.raises(OSError, match="is closed"):
        queue.empty()
    simple = mp.SimpleQueue()
    simple.close()
    simple.close()
    for call in (simple.empty, simple.get, lambda: simple.put(1)):
        with pytest.raises(OSError, match="is closed"):
            call()


def test_join_thread_needs_close() -> None:
    queue = mp.Queue()
    queue.cancel_join_thread()
    with pytest.raises(AssertionError, match="not closed"):
        queue.join_thread()


def test_what_cannot_travel_is_an_error_where_it_is_put() -> None:
    queue = mp.Queue(1)
    with pytest.raises(NotPicklable, match="item"):
        queue.put(threading.Lock())
    assert queue.qsize() == 0
    queue.put(1)
    assert queue.get() == 1


def test_the_hook_for_pickling_errors_is_called() -> None:
    told: list[Any] = []

    class Told(queues.Queue):
        @staticmethod
        def _on_queue_feeder_error(e: Exception, obj: Any) -> None:
            told.append(obj)

    lock = threading.Lock()
    queue: Any = Told()
    queue.put(lock)
    assert told == [lock]
    assert queue.empty()


def test_queues_are_the_standard_librarys_to_isinstance() -> None:
    assert isinstance(mp.Queue(), multiprocessing.queues.Queue)
    assert isinstance(mp.JoinableQueue(), multiprocessing.queues.JoinableQueue)
    assert isinstance(mp.SimpleQueue(), multiprocessing.queues.SimpleQueue)
    assert queues.Queue[int]


def test_task_done_and_join() -> None:
    queue = mp.JoinableQueue()
    queue.join()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()
    for i in range(600):
        queue.put(i)
    for _ in range(600):
        queue.get()
        queue.task_done()
    queue.join()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


def test_a_copy_by_pickle_is_the_same_queue() -> None:
    queue = mp.Queue()
    copy = pickle.loads(pickle.dumps(queue))
    copy.put([1])
    assert queue.get() == [1]


def test_an_interrupt_gets_through() -> None:
    class Interrupt(Exception):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupt

    def when_asleep() -> None:
        while not asleep(os.getpid()):
            pass
        signal.raise_signal(signal.SIGUSR1)

    queue = mp.Queue(1)
    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for wait in (queue.get, lambda: (queue.put(1, timeout=9), queue.put(b"2" * 500))):
            thread = threading.Thread(target=when_asleep)
            thread.start()
            with pytest.raises(Interrupt):
                wait()
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert queue.get() == 1
    assert queue.empty()


def test_threads_share_a_queue() -> None:
    queue = mp.Queue(3)
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.extend(iter(queue.get, None))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(3000):
        queue.put(i)
    for _ in threads:
        queue.put(None)
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(3000))
