"""What is the threads' own: objects themselves, a thread that is asked to stop, tails."""

from __future__ import annotations

import multiprocessing.pool
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import allcores
import allcores.dummy
import pytest
from allcores import errors
from allcores.pool import ThreadPool


@pytest.fixture
def threads() -> Iterator[Any]:
    """A pool of two threads."""
    with ThreadPool(2) as pool:
        yield pool
    pool.join()


class Spin:
    """A call that ends when it is told to, or when an exception is raised in it."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.enough = threading.Event()
        self.raised: list[str] = []
        self.ended = threading.Event()

    def __call__(self, x: int) -> int:
        if x:
            return x
        try:
            self.began.set()
            self.spin()
        except BaseException as error:
            self.raised.append(type(error).__name__)
            raise
        finally:
            self.ended.set()
        return x

    def spin(self) -> None:
        # A function of its own: where a loop begins anew, CPython 3.13 raises what it was told to
        # from outside past the handlers around the loop.
        while not self.enough.is_set():
            pass


class Deaf(Spin):
    """One that takes no notice."""

    def __call__(self, x: int) -> int:
        if x:
            return x
        while True:
            try:
                # Inside: as soon as it is known that this runs, an exception may be raised here.
                self.began.set()
                self.enough.wait()
                break
            except BaseException as error:
                self.raised.append(type(error).__name__)
        self.ended.set()
        return x


def test_objects_go_and_come_as_they_are(threads: Any) -> None:
    things = [object() for _ in range(20)]
    assert threads.apply(lambda thing: thing, (things[0],)) is things[0]
    assert threads.map(lambda thing: thing, things) == things
    assert list(threads.imap(lambda thing: thing, things)) == things
    error = LookupError("itself")

    def fail() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        threads.apply(fail)
    assert caught.value is error
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-1] == "fail"
    assert not {"_do", "perform", "_several"} & set(frames)


def test_calls_run_in_as_many_threads_as_were_asked_for() -> None:
    barrier = threading.Barrier(5)
    with ThreadPool(5) as pool:
        names = pool.map(
            lambda _: (barrier.wait(), threading.current_thread().name)[1], range(5), 1
        )
        assert len(set(names)) == 5
        assert all(name.startswith("allcores-thread-") for name in names)
        assert len(pool._pool) == pool._processes == 5
    pool.join()


def test_it_is_what_other_libraries_look_for(threads: Any) -> None:
    assert isinstance(threads, multiprocessing.pool.ThreadPool)
    assert isinstance(threads, allcores.pool.Pool)
    assert isinstance(threads.apply_async(abs, (1,)), multiprocessing.pool.AsyncResult)
    assert "state=RUN pool_size=2" in repr(threads)
    other = allcores.dummy.Pool(1)
    assert isinstance(other, ThreadPool)
    other.close()
    other.join()


def test_the_initializer_runs_in_each_thread() -> None:
    own = threading.local()
    barrier = threading.Barrier(3)

    def prepare(value: int) -> None:
        own.value = value

    def look(_: int) -> int:
        barrier.wait()
        value: int = own.value
        return value

    with ThreadPool(3, prepare, (17,)) as pool:
        assert pool.map(look, range(3), 1) == [17] * 3
    pool.join()


def test_a_call_that_overruns_is_stopped_and_its_thread_replaced(threads: Any) -> None:
    spin = Spin()
    with pytest.raises(errors.TaskTimeout, match=r"task 0 with \(0\) took longer .* 0.5 s") as late:
        threads.apply(spin, (0,), timeout=0.5)
    assert (late.value.task_index, late.value.timeout) == (0, 0.5)
    assert spin.ended.wait(60)
    assert spin.raised == ["TaskTimeout"]
    again = Spin()
    # (The others keep to it also when they get no core for some seconds.)
    found = threads.map(again, [1, 0, 2], timeout=8, on_error="skip")
    assert found == [1, 2]
    assert again.ended.wait(60)
    assert threads.map(abs, range(100), 1) == [*range(100)]


def test_a_thread_that_takes_no_notice_is_left_behind() -> None:
    deaf = Deaf()
    with ThreadPool(1) as pool:
        result = pool.apply_async(deaf, (0,))
        assert deaf.began.wait(60)
        assert result.cancel()
        with pytest.raises(errors.TaskCancelled):
            result.get()
        assert not deaf.ended.is_set()
        assert pool.apply(abs, (-1,)) == 1
        deaf.enough.set()
        assert deaf.ended.wait(60)
        assert deaf.raised == ["TaskCancelled"]
        assert pool.apply(abs, (-2,)) == 2
    pool.join()


def test_a_call_that_is_made_again_after_it_overran() -> None:
    gate = threading.Event()
    tries: list[int] = []

    def late_once(x: int) -> int:
        tries.append(x)
        if len(tries) == 1:
            gate.wait()
        return x

    with ThreadPool(1) as pool:
        assert pool.map(late_once, [5], timeout=8, retries=1) == [5]
        gate.set()
        assert tries == [5, 5]
    pool.join()


def test_a_stopped_call_leaves_nothing_for_the_interpreter_to_look_for() -> None:
    """Else CPython 3.11 and 3.12 hang where they trace, as a debugger and coverage do."""
    program = """
