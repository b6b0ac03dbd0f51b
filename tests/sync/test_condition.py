"""Condition: the right ones wake, in order, and nobody is lost."""

from __future__ import annotations

import threading

import allcores as mp
import parts
import pytest
from allcores.sync import Condition, Lock, RLock, Semaphore


@pytest.fixture(params=[Lock, RLock, None])
def condition(request):
    return Condition(request.param() if request.param else None)


class Waiter(threading.Thread):
    """A thread that waits, and says in which order it went on."""

    def __init__(self, condition, order, timeout=None):
        super().__init__()
        self.condition, self.order, self.timeout = condition, order, timeout
        with condition:
            before = condition._sleeping_count.get_value()
            self.start()
        parts.in_time(lambda: condition._sleeping_count.get_value() > before)

    def run(self):
        with self.condition:
            self.result = self.condition.wait(self.timeout)
            self.order.append(self)


def test_who_waits_longest_is_notified_first(condition):
    order = []
    waiters = [Waiter(condition, order) for _ in range(5)]
    for number in range(5):
        with condition:
            condition.notify()
        waiters[number].join()
    assert order == waiters
    assert all(waiter.result is True for waiter in waiters)


def test_notify_wakes_no_more_than_asked(condition):
    order = []
    waiters = [Waiter(condition, order) for _ in range(6)]
    with condition:
        condition.notify(2)
    for waiter in waiters[:2]:
        waiter.join()
    with condition:
        condition.notify(0)
        assert len(order) == 2
        condition.notify(n=100)
        condition.notify(3)
    for waiter in waiters:
        waiter.join()
    assert set(order) == set(waiters)


def test_notify_all_wakes_processes_and_threads(ctx, start, condition):
    sleeping = Semaphore(0)
    pipes = [ctx.Pipe() for _ in range(2)]
    for _, there in pipes:
        start(parts.wait_notified, condition, sleeping, there)
    for _ in pipes:
        sleeping.acquire()
    # They have said so with the lock held, so they wait by the time that we have it.
    waiters = [Waiter(condition, [], 30) for _ in range(2)]
    with condition:
        condition.notify_all()
    assert [here.recv() for here, _ in pipes] == [True, True]
    for waiter in waiters:
        waiter.join()
        assert waiter.result is True


def test_the_time_of_a_wait_ends(condition):
    with condition:
        assert condition.wait(0) is False
        assert condition.wait(0.01) is False
        assert condition.wait(-1) is False
        condition.notify_all()
        assert condition.wait_for(lambda: 0, timeout=0.01) == 0
        assert condition.wait_for(lambda: "yes", timeout=0) == "yes"
    assert not condition.locked()


def test_wait_for_a_state(ctx, start):
    condition, state = Condition(), ctx.RawArray("i", [-1])
    child = start(parts.wait_for_four, condition, state)
    with condition:
        assert condition.wait_for(lambda: state[0] == 0)
    for _ in range(4):
        with condition:
            state[0] += 1
            condition.notify()
    child.join()
    assert child.exitcode == 0


def test_a_wait_lets_go_of_an_rlock_however_often_it_was_taken():
    condition = Condition()

    def notify():
        with condition:
            condition.notify()

    with condition, condition, condition:
        other = threading.Thread(target=notify)
        other.start()
        assert condition.wait() is True
        assert condition._lock._count() == 3
    other.join()
    assert not condition.locked()


def test_without_the_lock_it_is_an_error(condition):
    for method in (condition.wait, condition.notify, condition.notify_all):
        with pytest.raises(AssertionError, match="lock this thread does not hold"):
            method()
    with pytest.raises(AssertionError):
        condition.wait_for(lambda: False)


def test_only_our_locks_will_do():
    with pytest.raises(TypeError, match="allcores Lock or RLock, not lock"):
        Condition(threading.Lock())


def test_dead_waiters_are_passed_over(ctx, start, condition):
    sleeping = Semaphore(0)
    pipes = [ctx.Pipe() for _ in range(3)]
    children = []
    for _, there in pipes:
        children.append(start(parts.wait_notified, condition, sleeping, there))
        sleeping.acquire()
    with condition:
        # The two that wait longest.
        for child in children[:2]:
            child.kill()
            child.join()
        condition.notify()
    assert pipes[2][0].recv() is True


def test_a_notification_whose_receiver_dies_goes_on(ctx, start, condition):
    sleeping = Semaphore(0)
    pipes = [ctx.Pipe() for _ in range(2)]
    children = []
    for _, there in pipes:
        children.append(start(parts.wait_notified, condition, sleeping, there))
        sleeping.acquire()
    with condition:
        condition.notify()
        # It can't have the lock back yet.
        children[0].kill()
        children[0].join()
    assert pipes[1][0].recv() is True


def test_more_waiters_than_fit_into_the_block(nothing_left):
    condition, order = Condition(Lock()), []
    waiters = [Waiter(condition, order) for _ in range(60)]
    assert repr(condition).endswith(", 60)>")
    with condition:
        condition.notify_all()
    for waiter in waiters:
        waiter.join()
    assert len(order) == 60


def test_lock_and_condition_travel_together(ctx, start):
    lock = Lock()
    condition = Condition(lock)
    box = {"locks": [mp.Lock(), mp.Lock()], "rest": [mp.Event(), condition, lock]}
    here, there = ctx.Pipe()
    start(parts.use_nested, box, there)
    assert here.recv() == ["Lock", "Lock", "Event", "Condition", "Lock"]
    assert box["rest"][0].is_set()
