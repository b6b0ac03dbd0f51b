"""Value, Array and their raw forms: one memory, whoever looks at it."""

from __future__ import annotations

import ctypes
import multiprocessing.sharedctypes
import pickle
from multiprocessing.reduction import ForkingPickler

import allcores as mp
import numpy as np
import pytest
from allcores import _core, buffers, pickling
from allcores.sharedctypes import copy, synchronized

METHODS = ["fork", "spawn", "forkserver"]


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


def fill(number, point, text, array, raw, nested):
    number.value += 1
    point.x *= 2
    text.value = text.value.upper()
    array[:] = [5, 6, 7]
    raw[1] = 2.5
    nested["here"][0].value = 4


@pytest.fixture
def nothing_left():
    before = _core.stats().get("live_blocks", 0)
    mp.Value("i")
    before = _core.stats()["live_blocks"]
    yield
    assert _core.stats()["live_blocks"] <= before


@pytest.mark.parametrize("method", METHODS)
def test_a_child_writes_and_the_parent_sees_it(method):
    ctx = mp.get_context(method)
    number, point = ctx.Value("i", 41), ctx.Value(Point, 1, 2)
    text, array = ctx.Array("c", b"hello"), ctx.Array("i", [1, 2, 3])
    raw, nested = ctx.RawArray("d", 2), {"here": [ctx.RawValue("h", 3)]}
    child = ctx.Process(target=fill, args=(number, point, text, array, raw, nested))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert number.value == 42
    assert (point.x, point.y) == (2, 2)
    assert (text.value, text.raw) == (b"HELLO", b"HELLO")
    assert array[:] == [5, 6, 7]
    assert raw[:] == [0, 2.5]
    assert nested["here"][0].value == 4


def add(counter, times):
    for _ in range(times):
        with counter.get_lock():
            counter.value += 1


@pytest.mark.parametrize("method", METHODS)
def test_increments_under_the_lock_are_all_counted(method):
    ctx = mp.get_context(method)
    counter = ctx.Value("q")
    children = [ctx.Process(target=add, args=(counter, 1000)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert counter.value == 3000


def test_numpy_sees_live_memory():
    array = mp.Array("d", 4)
    view = np.frombuffer(array.get_obj())
    view[2] = 7
    assert array[:] == [0, 0, 7, 0]
    array[0] = 1
    assert view.tolist() == [1, 0, 7, 0]


def test_a_handle_leads_to_the_same_memory(nothing_left):
    def travel(obj):
        with pickling.sending():
            return pickling.loads(pickling.dumps(obj))

    number = mp.RawValue("i", 3)
    travel(number).value = 5
    assert number.value == 5
    matrix = mp.RawArray(ctypes.c_int * 3, 2)
    travel(matrix)[1][2] = 8
    assert [row[:] for row in matrix] == [[0, 0, 0], [0, 0, 8]]
    both = travel([number, {"m": matrix}])
    assert both[0].value == 5
    assert both[1]["m"][1][2] == 8


def test_a_copy_and_a_plain_ctypes_object_travel_by_value():
    number = mp.RawValue("i", 3)
    assert pickle.loads(pickle.dumps(ctypes.c_int(4))).value == 4
    assert pickling.loads(pickling.dumps(ctypes.c_int(4))).value == 4
    other = copy(number)
    other.value = 9
    assert number.value == 3
    assert copy(Point(3, 4)).y == 4


def test_the_standard_library_finds_its_own_classes():
    std = multiprocessing.sharedctypes
    assert isinstance(mp.Value("i"), std.Synchronized)
    assert isinstance(mp.Array("i", 1), std.SynchronizedArray)
    assert isinstance(mp.Array("c", 1), std.SynchronizedString)
    assert isinstance(mp.Value(Point), std.SynchronizedBase)


def test_locks():
    lock = mp.Lock()
    assert mp.Value("i", lock=lock).get_lock() is lock
    assert isinstance(mp.Value("i", lock=False), ctypes.c_int)
    assert isinstance(mp.Array("i", 2, lock=False), ctypes.Array)
    value = synchronized(mp.RawValue("i"), lock)
    with value:
        assert not lock.acquire(block=False)
    assert lock.acquire(block=False)
    lock.release()


def test_sizes():
    assert len(mp.Array("i", 0)) == 0
    assert len(mp.RawArray("b", np.int64(3))) == 3
    assert mp.Array("i", range(3))[:] == [0, 1, 2]
    assert mp.Array("i", np.arange(3))[1:] == [1, 2]
    large = mp.RawArray("B", 5_000_000)
    assert not any(large[::4096])


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: mp.Value("z"), TypeError, "'z'; there are c u b B h H i I l L q Q f d"),
        (lambda: mp.Value(int), TypeError, "ctypes type"),
        (lambda: mp.Value(3), TypeError, "typecode"),
        (lambda: mp.Value("i", "text"), TypeError, "int"),
        (lambda: mp.Value("i", 1, 2), TypeError, "argument"),
        (lambda: mp.Array("i", -1), ValueError, "0 or more, not -1"),
        (lambda: mp.Array("i", ["text"]), TypeError, "int"),
        (lambda: mp.Array("i", 2.5), TypeError, "sequence"),
        (lambda: mp.Array("i", iter([1])), TypeError, "make a list"),
        (lambda: mp.Value("i", lock=3), AttributeError, "acquire"),
        (lambda: mp.Array("b", 1 << 50), MemoryError, "bytes"),
    ],
)
def test_bad_input_says_what_is_wrong_and_leaves_nothing(make, error, says, nothing_left):
    with pytest.raises(error, match=says):
        make()


def test_values_stay_shared_while_another_thread_learns_of_new_types(monkeypatch):
    """Whoever sends one meanwhile sends the shared one, not a copy."""
    shared = mp.RawValue("i", 1)
    reducers, registered = buffers.reducers, buffers.registered

    def send():
        monkeypatch.setattr(buffers, "reducers", reducers)
        monkeypatch.setattr(buffers, "registered", registered)
        queue = mp.SimpleQueue()
        queue.put(shared)
        return queue.get()

    class Watched(dict):
        """What is done while one thread reads this is what other threads do meanwhile."""

        def __iter__(self):
            return super().__iter__()

        def keys(self):
            arrived.append(send())
            monkeypatch.setattr(buffers, "registered", between)
            return super().keys()

    def between():
        arrived.append(send())
        return registered()

    arrived = []
    monkeypatch.setattr(buffers, "reducers", lambda: Watched(reducers()))
    monkeypatch.setitem(ForkingPickler._extra_reducers, type("New", (), {}), send)
    pickling.pack([])
    shared.value = 2
    assert [one.value for one in arrived] == [2, 2]
