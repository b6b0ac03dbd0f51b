"""Plain lists and dicts in shared containers: live for all, and lists and dicts all the same."""

from __future__ import annotations

import copy
import gc
import io
import json
import pickle
import sys
import threading

import allcores as mp
import pytest
from allcores import _core, errors
from allcores.shared.nested import NestedDict, NestedList

METHODS = ["fork", "spawn", "forkserver"]
PLAIN = {"b": [1, {"c": [2, 3]}], "t": (1, [2]), "n": None}


@pytest.fixture(autouse=True)
def _nothing_left():
    mp.shared.list([[1]])
    gc.collect()
    before = _core.stats()["live_blocks"]
    yield
    gc.collect()
    _core.recover()
    assert _core.stats()["live_blocks"] <= before


def change(shared):
    shared["a"]["b"].append([])
    shared["a"]["b"][-1].append("deep")
    shared["a"]["b"][1]["c"].sort(reverse=True)
    shared["a"] |= {"new": {}}


@pytest.mark.parametrize("method", METHODS)
def test_every_process_sees_a_change(method):
    ctx = mp.get_context(method)
    with ctx.Manager() as manager:
        shared = manager.dict(a=PLAIN)
        held = shared["a"]["b"]
        child = ctx.Process(target=change, args=(shared,))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert held == [1, {"c": [3, 2]}, ["deep"]]
        assert shared["a"] == {**PLAIN, "b": held, "new": {}}


def append_to(nested, queue):
    nested.append(1)
    queue.put({"in": (nested,)})


@pytest.mark.parametrize("method", METHODS)
def test_it_travels_as_a_handle_within_the_program(method):
    ctx = mp.get_context(method)
    shared, queue = mp.shared.list([[0]]), ctx.SimpleQueue()
    child = ctx.Process(target=append_to, args=(shared[0], queue))
    child.start()
    (arrived,) = queue.get()["in"]
    child.join()
    assert arrived is shared[0]
    arrived.append(2)
    assert shared[0] == [0, 1, 2]


def test_it_is_a_list_or_a_dict():
    shared = mp.shared.dict(a=PLAIN)
    a = shared["a"]
    assert isinstance(a, dict)
    assert isinstance(a["b"], list)
    assert type(a) is NestedDict
    assert type(a["b"]) is NestedList
    assert shared["a"] is a
    assert repr(a) == str(a) == repr(PLAIN)
    assert a == PLAIN
    assert a == PLAIN
    assert a["b"] <= [2]
    assert a["b"] > [0]
    with pytest.raises(TypeError, match="unhashable"):
        hash(a["b"])
    assert json.dumps(a) == json.dumps(PLAIN)
    assert json.dumps(a, indent=1) == json.dumps(PLAIN, indent=1)
    assert dict(a) == {**a} == PLAIN
    assert list(a) == [*a] == sorted(a, key=list(PLAIN).index)
    assert [0] + a["b"] == [0, 1, {"c": [2, 3]}]
    assert a["b"] * 2 == PLAIN["b"] * 2 == 2 * a["b"]
    assert a["b"][::-1] == PLAIN["b"][::-1]
    _, second = a["b"]
    assert second is a["b"][1]
    assert (lambda **named: named)(**a) == PLAIN
    assert {"x": 1} | a == {"x": 1} | PLAIN
    assert list(reversed(a["b"])) == PLAIN["b"][::-1]
    assert type(type(a)(x=1)) is dict
    assert type(type(a["b"])([1])) is list
    assert type(type(a).fromkeys("x")) is dict
    assert not shared.setdefault("empty", [])
    assert bool(a)


class Hook(json.JSONEncoder):
    def default(self, o):
        return "other"