import sys, threading, time
from allcores import errors
from allcores.pool import ThreadPool

def busy():
    while True:
        time.sleep(0.01)

with ThreadPool(2) as pool:
    before = set(threading.enumerate())
    for _ in range(3):
        try:
            pool.apply(busy, timeout=0.1)
        except errors.TaskTimeout:
            pass
    calls = [pool.apply_async(busy) for _ in range(2)]
    while any(not worker.lease.tag for worker in pool._line.workers):
        time.sleep(0.001)
    for call in calls:
        call.cancel()
    while any(thread in before and thread.name.startswith("allcores-thread")
              for thread in threading.enumerate()):
        time.sleep(0.001)
    print(pool.apply(abs, (-1,)))

sys.settrace(lambda *_: None)
(lambda: None)()
print("traced")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["1", "traced"], "")


def test_the_clock_stops_with_the_last_call_that_is_timed(threads: Any) -> None:
    assert threads.map(abs, range(10), timeout=3600) == [*range(10)]
    for thread in threading.enumerate():
        if thread.name == "allcores-clock":
            thread.join(60)
            assert not thread.is_alive()
    assert not threads._line.timed
    spin = Spin()
    with pytest.raises(errors.TaskTimeout):
        threads.apply(spin, (0,), timeout=0.5)
    assert spin.ended.wait(60)


def test_terminate_lets_a_call_that_runs_come_to_its_end() -> None:
    spin = Spin()
    with ThreadPool(1) as pool:
        result = pool.apply_async(spin, (0,))
        assert spin.began.wait(60)
    with pytest.raises(errors.TaskCancelled):
        result.get()
    assert not spin.ended.is_set()
    spin.enough.set()
    pool.join()
    assert spin.raised == []


def test_idle_threads_take_over_what_a_busy_one_has_not_begun() -> None:
    """With all items in one task, two threads can only meet when one gives some away."""
    barrier = threading.Barrier(2)

    def meet(x: int) -> int:
        if x in (0, 99):
            barrier.wait()
        time.sleep(0.001)
        return x

    with ThreadPool(2) as pool:
        assert pool.map(meet, range(100), 100) == [*range(100)]
    pool.join()


def test_a_callback_may_make_the_next_call(threads: Any) -> None:
    done = threading.Event()
    found: list[int] = []

    def last(value: int) -> None:
        found.append(value)
        done.set()

    def first(value: int) -> None:
        found.append(value)
        threads.apply_async(abs, (-2,), callback=last)

    threads.apply_async(abs, (-1,), callback=first)
    assert done.wait(60)
    assert found == [1, 2]
