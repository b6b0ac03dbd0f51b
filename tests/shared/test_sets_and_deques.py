"""The shared set and the shared deque in several processes; what they do is in tests/machines."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import MutableSequence, MutableSet

import allcores as mp
import pytest

METHODS = ["fork", "spawn", "forkserver"]


def add_all(shared, start):
    shared.update(range(start, start + 500))
    for i in range(start, start + 500, 2):
        shared.remove(i)


@pytest.mark.parametrize("method", METHODS)
def test_children_fill_a_set(method):
    ctx = mp.get_context(method)
    shared = mp.shared.set()
    children = [ctx.Process(target=add_all, args=(shared, 1000 * i)) for i in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert shared == {n for i in range(3) for n in range(1000 * i + 1, 1000 * i + 500, 2)}


def take_all(elements, items, taken):
    while True:
        try:
            taken.put((elements.pop(), items.popleft()))
        except (KeyError, IndexError):
            return


@pytest.mark.parametrize("method", METHODS)
def test_each_is_taken_once(method):
    ctx = mp.get_context(method)
    elements, items = mp.shared.set(range(300)), mp.shared.deque(range(300))
    taken = ctx.Queue()
    children = [ctx.Process(target=take_all, args=(elements, items, taken)) for _ in range(2)]
    for child in children:
        child.start()
    pairs = [taken.get() for _ in range(300)]
    for child in children:
        child.join()
    assert not elements
    assert not items
    assert sorted(one for one, _ in pairs) == sorted(two for _, two in pairs) == list(range(300))


def push(shared, who):
    for i in range(400):
        (shared.append if i % 2 else shared.appendleft)("x" * (who * 100))


@pytest.mark.parametrize("method", METHODS)
def test_a_bounded_deque_stays_so(method):
    ctx = mp.get_context(method)
    shared = mp.shared.deque("12345", maxlen=5)
    children = [ctx.Process(target=push, args=(shared, i)) for i in range(1, 4)]
    for child in children:
        child.start()
    while any(child.is_alive() for child in children):
        assert len(shared.copy()) == 5
    for child in children:
        child.join()
    assert len(shared) == 5
    assert set(shared) <= {*"12345", "x" * 100, "x" * 200, "x" * 300}


def push_for_ever(shared, ready):
    ready.set()
    while True:
        shared.append("text that needs a block of its own")
        shared.appendleft("text that needs a block of its own")


def test_a_killed_process_leaves_a_full_deque_full():
    ctx = mp.get_context("fork")
    shared = mp.shared.deque(["text that needs a block of its own"] * 4, maxlen=4)
    for _ in range(30):
        ready = ctx.Event()
        child = ctx.Process(target=push_for_ever, args=(shared, ready))
        child.start()
        ready.wait()
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert shared == deque(["text that needs a block of its own"] * 4, maxlen=4)


def test_what_they_are():
    elements, items = mp.shared.set("ab"), mp.shared.deque("ab", 3)
    assert isinstance(elements, MutableSet)
    assert isinstance(items, MutableSequence)
    assert repr(elements) == "{'a', 'b'}"
    assert repr(mp.shared.set()) == "set()"
    assert repr(items) == "deque(['a', 'b'], maxlen=3)"
    items.append(items)
    assert repr(items) == "deque(['a', 'b', deque([...])], maxlen=3)"
    items.clear()
    for wrong in (lambda: hash(elements), lambda: hash(items), lambda: elements.add([])):
        with pytest.raises(TypeError, match="unhashable"):
            wrong()
    assert type(elements.copy()) is type(elements | {1}) is set
    assert type(items.copy()) is deque


def test_wrong_use():
    elements, items = mp.shared.set([1, 2]), mp.shared.deque([1, 2], 2)
    for wrong, kind in (
        (lambda: elements.update(3), TypeError),
        (lambda: elements.remove(3), KeyError),
        (lambda: elements | [3], TypeError),
        (lambda: elements.__class__(3), TypeError),
        (lambda: elements < [3], TypeError),
        (lambda: items[2], IndexError),
        (lambda: items[0:1], TypeError),
        (lambda: items.insert(0, 3), IndexError),
        (lambda: items.remove(3), ValueError),
        (lambda: items.index(3), ValueError),
        (lambda: items.extend(3), TypeError),
        (lambda: items < [3], TypeError),
        (lambda: items.rotate("x"), TypeError),
        (lambda: mp.shared.deque([], -1), ValueError),
        (lambda: mp.shared.deque([], "x"), TypeError),
        (lambda: mp.shared.deque().pop(), IndexError),
        (lambda: mp.shared.set().pop(), KeyError),
    ):
        with pytest.raises(kind):
            wrong()
    assert elements == {1, 2}
    assert list(items) == [1, 2]


def test_a_set_that_changes_while_it_is_iterated():
    elements = mp.shared.set(range(3))
    with pytest.raises(RuntimeError, match="changed size"):
        for element in elements:
            elements.discard(element)
    for element in elements.copy():
        elements.discard(element)
    assert not elements