def test_its_own_memory_is_what_c_code_sees():
    shared = mp.shared.list([["x", "y"], {"k": ["v"]}])
    texts, mapping = shared[0], shared[1]
    texts.append("z")
    mapping["k"].append([1])
    # These go past the methods.
    assert "".join(texts) == "xyz"
    assert list.__len__(texts) == 3
    assert list.__repr__(dict.__getitem__(mapping, "k")) == "['v', [1]]"
    assert json.dumps(mapping, cls=Hook) == '{"k": ["v", [1]]}'
    plain = []
    plain[:] = texts
    assert plain == ["x", "y", "z"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_elsewhere_it_is_plain_data(protocol):
    shared = mp.shared.dict(a=PLAIN)
    arrived = pickle.loads(pickle.dumps(shared["a"], protocol))
    assert type(arrived) is dict
    assert type(arrived["b"]) is type(arrived["b"][1]["c"]) is list
    stream = io.BytesIO()
    pickle._Pickler(stream, protocol).dump(shared["a"])
    assert pickle.loads(stream.getvalue()) == arrived == PLAIN
    for make in copy.copy, copy.deepcopy, lambda nested: nested.copy():
        made = make(shared["a"])
        assert type(made) is dict
        assert made == PLAIN
    assert type(copy.deepcopy(shared["a"])["b"][1]) is dict
    made["b"] = made["x"] = 0
    assert shared["a"] == PLAIN


def test_what_was_taken_out_lives_on():
    shared = mp.shared.list([[1]])
    out = shared.pop()
    out.append(2)
    shared.append(out)
    shared.append(out)
    out.append(3)
    assert shared == [[1, 2, 3], [1, 2, 3]]
    shared[0].append(4)
    assert shared[1] == [1, 2, 3, 4]


def test_one_that_is_there_twice_is_one():
    part = [1]
    shared = mp.shared.dict(both=[part, part, (part,)])
    shared["both"][0].append(2)
    assert shared["both"] == [[1, 2], [1, 2], ([1],)]
    # What came in is a copy all the same.
    assert part == [1]


def test_the_idiom_with_setdefault():
    shared = mp.shared.dict(inner={})
    for _ in range(2):
        for one in shared, shared["inner"]:
            one.setdefault("k", []).append(1)
    assert shared == {"inner": {"k": [1, 1]}, "k": [1, 1]}
    assert shared.setdefault("k") is shared["k"]
    assert shared.setdefault("n") is None


def test_compared_with_one_that_others_have_changed():
    shared = mp.shared.list([[1], mp.shared.list([1, 2])])
    held, other = shared
    # Behind the back of the object that is held.
    held._shared.append(2)
    assert other == held
    held._shared.append(3)
    assert other < held
    assert other != held


def test_numpy_and_others_see_it():
    numpy = pytest.importorskip("numpy")
    shared = mp.shared.list([[[1, 2], [3, 4]]])
    assert numpy.array(shared[0]).tolist() == [[1, 2], [3, 4]]
    assert numpy.asarray(shared[0][0]).sum() == 3


def test_cycles():
    plain = [1]
    plain.append({"again": plain})
    shared = mp.shared.list([plain])
    assert repr(shared) == "[[1, {'again': [...]}]]"
    assert shared[0][1]["again"] is shared[0]
    with pytest.raises(ValueError, match="Circular"):
        json.dumps(shared[0])
    copied = copy.deepcopy(shared[0])
    assert copied[1]["again"] is copied
    # Otherwise it would live on until the program ends.
    shared[0][1].clear()
    shared.append([])
    shared[1].append(shared[1])
    shared[1].append(shared)
    assert repr(shared) == "[[1, {}], [[...], [...]]]"
    shared[1].clear()


def test_shared_containers_in_each_other():
    inner = mp.shared.list([1])
    shared = mp.shared.dict(inner=inner, nested={"inner": [inner]})
    shared["nested"]["inner"][0].append(2)
    assert type(shared["inner"]) is type(inner)
    assert inner == shared["inner"] == [1, 2]
    shared["elements"] = mp.shared.set([1])
    shared["latest"] = mp.shared.deque([1])
    shared["elements"].add(2)
    shared["latest"].append(2)
    assert shared["elements"] == {1, 2}
    assert list(shared["latest"]) == [1, 2]


@pytest.mark.parametrize("depth", [200, 100_000])
def test_deep_ones(depth):
    plain = []
    for _ in range(depth):
        plain = [plain]
    shared = mp.shared.list()
    if depth > 1000:
        with pytest.raises(RecursionError):
            shared.append(plain)
        assert shared == []
        return
    shared.append(plain)
    nested = shared[0]
    while nested:
        nested = nested[0]
    nested.append("end")
    assert repr(shared).count("[") == depth + 2


class Refuses:
    def __reduce__(self):
        raise ValueError("not me")


@pytest.mark.parametrize("bad", [lambda: [1, [2, Refuses()]], lambda: {"a": {"b": Refuses()}}])
def test_what_fails_half_way_changes_nothing(bad):
    shared = mp.shared.dict(a=[1], b={"c": []})
    nested = shared["b"]["c"]
    for change in (
        lambda: shared.__setitem__("a", bad()),
        lambda: shared.update(x=bad()),
        lambda: shared["a"].append(bad()),
        lambda: shared["a"].extend([1, bad()]),
        lambda: shared["a"].__setitem__(slice(None), [bad()]),
        lambda: shared["b"].setdefault("d", bad()),
        lambda: nested.insert(0, bad()),
    ):
        with pytest.raises((errors.NotPicklable, ValueError)):
            change()
        assert shared == {"a": [1], "b": {"c": []}}


def test_threads_that_read_and_write_the_same():
    shared = mp.shared.list([[0], {}])
    numbers, names = shared[0], shared[1]

    def work(who):
        for i in range(200):
            numbers.append(i)
            names[who] = [i]
            assert numbers[0] == 0
            assert names[who] == [i]
            assert len(numbers) > i

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(numbers) == 801
    assert sorted(names.items()) == [(who, [199]) for who in range(4)]


def test_a_large_one_is_filled_in_one_by_one_in_its_time():
    """Each change by its own process is done to the own memory as well, not by reading all."""
    shared = mp.shared.list([[]])
    nested = shared[0]
    for i in range(20_000):
        nested.append(i)
    assert nested == list(range(20_000))
    while nested:
        nested.pop()
    assert shared == [[]]


def elsewhere(work):
    """Do `work` in another process."""
    child = mp.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0


def test_a_pop_that_finds_nothing_hides_no_change_of_others():
    """The one change that has happened was not the pop's."""
    shared = mp.shared.dict(inner={"a": 1})
    held = shared["inner"]
    elsewhere(lambda: held.update(b=2))
    assert held.pop("missing", None) is None
    assert held == {"a": 1, "b": 2}
    # Nor does one that finds what is also the default.
    elsewhere(lambda: held.update(b=3))
    assert held.pop("a", 1) == 1
    assert held == {"b": 3}


def test_a_reverse_that_does_nothing_hides_no_change_of_others():
    """The one change that has happened was not the reverse's."""
    shared = mp.shared.list([[1, 2]])
    held = shared[0]
    elsewhere(held.pop)
    held.reverse()
    assert held == [1]


def test_a_dict_is_brought_up_to_date_in_one_step():
    """Another thread, which reads it in any moment, misses no key that is there all the time."""
    shared = mp.shared.dict(inner={"a": 1, "b": 2})
    held = shared["inner"]
    elsewhere(lambda: held.update(c=3))
    lengths = set()

    def look(frame, event, argument):
        frame.f_trace_opcodes = True
        lengths.add(dict.__len__(held))
        return look

    tracer = sys.gettrace()
    sys.settrace(look)
    try:
        assert held["c"] == 3
    finally:
        sys.settrace(tracer)
    assert lengths == {2, 3}


@pytest.mark.parametrize("inner", [{"a": 1}, ["a"]], ids=["dict", "list"])
def test_a_thread_that_was_slow_brings_nothing_back(inner):
    """What this process has put in is there when it looks, whatever its other threads read."""
    shared = mp.shared.list([inner])
    held = shared[0]
    behind = held._shared

    class Slow:
        """Another thread writes between the reading of the content and its use."""

        @property
        def version(self):
            return behind.version

        def snapshot(self):
            found = behind.snapshot()
            held._shared = behind
            write("own")
            return found

    write = held.append if isinstance(inner, list) else lambda name: held.update({name: 1})
    elsewhere(lambda: write("theirs"))
    held._shared = Slow()
    assert "own" in held


@pytest.mark.parametrize(
    "make",
    [
        lambda held: held.copy(),
        copy.copy,
        copy.deepcopy,
        lambda held: pickle.loads(pickle.dumps(held)),
        lambda held: held | held,
        lambda held: {"a": 0} | held,
    ],
    ids=["copy", "copy.copy", "deepcopy", "pickle", "or", "or to a plain one"],
)
def test_a_copy_is_taken_in_one_step(make, monkeypatch):
    """Not key by key: others may take one away meanwhile."""
    shared = mp.shared.dict(inner={"a": 1, "b": 2})
    held = shared["inner"]

    def taken_away(self, key):
        raise KeyError(key)

    monkeypatch.setattr(NestedDict, "__getitem__", taken_away)
    assert make(held) == {"a": 1, "b": 2}
    assert type(make(held)) is dict
