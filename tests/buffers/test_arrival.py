"""Large objects arrive whole, writable, and without a tie to the sender's."""

from __future__ import annotations

import functools
import os
import pickle
import threading
from typing import Any

import allcores as mp
import numpy as np
import pytest
from allcores import _core, memory, pickling
from allcores.buffers import LARGE
from large_kinds import THINGS, changed
from large_things import NUMBERS, live_bytes, meet, same, total

CHANGEABLE = [name for name, thing in THINGS.items() if thing.change]


def test_arguments_and_results_are_whole(pool: Any) -> None:
    """Whatever it is, what comes back from a task equals what was sent."""
    for name, thing in THINGS.items():
        sent = thing.make()
        assert thing.equal(pool.apply(same, (sent,)), sent), name


@pytest.mark.parametrize("name", CHANGEABLE)
def test_what_a_task_changes_is_its_own(forked: Any, name: str) -> None:
    """A task may write to what it got; the sender's object stays, and so does another's."""
    thing = THINGS[name]
    sent, expected = thing.make(), thing.make()
    back = forked.apply(changed, (name, sent))
    assert thing.equal(sent, expected)
    assert not thing.equal(back, expected)
    changed(name, back)
    results = forked.starmap(changed, [(name, sent)] * 4)
    again = forked.apply(same, (sent,))
    assert thing.equal(again, expected)
    for one in results:
        changed(name, one)
    assert thing.equal(again, expected)


@pytest.mark.parametrize("name", [name for name, thing in THINGS.items() if thing.aside])
def test_memory_goes_beside_the_pickle(name: str) -> None:
    """A large buffer is not in the pickle, and it is in shared memory once."""
    sent = THINGS[name].make()
    data, refs = pickling.pack(sent)
    assert refs.kept
    assert len(data) < LARGE + 20_000
    nbytes = refs.nbytes
    assert nbytes >= LARGE
    del data, refs


@pytest.mark.parametrize("by_value", [False, True])
def test_memory_of_an_array_does_so_after_managers_were_imported(by_value: bool) -> None:
    """The standard library's managers bring a reducer of their own, which copies it."""
    import multiprocessing.managers  # noqa: F401

    sent = THINGS["array"].make()
    data, refs = pickling.pack((sent, lambda: 1) if by_value else sent)
    assert refs.kept
    assert len(data) < LARGE


def test_queues_lists_and_dicts_carry_them(ctx: Any) -> None:
    """A queue's item and a container's value arrive as private memory, too."""
    queue = ctx.Queue()
    queue.put(NUMBERS)
    simple = ctx.SimpleQueue()
    simple.put({"x": NUMBERS})
    first, second = queue.get(), simple.get()["x"]
    first[0] = second[0] = -1
    with ctx.Manager() as manager:
        shared, table = manager.list([NUMBERS]), manager.dict(x=NUMBERS)
        for one in (shared[0], table["x"]):
            assert (one == NUMBERS).all()
            one[:] = 0
        assert (shared[0] == NUMBERS).all()
        assert (table["x"] == NUMBERS).all()
    assert NUMBERS[0] == 0
    assert first[1] == 1


def _child(numbers: Any, queue: Any, *, more: Any) -> None:
    numbers += more
    queue.put(numbers)


def test_arguments_of_a_process(ctx: Any) -> None:
    """They need no copy either, live until they have arrived, and no longer than the process."""
    before = live_bytes()
    queue = ctx.Queue()
    child = ctx.Process(target=_child, args=(NUMBERS, queue), kwargs={"more": NUMBERS.copy()})
    child.start()
    found = queue.get()
    child.join()
    assert (found == 2 * NUMBERS).all()
    assert NUMBERS[1] == 1
    del child, queue, found
    assert live_bytes() - before < LARGE


GLOBAL = NUMBERS * 3


def test_what_functions_refer_to(pool: Any) -> None:
    """Closures, defaults, arguments of a partial and globals of functions sent by value."""
    local = NUMBERS * 2

    def closure(i: int, default: Any = NUMBERS) -> float:
        return float(local[i] + default[i])

    namespace = {"__name__": "made_up", "GLOBAL": GLOBAL}
    exec("def by_value(i): return float(GLOBAL[i])", namespace)
    by_value: Any = namespace["by_value"]
    assert pool.map(closure, range(5)) == [3.0 * i for i in range(5)]
    assert pool.map(functools.partial(total, NUMBERS), range(5)) == [NUMBERS.sum()] * 5
    assert pool.map(by_value, range(5)) == [3.0 * i for i in range(5)]
    local[:] = 0
    assert pool.map(closure, range(5)) == [float(i) for i in range(5)]


