"""The shared list: like a list, whoever uses it and whoever dies in it."""

from __future__ import annotations

import os
import random
import signal
import threading

import allcores as mp
import pytest
from allcores import _core, errors, pickling
from allcores.shared.lists import List

METHODS = ["fork", "spawn", "forkserver"]
SEED = int(os.environ.get("ALLCORES_TEST_SEED", random.randrange(2**32)))


@pytest.fixture(autouse=True)
def _nothing_left():
    List([1])
    before = _core.stats()["live_blocks"]
    yield
    _core.recover()
    assert _core.stats()["live_blocks"] <= before


def some_value(rng: random.Random) -> object:
    return rng.choice(
        [
            rng.randrange(-5, 5),
            rng.getrandbits(70),
            rng.random(),
            "x" * rng.randrange(20),
            b"y" * rng.randrange(200),
            "käse \ud800"[: rng.randrange(7)],
            None,
            True,
            ...,
            (1, [2]),
            {"k": rng.randrange(9)},
        ]
    )


def some_slice(rng: random.Random, n: int) -> slice:
    def bound() -> int | None:
        return rng.choice([None, rng.randrange(-n - 2, n + 3)])

    return slice(bound(), bound(), rng.choice([None, 1, 1, 2, 3, -1, -2]))


def both(shared: List, plain: list, work) -> None:
    """Do the same to both; they have to answer the same, or fail with the same type."""
    answers = []
    for one in (shared, plain):
        try:
            answers.append(work(one))
        except (IndexError, ValueError, TypeError) as error:
            answers.append(type(error))
    first, second = answers
    assert first == second
    assert shared[:] == plain


def in_place(one, operator: str, value) -> None:
    if operator == "+=":
        one += value
    else:
        one *= value


def some_work(rng: random.Random, n: int):
    at, value = rng.randrange(-n - 2, n + 3), some_value(rng)
    cut, more = some_slice(rng, n), [some_value(rng) for _ in range(rng.randrange(6))]
    times = rng.choice([-1, 0, 1, 1, 2]) if n < 40 else 0
    return rng.choice(
        [
            lambda one: one.append(value),
            lambda one: one.extend(more),
            lambda one: one.extend(iter(more)),
            lambda one: one.insert(at, value),
            lambda one: one.pop(),
            lambda one: one.pop(at),
            lambda one: one.remove(value),
            lambda one: one.index(value),
            lambda one: one.index(value, at, at + 5),
            lambda one: one.count(value),
            lambda one: value in one,
            lambda one: one.reverse(),
            lambda one: one.sort(key=str, reverse=bool(at % 2)),
            lambda one: one.sort(key=repr),
            lambda one: one[at],
            lambda one: one[cut],
            lambda one: one.__setitem__(at, value),
            lambda one: one.__setitem__(cut, more),
            lambda one: one.__setitem__(cut, one),
            lambda one: one.__delitem__(at),
            lambda one: one.__delitem__(cut),
            lambda one: one + more,
            lambda one: one * times,
            lambda one: times * one,
            lambda one: in_place(one, "+=", more),
            lambda one: in_place(one, "*=", times),
            lambda one: one == more,
            lambda one: one < more,
            lambda one: list(one),
            lambda one: list(reversed(one)),
            lambda one: len(one),
            lambda one: repr(one),
            lambda one: one.copy(),
            lambda one: one.clear() if at % 7 == 0 else None,
        ]
    )


@pytest.mark.parametrize("part", range(8))
def test_any_operations_give_what_a_list_gives(part):
    print(f"ALLCORES_TEST_SEED={SEED}")
    rng = random.Random(SEED + part)
    shared, plain = List(), []
    for _ in range(400):
        both(shared, plain, some_work(rng, len(plain)))


def square(shared, index):
    shared[index] = index**2


def append(shared, who, times):
    for i in range(times):
        shared.append((who, i) if i % 3 else who * times + i)


