"""Lock and RLock: one at a time, and nobody waits for the dead."""

from __future__ import annotations

import pickle
import threading

import allcores as mp
import parts
import pytest
from allcores import errors
from allcores.sync import Lock, RLock


@pytest.fixture(params=[Lock, RLock])
def kind(request):
    return request.param


def test_one_at_a_time_among_processes_and_threads(ctx, start, kind):
    lock, counter = kind(), ctx.RawArray("q", 1)
    children = [start(parts.count_in_threads, lock, counter, 2000, 2) for _ in range(2)]
    parts.count_in_threads(lock, counter, 2000, 2)
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert counter[0] == 12000
    assert not lock.locked()


def test_acquire_says_whether_it_has_it(kind):
    lock = kind()
    assert lock.acquire() is True
    assert lock.locked()
    results = []
    other = threading.Thread(
        target=lambda: results.extend(
            [lock.acquire(False), lock.acquire(block=0), lock.acquire(True, 0.01)]
            + [lock.acquire(timeout=-1), lock.acquire(False, 5)]
        )
    )
    other.start()
    other.join()
    assert results == [False] * 5
    assert lock.release() is None
    assert not lock.locked()


def test_a_lock_may_be_released_by_anybody(start):
    lock = Lock()
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert not lock.locked()
    lock.acquire()
    start(parts.release, lock).join()
    assert not lock.locked()


def test_an_rlock_counts_and_belongs_to_its_thread(ctx, start):
    lock = RLock()
    assert [lock.acquire(), lock.acquire(False), lock.acquire(timeout=0)] == [True] * 3
    here, there = ctx.Pipe()
    start(parts.release_not_mine, lock, there)
    assert here.recv() == "not mine"
    failures = []

    def release():
        try:
            lock.release()
        except AssertionError as error:
            failures.append(error)

    thread = threading.Thread(target=release)
    thread.start()
    thread.join()
    assert len(failures) == 1
    for _ in range(3):
        assert lock.locked()
        lock.release()
    assert not lock.locked()
    with pytest.raises(AssertionError, match="does not hold"):
        lock.release()


def test_releasing_what_nobody_holds_is_an_error():
    lock = Lock()
    with pytest.raises(ValueError, match="nobody holds"):
        lock.release()
    with lock:
        pass
    with pytest.raises(ValueError, match="nobody holds"):
        lock.release()


@pytest.mark.parametrize("bad", ["1", object(), [], 1j])
def test_a_timeout_that_is_no_number_is_an_error(kind, bad):
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None"):
        kind().acquire(True, bad)


def test_the_lock_of_a_killed_process_goes_to_who_waits(start, kind):
    lock = kind()
    child = start(parts.die_with, lock)
    child.join()
    # No timeout: the watchdog would notice.
    assert lock.acquire()
    assert lock.owner_died
    lock.release()
    with lock:
        assert lock.owner_died
        lock.mark_consistent()
        assert not lock.owner_died
    with lock:
        assert not lock.owner_died
    with pytest.raises(ValueError, match="acquire it first"):
        lock.mark_consistent()


def test_a_waiter_has_the_lock_soon_after_its_holder_is_killed(ctx, start):
    lock, event = Lock(), mp.Event()
    holder = start(_hold, lock, event)
    event.wait()
    waiting = threading.Thread(target=lock.acquire)
    waiting.start()
    holder.kill()
    waiting.join()
    assert lock.owner_died


def _hold(lock, event):
    lock.acquire()
    event.set()
    threading.Event().wait()


def test_a_child_of_fork_does_not_own_what_its_parent_holds():
    lock = RLock()
    with lock:
        child = mp.get_context("fork").Process(target=_expect_foreign, args=(lock,))
        child.start()
        child.join()
    assert child.exitcode == 0


def _expect_foreign(lock):
    assert not lock.acquire(False)
    assert "SomeOtherProcess" in repr(lock)


def test_repr_says_who_holds_it():
    lock, rlock = Lock(), RLock()
    assert repr(lock) == "<Lock(owner=None)>"
    assert repr(rlock) == "<RLock(None, 0)>"
    with lock, rlock, rlock:
        assert repr(lock) == "<Lock(owner=MainProcess)>"
        assert repr(rlock) == "<RLock(MainProcess, 2)>"
        seen = []
        thread = threading.Thread(target=lambda: seen.extend([repr(lock), repr(rlock)]))
        thread.start()
        thread.join()
    assert seen == ["<Lock(owner=SomeOtherThread)>", "<RLock(SomeOtherThread, nonzero)>"]


def test_with_gives_what_acquire_does(kind):
    with kind() as taken:
        assert taken is True


class Named(Lock):
    """A subclass that programs write."""

    name = "plain"


def test_a_subclass_and_its_attributes_travel():
    lock = Named()
    lock.name = "mine"
    copy = pickle.loads(pickle.dumps(lock))
    assert (type(copy), copy.name) == (Named, "mine")
    with lock:
        assert copy.locked()


def test_a_handle_of_another_sort_or_a_freed_lock_is_refused():
    handle = Lock().handle()
    with pytest.raises(errors.StaleHandle):
        Lock.from_handle(*handle)
    lock = Lock()
    with pytest.raises(errors.StaleHandle):
        RLock.from_handle(*lock.handle())


def test_locks_go_when_nobody_has_them(nothing_left, kind):
    for _ in range(100):
        with kind():
            pass


def _take(lock):
    lock.acquire()


def test_release_for_a_holder_that_has_ended(ctx):
    """Who was meant to release a lock for its holder may do so after that has ended, once."""
    lock = ctx.Lock()
    child = ctx.Process(target=_take, args=(lock,))
    child.start()
    child.join()
    lock.release()
    with pytest.raises(ValueError, match="nobody holds"):
        lock.release()
    with lock:
        assert lock.owner_died
    with pytest.raises(ValueError, match="nobody holds"):
        lock.release()