def _initialize(numbers: Any) -> None:
    global _numbers
    _numbers = numbers
    numbers[0] = 42


def _look(i: int) -> float:
    return float(_numbers[i])


def test_arguments_of_an_initializer(ctx: Any) -> None:
    """Each worker gets them, and writes to its own."""
    with ctx.Pool(2, _initialize, (NUMBERS,)) as pool:
        assert pool.map(_look, [0, 1, 2], 1) == [42, 1, 2]
    assert NUMBERS[0] == 0


class _Unwilling:
    def __reduce__(self) -> Any:
        raise ValueError("not this one")


def test_an_object_that_fails_half_way_leaves_nothing(forked: Any) -> None:
    """The error is the object's own, and what had been packed before is given back."""
    # A worker that comes later takes memory of its own.
    forked.map(meet, [mp.Barrier(2)] * 2, 1)
    # The result comes before its worker lets go of the task.
    while any(lease.tag for lease in forked._crew._leases.values()):
        pass
    before = live_bytes()
    with pytest.raises(ValueError, match="not this one"):
        forked.apply(same, ([NUMBERS, _Unwilling()],))
    queue = mp.Queue()
    with pytest.raises(mp.errors.NotPicklable, match="not this one"):
        queue.put([NUMBERS, _Unwilling()])
    assert queue.empty()
    del queue
    assert live_bytes() <= before


def test_nothing_stays(pool: Any) -> None:
    """When calls are done and their results gone, so is their memory."""
    # A worker that comes later takes memory of its own.
    pool.map(meet, [mp.Barrier(2)] * 2, 1)
    pool.apply(same, (NUMBERS,))
    before = live_bytes()
    for _ in range(20):
        pool.apply(same, (NUMBERS,))
        pool.map(same, [NUMBERS] * 4, 1)
        list(pool.imap(same, [NUMBERS] * 4))
    # (The tasks themselves let go of their arguments just after their results are there.)
    while live_bytes() > before:
        pool.apply(same, (1,))


def test_a_killed_receiver_gives_them_back(ctx: Any) -> None:
    """A process that is killed with views of large objects keeps none of their memory."""
    before = live_bytes()
    queue, ready = ctx.Queue(), ctx.Event()
    child = ctx.Process(target=_hold, args=(queue, ready))
    child.start()
    queue.put(NUMBERS)
    ready.wait()
    child.kill()
    child.join()
    del child, queue, ready
    assert live_bytes() - before < LARGE


def _hold(queue: Any, ready: Any) -> None:
    numbers = queue.get()
    numbers[0] = 1
    ready.set()
    threading.Event().wait()


def _private_growth(obj: Any) -> int:
    before = memory.private(os.getpid(), 0)
    assert total(obj) > 0
    return memory.private(os.getpid(), 0) - before


def test_a_receiver_needs_no_memory(pool: Any) -> None:
    """Reading 100 MB that came from elsewhere takes less than 10 MB, and one copy is shared."""
    large = np.ones(100 << 17)
    pool.apply(total, (NUMBERS,))
    before = live_bytes()
    ref = mp.put(large)
    assert live_bytes() - before < 1.1 * large.nbytes
    assert pool.apply(_private_growth, (large,)) < 10 << 20
    assert pool.apply(_private_growth, (ref,)) < 10 << 20
    assert pool.apply(_private_growth, (mp.shared_array(large),)) < 10 << 20


def test_plain_pickles_stay_plain() -> None:
    """Who pickles by himself gets bytes that hold everything."""
    data = pickle.dumps(NUMBERS, 5)
    assert len(data) > NUMBERS.nbytes
    assert len(pickling.dumps(NUMBERS)) > NUMBERS.nbytes


def test_where_no_more_can_be_mapped_it_is_copied() -> None:
    """Views beyond what the system allows to map are copies, and as good."""
    frozen = _core.freeze(NUMBERS)
    views = [np.frombuffer(frozen.view(0, frozen.nbytes)) for _ in range(1000)]
    views[-1][0] = 5
    assert (views[0] == NUMBERS).all()
