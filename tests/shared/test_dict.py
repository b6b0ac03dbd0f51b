"""The shared dict: like a dict, whoever uses it and whoever dies in it."""

from __future__ import annotations

import collections.abc
import copy
import gc
import json
import math
import os
import random
import signal
import threading

import allcores as mp
import key_kinds
import pytest
from allcores import _core, errors, pickling
from allcores.shared.dicts import Dict
from allcores.shared.lists import List
from key_kinds import GROUPS, Caseless, same

METHODS = ["fork", "spawn", "forkserver"]
SEED = int(os.environ.get("ALLCORES_TEST_SEED", random.randrange(2**32)))


@pytest.fixture(autouse=True)
def _nothing_left():
    Dict(a=List([1]))
    before = _core.stats()["live_blocks"]
    yield
    gc.collect()  # what a caught exception's frames hold
    _core.recover()
    assert _core.stats()["live_blocks"] <= before


# Without those for which a dict itself isn't a model: NaN, and NumPy's numbers, which Decimal
# can't be compared with.
KEYS = [key for group in GROUPS for key in group if type(key).__module__ != "numpy" and key == key]


def some_value(rng: random.Random) -> object:
    return rng.choice(
        [
            rng.randrange(-5, 5),
            rng.getrandbits(70),
            rng.random(),
            "x" * rng.randrange(20),
            b"y" * rng.randrange(200),
            None,
            (1, [2]),
            {"k": rng.randrange(9)},
        ]
    )


def both(shared: Dict, plain: dict, work) -> None:
    """Do the same to both; they have to answer the same, or fail with the same type."""
    answers = []
    for one in (shared, plain):
        try:
            answers.append(work(one))
        except (KeyError, ValueError, TypeError) as error:
            answers.append(type(error))
    first, second = answers
    assert first == second
    assert list(shared.items()) == list(plain.items())
    assert all(same(one, other) for one, other in zip(shared, plain, strict=True))
    assert len(shared) == len(plain)


def in_place(one, value) -> None:
    one |= value


def some_work(rng: random.Random, keys: list):
    """Return some operation; none compares texts of keys: a set's may have any order."""
    key, other, value = rng.choice(keys), rng.choice(keys), some_value(rng)
    more = {rng.choice(keys): some_value(rng) for _ in range(rng.randrange(6))}
    rarely = rng.random() < 0.1
    return rng.choice(
        [
            lambda one: one.__setitem__(key, value),
            lambda one: one.__setitem__(other, value),
            lambda one: one[key],
            lambda one: one.get(key),
            lambda one: one.get(key, value),
            lambda one: one.setdefault(key, value),
            lambda one: one.setdefault(key),
            lambda one: one.pop(key),
            lambda one: one.pop(key, value),
            lambda one: one.pop(other, None),
            lambda one: one.popitem(),
            lambda one: one.__delitem__(key),
            lambda one: one.update(more),
            lambda one: one.update(list(more.items())),
            lambda one: one.update(one),
            lambda one: one.update({}, a=1, b=value),
            lambda one: one.update([(key, 1), (other,)]),
            lambda one: one.__setitem__([key], value),
            lambda one: one.get((key, {})),
            lambda one: key in one,
            lambda one: [] in one,
            lambda one: list(one),
            lambda one: list(reversed(one)),
            lambda one: list(one.keys()),
            lambda one: list(one.values()),
            lambda one: list(reversed(one.items())),
            lambda one: (
                one.keys().__contains__(key),
                value in one.values(),
                (key, value) in one.items(),
            ),
            lambda one: one.keys() & {key, other},
            lambda one: one.keys() | more.keys(),
            lambda one: more.keys() - one.keys(),
            lambda one: one.keys() ^ more.keys(),
            lambda one: one.keys() == dict(one).keys(),
            lambda one: one.keys().isdisjoint({key}),
            lambda one: one == more,
            lambda one: one == dict(one) and dict(one) == one,
            lambda one: one != one.copy(),
            lambda one: one | more,
            lambda one: more | one,
            lambda one: in_place(one, more),
            lambda one: in_place(one, [(key, value)]),
            lambda one: one | 5,
            lambda one: (
                repr(one) == "{" + ", ".join(map("{!r}: {!r}".format, one, one.values())) + "}"
            ),
            lambda one: one.copy(),
            lambda one: bool(one),
            lambda one: dict(**{str(hash(k)): v for k, v in one.items()}),
            lambda one: one.clear() if rarely else None,
        ]
    )