@pytest.mark.parametrize("method", METHODS)
def test_children_fill_it(method):
    ctx = mp.get_context(method)
    shared = List(range(4))
    inner = List()
    shared.append({"inner": inner})
    children = [ctx.Process(target=square, args=(shared, i)) for i in range(4)]
    children += [ctx.Process(target=append, args=(shared[4]["inner"], i, 300)) for i in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert shared[:4] == [0, 1, 4, 9]
    assert len(inner) == 1200
    for who in range(4):
        own = [
            item for item in inner if (item[0] if isinstance(item, tuple) else item // 300) == who
        ]
        assert [i[1] if isinstance(i, tuple) else i % 300 for i in own] == list(range(300))


def some_change(rng: random.Random, n: int):
    value, at = some_value(rng), rng.randrange(n + 1)
    return rng.choice(
        [
            lambda shared: shared.append(value),
            lambda shared: shared.insert(at, value),
            lambda shared: shared.extend([value] * 3),
            lambda shared: shared.reverse(),
            lambda shared: shared.__setitem__(slice(at, at + 2), [value]),
            lambda shared: shared.__delitem__(slice(at, at + 3)),
            lambda shared: shared.__setitem__(at, value) if at < n else None,
            lambda shared: shared.pop(at) if at < n else None,
            lambda shared: shared.clear() if at > 60 else None,
        ]
    )


def churn(shared, seed):
    rng = random.Random(seed)
    while True:
        some_change(rng, len(shared))(shared)


def test_a_process_killed_in_it_leaves_it_whole():
    print(f"ALLCORES_TEST_SEED={SEED}")
    rng = random.Random(SEED)
    shared = List()
    for _ in range(25):
        pid = os.fork()
        if pid == 0:
            churn(shared, rng.random())
            os._exit(1)
        version = shared.version
        # Some way into its work, counted in changes and not in time.
        target = version + rng.randrange(1, 3000)
        while shared.version < target:
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        before = shared[:]
        assert len(shared) == len(before) == len(list(shared))
        shared.append("alive")
        assert shared.pop() == "alive"
        assert shared[:] == before
    shared.clear()


def test_threads_share_it_as_well():
    shared = List()
    threads = [threading.Thread(target=append, args=(shared, i, 500)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shared) == 2000


def test_iterating_sees_what_others_write():
    shared = List(range(5))
    iterator = iter(shared)
    shared[0] = 100
    assert next(iterator) == 100
    shared[1] = 200
    assert next(iterator) == 200
    del shared[3:]
    assert list(iterator) == [2]
    shared.append(7)
    assert list(iterator) == []
    large = List(range(1000))
    assert list(large) == list(range(1000))


class Sought:
    """While the first item is compared with it, another process takes that away."""

    def __init__(self, shared):
        self.shared = shared

    def __eq__(self, other):
        if self.shared[0] == "first":
            self.shared.pop(0)
        return other == "second"

    __hash__ = None


def test_what_is_there_all_the_time_is_found_whatever_others_take_away():
    shared = List(["first", "second", "third"])
    assert Sought(shared) in shared
    assert shared == ["second", "third"]


def test_shared_objects_in_it_are_the_shared_ones():
    outer = List([List(range(3)) for _ in range(3)])
    outer[0][-1] = 55
    assert [inner[:] for inner in outer] == [[0, 1, 55], [0, 1, 2], [0, 1, 2]]
    array = mp.Array("i", 2)
    outer.append({"array": array})
    outer[3]["array"][0] = 5
    assert array[:] == [5, 0]
    outer.append(outer)
    assert repr(outer).endswith(", [...]]")


def test_it_reads_like_a_list():
    shared = List([0, "one", None, [2]])
    assert repr(shared) == str(shared) == "[0, 'one', None, [2]]"
    assert isinstance(shared[3], list)


def test_a_long_chain_is_freed_without_a_deep_stack():
    chain = List()
    for _ in range(20_000):
        chain = List([chain])


def test_a_failing_pickle_leaves_the_list_as_it_was():
    shared = List([1, 2])
    with open(os.devnull) as unpicklable:
        for work in (
            lambda: shared.append(unpicklable),
            lambda: shared.extend([3, "a long text that needs a block", unpicklable]),
            lambda: shared.__setitem__(0, unpicklable),
            lambda: shared.__setitem__(slice(0, 1), [3, unpicklable]),
        ):
            with pytest.raises(errors.NotPicklable, match="open file"):
                work()
    assert shared == [1, 2]


def test_a_handle_of_what_is_gone_is_stale():
    shared = List([1])
    with pickling.sending():
        data = pickling.dumps(shared)
    assert pickling.loads(data) == [1]
    session, offset, generation = shared.handle()
    del shared
    with pytest.raises(errors.StaleHandle, match="freed"):
        pickling.loads(data)
    with pytest.raises(errors.StaleHandle, match="finished"):
        List.from_handle(session ^ 2, offset, generation)
    with pytest.raises(TypeError, match="iterable"):
        List(5)
    with pytest.raises(TypeError, match="unhashable"):
        hash(List())
