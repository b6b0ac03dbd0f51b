"""Ctrl-C gets through to whoever waits, and leaves the object usable."""

from __future__ import annotations

import functools
import os
import signal

import parts
import pytest
from allcores.sync import Barrier, Condition, Event, Lock, RLock, Semaphore
from asleep import asleep


def held(lock):
    lock.acquire()
    return lock.acquire


def in_condition(condition):
    with condition:
        try:
            condition.wait()
        finally:
            assert condition._lock._is_mine()


@pytest.mark.parametrize(
    "make",
    [
        lambda: held(Lock()),
        lambda: Semaphore(0).acquire,
        lambda: Semaphore(0).__enter__,
        lambda: Event().wait,
        lambda: Barrier(2).wait,
        lambda: functools.partial(in_condition, Condition()),
        lambda: functools.partial(in_condition, Condition(Lock())),
    ],
    ids=["lock", "semaphore", "with semaphore", "event", "barrier", "condition", "lock condition"],
)
def test_ctrl_c_ends_a_wait(ctx, start, make):
    here, there = ctx.Pipe()
    child = start(parts.interrupted, make(), there)
    assert here.recv() == "here"
    parts.in_time(lambda: asleep(child.pid))
    os.kill(child.pid, signal.SIGINT)
    assert here.recv() == "interrupted"
    child.join()
    assert child.exitcode == 0


def test_a_condition_is_usable_after_ctrl_c(ctx, start):
    condition = Condition()
    here, there = ctx.Pipe()
    child = start(parts.interrupted, functools.partial(in_condition, condition), there)
    assert here.recv() == "here"
    parts.in_time(lambda: condition._sleeping_count.get_value() == 1)
    parts.in_time(lambda: asleep(child.pid))
    os.kill(child.pid, signal.SIGINT)
    assert here.recv() == "interrupted"
    with condition:
        assert condition._sleeping_count.get_value() == 0
        condition.notify_all()
        assert condition.wait(0.01) is False


def test_a_barrier_forgets_who_was_interrupted(ctx, start):
    barrier = Barrier(2)
    here, there = ctx.Pipe()
    child = start(parts.interrupted, barrier.wait, there)
    assert here.recv() == "here"
    parts.in_time(lambda: barrier.n_waiting == 1 and asleep(child.pid))
    os.kill(child.pid, signal.SIGINT)
    assert here.recv() == "interrupted"
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_an_rlock_can_be_taken_after_ctrl_c(ctx, start):
    lock = RLock()
    here, there = ctx.Pipe()
    with lock:
        child = start(parts.interrupted, lock.acquire, there)
        assert here.recv() == "here"
        parts.in_time(lambda: asleep(child.pid))
        os.kill(child.pid, signal.SIGINT)
        assert here.recv() == "interrupted"
    start(parts.count, lock, [0], 10).join()
    assert not lock.locked()