@pytest.mark.parametrize("part", range(6))
def test_any_operations_give_what_a_dict_gives(part):
    print(f"ALLCORES_TEST_SEED={SEED}")
    rng = random.Random(SEED + part)
    shared, plain = Dict(), {}
    keys = rng.sample(KEYS, 30) if part % 2 else KEYS
    for _ in range(300):
        both(shared, plain, some_work(rng, keys))


def test_construction_as_of_a_dict():
    assert Dict() == {}
    assert Dict({"a": 1}, b=2) == Dict([("a", 1)], b=2) == {"a": 1, "b": 2}
    assert Dict(iter([("a", 1)])) == Dict(Dict(a=1)) == {"a": 1}
    assert Dict(mapping=5) == {"mapping": 5}
    assert Dict.fromkeys("ab", 0) == {"a": 0, "b": 0}
    assert isinstance(Dict.fromkeys("ab"), Dict)
    for wrong, error in ((5, TypeError), ([1], TypeError), (["abc"], ValueError)):
        with pytest.raises(error):
            Dict(wrong)
        with pytest.raises(error):
            dict(wrong)


def test_equal_keys_are_one_and_the_first_stays():
    shared = Dict()
    for number, group in enumerate(GROUPS):
        for key in group:
            shared[key] = number
    assert len(shared) == len(GROUPS)
    for number, (key, group) in enumerate(zip(shared, GROUPS, strict=True)):
        assert same(key, group[0])
        for other in group:
            assert shared[other] == number
    for group in GROUPS:
        shared.pop(group[-1])
    assert shared == {}


def test_processes_with_different_hash_seeds_agree(monkeypatch):
    shared = Dict((group[0], number) for number, group in enumerate(GROUPS))
    reports = []
    for round_, seed in enumerate(["1", "2", "0"]):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        report = List()
        child = mp.get_context("spawn").Process(target=key_kinds.agree, args=(shared, report))
        child.start()
        child.join()
        assert child.exitcode == 0
        ((wrong, length, seen),) = report
        assert wrong == [], f"round {round_}"
        assert length == len(GROUPS)
        reports.append(seen)
        for number, group in enumerate(GROUPS):
            assert shared[group[0]] == number + len(group)
            shared[group[-1]] = number
    assert len(set(reports)) == 3


def put_own(shared, who):
    for i in range(30):
        shared[Caseless(f"Key {i}")] = who
        shared[who, Caseless(f"own {i}")] = i


