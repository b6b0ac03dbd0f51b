"""`container.lock`: several operations that nobody else sees half done."""

from __future__ import annotations

import os
import pickle
import signal
import threading

import allcores as mp
import pytest

METHODS = ["fork", "spawn", "forkserver"]
KINDS = {
    "list": lambda: mp.shared.list([0, 0]),
    "dict": lambda: mp.shared.dict({0: 0, 1: 0}),
}


def move(shared, times):
    for _ in range(times):
        with shared.lock:
            shared[0] += 1
            shared[1] -= 1


def watch(shared, ready, stop, broken):
    ready.set()
    while not stop.is_set():
        # One operation, and not under the lock: it has to wait for whoever is.
        values = shared[:] if isinstance(shared, mp.shared.list) else list(shared.values())
        if sum(values):
            broken.set()
            return


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_sees_it_half_done(kind, method):
    ctx = mp.get_context(method)
    shared = KINDS[kind]()
    ready, stop, broken = ctx.Event(), ctx.Event(), ctx.Event()
    watcher = ctx.Process(target=watch, args=(shared, ready, stop, broken))
    movers = [ctx.Process(target=move, args=(shared, 2000)) for _ in range(2)]
    watcher.start()
    ready.wait()
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    stop.set()
    watcher.join()
    assert not broken.is_set()
    assert (shared[0], shared[1]) == (4000, -4000)


USES = {
    "get": lambda d: d["k"],
    "get small": lambda d: d.get("k"),
    "contains": lambda d: "k" in d,
    "len": len,
    "set": lambda d: d.update(k=1),
    "add": lambda d: d.add("k"),
    "keys": lambda d: list(d.keys()),
    "lock": lambda d: d.lock.acquire(),
}


@pytest.mark.parametrize("use", USES)
def test_other_threads_wait_as_well(use):
    shared = mp.shared.dict(k=0)
    begun, done = threading.Event(), []

    def work():
        begun.set()
        USES[use](shared)
        done.append(1)

    with shared.lock:
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        for i in range(200):
            # The holder is not kept out, and may take it again.
            with shared.lock:
                shared["k"] = i
            assert not done
    thread.join()
    assert done


def test_sets_deques_and_the_small_ones_have_it():
    elements, latest = mp.shared.set([1]), mp.shared.deque([1])
    with elements.lock, latest.lock:
        elements.add(2)
        latest.append(2)
        assert elements.lock.locked()
        assert not elements.lock.owner_died
    assert not elements.lock.locked()
    with pytest.raises(AssertionError, match="RLock"):
        elements.lock.release()
    with mp.Manager() as manager:
        value, array = manager.Value("i", 1), manager.Array("i", [1])
        with value.get_lock(), array.lock:
            value.value += 1
            array[0] += 1
        assert value.value == array[0] == 2


def test_it_travels_with_its_container():
    shared = mp.shared.list([1])
    lock = pickle.loads(pickle.dumps(shared.lock))
    with lock:
        assert shared.lock.locked()
        shared.append(2)


def die_inside(shared):
    shared.lock.acquire()
    shared.append("half")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", METHODS)
def test_a_death_inside_keeps_nobody_out(method):
    ctx = mp.get_context(method)
    shared = mp.shared.list()
    child = ctx.Process(target=die_inside, args=(shared,))
    child.start()
    child.join()
    # Each operation is whole; what was not done is not there, what was done stays.
    assert shared == ["half"]
    shared.append("more")
    with shared.lock:
        assert shared.lock.owner_died
        shared.clear()
        shared.lock.mark_consistent()
    assert not shared.lock.owner_died
    assert shared == []


def test_two_containers_in_each_others_operations():
    """Taking one's lock and using the other, in both orders, ends: operations hold no gate."""
    one, other = mp.shared.dict(a=1), mp.shared.dict(a=2)

    def work(mine, its):
        for _ in range(300):
            mine.update(its)
            mine == its  # noqa: B015

    threads = [threading.Thread(target=work, args=pair) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_with_a_time_limit():
    shared = mp.shared.list()
    results = []

    def work():
        results.append(shared.lock.acquire(False))
        results.append(shared.lock.acquire(timeout=0.01))

    with shared.lock:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert results == [False, False]
