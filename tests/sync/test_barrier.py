"""Barrier: all come, or all hear that it broke."""

from __future__ import annotations

import threading

import parts
import pytest
from allcores.sync import Barrier


def run(*functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def test_rounds_among_processes(ctx, start):
    barrier = Barrier(3)
    here, there = ctx.Pipe()
    for _ in range(2):
        start(parts.pass_barrier, barrier, there, 200)
    mine = [barrier.wait() for _ in range(200)]
    rounds = zip(mine, here.recv(), here.recv(), strict=True)
    assert all(sorted(indexes) == [0, 1, 2] for indexes in rounds)
    assert (barrier.n_waiting, barrier.broken, barrier.parties) == (0, False, 3)


def test_the_action_runs_once_before_anybody_goes_on(ctx, start):
    parts.Shared.counter = ctx.RawArray("i", 1)
    done = []
    barrier = Barrier(3, lambda: done.append(barrier.n_waiting))
    seen = []
    threads = run(*[lambda: (barrier.wait(), seen.append(len(done)))] * 2)
    barrier.wait()
    for thread in threads:
        thread.join()
    assert (len(done), seen) == (1, [1, 1])


def test_a_failing_action_breaks_it():
    def fail():
        raise RuntimeError("on purpose")

    barrier, broken = Barrier(2, fail), []

    def other():
        try:
            barrier.wait()
        except (threading.BrokenBarrierError, RuntimeError) as error:
            broken.append(type(error))

    threads = run(other, other)
    for thread in threads:
        thread.join()
    assert set(broken) == {RuntimeError, threading.BrokenBarrierError}
    assert barrier.broken


def test_a_wait_that_times_out_breaks_it_for_all(ctx, start):
    barrier = Barrier(3, timeout=150)
    here, there = ctx.Pipe()
    start(parts.break_with, barrier, there)
    parts.in_time(lambda: barrier.n_waiting == 1)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.01)
    assert here.recv() == "broken"
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


def test_the_usual_timeout_is_the_barriers():
    barrier = Barrier(2, timeout=0.01)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


def test_abort_and_reset(ctx, start):
    barrier = Barrier(2)
    here, there = ctx.Pipe()
    for end in (barrier.abort, barrier.reset):
        start(parts.break_with, barrier, there)
        parts.in_time(lambda: barrier.n_waiting == 1)
        end()
        assert here.recv() == "broken"
        assert barrier.broken == (end == barrier.abort)
        barrier.reset()
        assert not barrier.broken
    start(parts.wait_at, barrier)
    barrier.wait()


def test_a_party_killed_while_it_waits_breaks_it(start):
    barrier = Barrier(3)
    child = start(parts.wait_at, barrier)
    parts.in_time(lambda: barrier.n_waiting == 1)
    child.kill()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()


def test_a_party_killed_between_two_rounds_breaks_it(ctx, start):
    barrier = Barrier(2)
    here, there = ctx.Pipe()
    child = start(parts.die_at, barrier, there, 3)
    for _ in range(3):
        barrier.wait()
    here.recv()
    child.kill()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    # Then it is as good as new.
    barrier.reset()
    other = start(parts.wait_at, barrier)
    barrier.wait()
    other.join()
    assert not barrier.broken


def test_a_party_that_ends_in_the_ordinary_way_breaks_nothing(start):
    barrier = Barrier(2)
    for _ in range(3):
        child = start(parts.wait_at, barrier)
        barrier.wait()
        child.join()
    assert not barrier.broken


def test_more_threads_than_parties(nothing_left):
    barrier, passed = Barrier(2), []

    def wait():
        try:
            while True:
                passed.append(barrier.wait())
                if len(passed) > 1000:
                    barrier.abort()
        except threading.BrokenBarrierError:
            pass

    threads = run(*[wait] * 4)
    for thread in threads:
        thread.join()
    # Each round lets one go as the first and one as the second, whenever they get to look.
    assert passed.count(0) == passed.count(1)


@pytest.mark.parametrize("bad", [0, -1, 65536])
def test_a_number_of_parties_out_of_range_is_an_error(bad):
    with pytest.raises(ValueError, match="parties must be from 1 to 65535"):
        Barrier(bad)


def test_it_is_a_threading_barrier_for_who_asks():
    barrier = Barrier(1)
    assert isinstance(barrier, threading.Barrier)
    assert "waiters=0/1" in repr(barrier)
    barrier.abort()
    assert "broken" in repr(barrier)
