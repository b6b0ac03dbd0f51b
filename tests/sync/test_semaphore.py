"""Semaphore and BoundedSemaphore: units are counted, and `with` gives back what the dead took."""

from __future__ import annotations

import threading

import allcores as mp
import parts
import pytest
from allcores import _core
from allcores.sync import BoundedSemaphore, Semaphore


@pytest.mark.parametrize("kind", [Semaphore, BoundedSemaphore])
def test_units_are_counted(kind):
    semaphore = kind(2)
    assert semaphore.get_value() == 2
    assert semaphore.acquire() is True
    assert semaphore.acquire(timeout=5) is True
    assert (semaphore.get_value(), semaphore.locked()) == (0, True)
    assert semaphore.acquire(False) is False
    assert semaphore.acquire(True, 0.01) is False
    assert semaphore.acquire(timeout=-3) is False
    semaphore.release()
    with semaphore as taken:
        assert taken is True
        assert semaphore.get_value() == 0
    assert semaphore.get_value() == 1


def test_only_a_bounded_one_has_a_largest_value():
    semaphore, bounded = Semaphore(1), BoundedSemaphore(1)
    semaphore.release()
    assert semaphore.get_value() == 2
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()
    assert repr(semaphore) == "<Semaphore(value=2)>"
    assert repr(bounded) == "<BoundedSemaphore(value=1, maxvalue=1)>"
    assert isinstance(bounded, Semaphore)


@pytest.mark.parametrize("bad", [-1, 2**31, 2**40])
def test_a_value_out_of_range_is_an_error(bad):
    with pytest.raises(ValueError, match="from 0 to 2147483647"):
        Semaphore(bad)


def test_turns_between_processes(start):
    here, there = Semaphore(0), Semaphore(0)
    child = start(parts.take_turns, there, here, 2000)
    for _ in range(2000):
        there.release()
        here.acquire()
    child.join()
    assert (here.get_value(), there.get_value()) == (0, 0)


def test_every_sleeper_gets_its_unit(start):
    semaphore, done = Semaphore(0), Semaphore(0)
    children = [start(parts.take_turns, semaphore, done, 50) for _ in range(2)]
    threads = [
        threading.Thread(target=parts.take_turns, args=(semaphore, done, 50)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for _ in range(250):
        semaphore.release()
    for _ in range(250):
        assert done.acquire()
    for thread in threads:
        thread.join()
    for child in children:
        child.join()
    assert semaphore.get_value() == 0


def test_what_a_killed_process_took_by_with_comes_back(ctx, start):
    semaphore = BoundedSemaphore(5)
    here, there = ctx.Pipe()
    child = start(parts.die_inside, semaphore, there)
    assert here.recv() == 2
    child.kill()
    child.join()
    _core.recover()
    # Two were taken by `with`; the third one by acquire(), which anybody may release.
    assert parts.in_time(lambda: semaphore.get_value() == 4)


def test_more_holders_than_fit_into_the_block(nothing_left):
    semaphore = Semaphore(700)
    for _ in range(700):
        semaphore.__enter__()
    assert semaphore.locked()
    for _ in range(700):
        semaphore.__exit__()
    assert semaphore.get_value() == 700


def test_threads_hold_units_each(ctx):
    semaphore = BoundedSemaphore(3)
    most, inside = [], []

    def work():
        for _ in range(300):
            with semaphore:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 3
    assert semaphore.get_value() == 3


def test_it_is_what_the_package_makes():
    assert type(mp.Semaphore(3)) is Semaphore
    assert type(mp.BoundedSemaphore()) is BoundedSemaphore
    assert mp.Semaphore().get_value() == 1