@pytest.mark.parametrize("method", METHODS)
def test_keys_with_their_own_equality_are_one_over_processes(method):
    ctx = mp.get_context(method)
    shared = Dict()
    children = [ctx.Process(target=put_own, args=(shared, who)) for who in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert len(shared) == 30 + 3 * 30
    for i in range(30):
        assert shared[Caseless(f"KEY {i}")] in range(3)
        assert shared.pop((2.0, Caseless(f"Own {i}"))) == i
    assert len(shared) == 30 + 2 * 30


def test_an_unhashable_key_changes_nothing():
    shared = Dict(a=1)
    for key in ([], {}, set(), (1, [2]), bytearray(), Dict(), List(), ({},)):
        for work in (
            lambda key: shared.__setitem__(key, 2),
            lambda key: shared[key],
            lambda key: key in shared,
            shared.get,
            shared.pop,
            shared.setdefault,
            shared.add,
        ):
            with pytest.raises(TypeError, match="unhashable"):
                work(key)
    assert shared == {"a": 1}
    deep = ()
    for _ in range(1000):
        deep = (deep,)
    with pytest.raises(RecursionError, match="flat"):
        shared[deep] = 1


class Angry:
    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 7


def test_an_error_of_a_comparison_comes_out():
    shared = Dict()
    shared[Angry()] = 1
    with pytest.raises(ZeroDivisionError):
        shared[Angry()]
    with pytest.raises(ZeroDivisionError):
        shared[Angry()] = 2
    assert len(shared) == 1


class Meddler(Caseless):
    """Changes the dict while it is compared."""

    target: Dict | None = None

    def __eq__(self, other: object) -> bool:
        if Meddler.target is not None:
            target, Meddler.target = Meddler.target, None
            target.clear()
            target.update({i: i for i in range(100)})
        return super().__eq__(other)

    __hash__ = Caseless.__hash__


def test_a_comparison_may_change_the_dict():
    shared = Dict({Meddler("a"): 1})
    Meddler.target = shared
    assert Meddler("A") not in shared
    assert len(shared) == 100
    shared[Meddler("a")] = 2
    Meddler.target = shared
    shared[Meddler("A")] = 3
    assert shared[Meddler("a")] == 3
    assert len(shared) == 101


def test_views_are_live_and_do_for_lists():
    shared = Dict(a=1, b=2)
    keys, values, items = shared.keys(), shared.values(), shared.items()
    shared["c"] = 3
    assert list(keys) == ["a", "b", "c"]
    assert keys == ["a", "b", "c"]
    assert keys == {"a", "b", "c"}
    assert values == [1, 2, 3]
    assert sum(values) == 6
    assert items == [("a", 1), ("b", 2), ("c", 3)]
    assert (keys[0], values[-1], items[1]) == ("a", 3, ("b", 2))
    assert keys + ["d"] == ["a", "b", "c", "d"]
    assert ["z"] + values == ["z", 1, 2, 3]
    assert repr(keys) == "dict_keys(['a', 'b', 'c'])"
    assert (len(keys), len(values), len(items)) == (3, 3, 3)
    assert ("a", 1) in items
    assert ("a", 2) not in items
    assert 3 in values
    assert keys <= {"a", "b", "c", "d"}
    assert {"a"} < keys
    assert items & {("a", 1)} == {("a", 1)}
    assert keys.mapping is shared
    assert json.dumps(dict(shared)) == '{"a": 1, "b": 2, "c": 3}'
    for key in shared.keys():  # noqa: SIM118
        del shared[key]
        shared[key * 2] = 1
    assert list(shared) == ["aa", "bb", "cc"]


def test_iterating_over_the_dict_itself_fails_as_a_dict_does():
    for order in (iter, reversed):
        for one in (Dict(a=1, b=2), {"a": 1, "b": 2}):
            keys = order(one)
            next(keys)
            one["a"] = one["b"] = 3
            next(keys)
            assert list(keys) == []
            one["c"] = 4
            assert list(keys) == []
            keys = order(one)
            del one["b"]
            for _ in range(2):
                with pytest.raises(RuntimeError, match="changed size"):
                    next(keys)


def test_it_reads_like_a_dict():
    shared = Dict({0: "zero", "one": None, (1, 2): [3]})
    assert repr(shared) == str(shared) == "{0: 'zero', 'one': None, (1, 2): [3]}"
    assert isinstance(shared, collections.abc.MutableMapping)
    match shared:
        case {"one": None, **rest}:
            assert rest == {0: "zero", (1, 2): [3]}
    shared["self"] = shared
    assert repr(shared).endswith("'self': {...}}")
    assert shared._getvalue() == shared.copy()
    assert shared._callmethod("get", (0,)) == "zero"
    assert copy.copy(shared) == shared
    assert type(copy.copy(shared)) is dict
    assert copy.deepcopy(shared) is shared
    with pytest.raises(TypeError, match="unhashable"):
        hash(shared)
    with pytest.raises(KeyError, match="empty"):
        Dict().popitem()
    for key in ("gone", (1, "gone"), ()):
        with pytest.raises(KeyError) as caught:
            shared[key]
        assert caught.value.args == (key,)


def test_adding_and_updating():
    shared = Dict(text="a", big=2**61 - 1, half=0.5)
    assert [shared.add("n"), shared.add("n", 5), shared.add("n", -0.5)] == [1, 6, 5.5]
    assert shared.add("big") == 2**61
    assert shared.add("big", 2**100) == 2**61 + 2**100
    assert shared.add("text", "b") == "ab"
    assert shared.add("half", 1) == 1.5
    assert shared.add("true", True) == 1
    with pytest.raises(TypeError):
        shared.add("text", 1)
    assert shared.update_key("text", str.upper) == "AB"
    assert shared.update_key("new", lambda seen: seen + [1], []) == [1]
    assert shared.update_key("new", lambda seen: seen + [2], []) == [1, 2]
    with pytest.raises(KeyError):
        shared.update_key("missing", str.upper)
    with pytest.raises(ZeroDivisionError):
        shared.update_key("big", lambda number: number / 0)
    assert shared["new"] == [1, 2]
    assert "missing" not in shared


def count(shared, times):
    for i in range(times):
        shared.add("short")
        shared.add("a key that needs a block", 0.5)
        shared.add((i % 3, "tuple"))
        shared.add(Caseless("Own"))
        shared.update_key("words", lambda words, i=i: {**words, i: words.get(i, 0) + 1}, {})


@pytest.mark.parametrize("method", METHODS)
def test_counters_are_exact(method):
    ctx = mp.get_context(method)
    shared = Dict()
    children = [ctx.Process(target=count, args=(shared, 300)) for _ in range(3)]
    for child in children:
        child.start()
    count(shared, 300)
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert shared["short"] == shared[Caseless("own")] == 1200
    assert shared["a key that needs a block"] == 600
    assert [shared[i, "tuple"] for i in range(3)] == [400] * 3
    assert shared["words"] == dict.fromkeys(range(300), 4)
    assert len(shared) == 7


def claim(shared, who, won):
    for i in range(300):
        if shared.setdefault(("task", i), who) == who:
            won.append(i)


def test_one_of_several_wins_a_setdefault():
    ctx = mp.get_context("fork")
    shared, won = Dict(), List()
    children = [ctx.Process(target=claim, args=(shared, who, won)) for who in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert sorted(won) == list(range(300))


def fill(shared, queue):
    received = queue.get()
    received["queue"] = os.getpid()
    shared["inner"]["list"][0]["deep"] = "seen"
    shared["array"][1] = 7


@pytest.mark.parametrize("method", METHODS)
def test_it_travels_anywhere_and_shared_objects_stay_shared(method):
    ctx = mp.get_context(method)
    deep, sent, array = Dict(), Dict(), ctx.Array("i", 2)
    shared = Dict(inner=Dict(list=List([deep])), array=array)
    queue = ctx.Queue()
    child = ctx.Process(target=fill, args=(shared, queue))
    child.start()
    queue.put(sent)
    child.join()
    assert child.exitcode == 0
    assert sent == {"queue": child.pid}
    assert deep == {"deep": "seen"}
    assert array[:] == [0, 7]
    queue.close()


def some_change(rng: random.Random):
    key = rng.choice([rng.randrange(20), f"a long key {rng.randrange(20)}", (rng.randrange(9),)])
    value = rng.choice([1, "a value that needs a block", ["pickle"], 0.5])
    return rng.choice(
        [
            lambda shared: shared.__setitem__(key, value),
            lambda shared: shared.setdefault(key, value),
            lambda shared: shared.pop(key, None),
            lambda shared: shared.popitem() if len(shared) > 20 else None,
            lambda shared: shared.update({key: value, "two": 2}),
            lambda shared: shared.add(("count", key)),
            lambda shared: shared.clear() if rng.random() < 0.02 else None,
        ]
    )


def churn(shared, seed):
    rng = random.Random(seed)
    while True:
        some_change(rng)(shared)


def test_a_process_killed_in_it_leaves_it_whole():
    print(f"ALLCORES_TEST_SEED={SEED}")
    rng = random.Random(SEED)
    shared = Dict()
    for _ in range(25):
        pid = os.fork()
        if pid == 0:
            churn(shared, rng.random())
            os._exit(1)
        # Some way into its work, counted in changes and not in time.
        target = shared.version + rng.randrange(1, 6000)
        while shared.version < target:
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        before = shared.copy()
        assert len(shared) == len(before) == len(list(shared))
        for key, value in before.items():
            assert shared[key] == value
            if isinstance(key, tuple) and key[0] == "count":
                assert value >= 1
            else:
                assert value in (1, 2, "a value that needs a block", ["pickle"], 0.5)
        shared["alive"] = 1
        assert shared.popitem() == ("alive", 1)
        assert shared == before
    shared.clear()


def test_threads_share_it_as_well():
    shared = Dict()
    threads = [threading.Thread(target=count, args=(shared, 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared["short"] == shared[Caseless("OWN")] == 400


def test_what_cannot_be_pickled_leaves_it_as_it_was():
    shared = Dict(a="a value that needs a block")
    with open(os.devnull) as unpicklable:
        for work in (
            lambda: shared.__setitem__("a", unpicklable),
            lambda: shared.__setitem__("new key that needs a block", unpicklable),
            lambda: shared.__setitem__(unpicklable, 1),
            lambda: shared.setdefault("b", unpicklable),
            lambda: shared.update_key("a", lambda _: unpicklable),
        ):
            with pytest.raises(errors.NotPicklable, match="open file"):
                work()
    assert shared == {"a": "a value that needs a block"}


def test_a_handle_of_what_is_gone_is_stale():
    shared = Dict(a=1)
    with pickling.sending():
        data = pickling.dumps(shared)
    assert pickling.loads(data) == {"a": 1}
    session, offset, generation = shared.handle()
    del shared
    with pytest.raises(errors.StaleHandle, match="freed"):
        pickling.loads(data)
    with pytest.raises(errors.StaleHandle, match="finished"):
        Dict.from_handle(session ^ 2, offset, generation)


def test_a_long_chain_is_freed_without_a_deep_stack():
    chain = Dict()
    for _ in range(20_000):
        chain = Dict(next=chain)


def test_every_nan_is_one_key():
    shared = Dict({math.nan: 1})
    shared[float("nan")] = 2
    assert shared[math.nan] == 2
    assert len(shared) == 1
    assert Dict({(math.nan, 1): 5})[float("nan"), 1] == 5
