"""Lists and dicts in shared containers do what lists and dicts in lists and dicts do."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from allcores.shared.lists import List
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from machinery import Counting, outcome, plain, run, same, travelled

keys = st.integers(0, 3) | st.sampled_from("ab")
simple = st.integers() | st.text(max_size=3) | st.booleans() | st.none()
trees = st.recursive(
    simple,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
paths = st.lists(st.integers(0, 5), max_size=4)


class NestedMachine(Counting):
    @initialize(items=st.lists(trees, min_size=1, max_size=3))
    def start(self, items: list[Any]) -> None:
        items.append({"a": 1})
        self.model = [deepcopy(items)]
        self.shared = List([items])

    def at(self, path: list[int]) -> tuple[Any, Any]:
        """The same container in both, by steps that are always possible."""
        one, other = self.model[0], self.shared[0]
        for step in path:
            if not one:
                break
            key = sorted(one, key=repr)[step % len(one)] if type(one) is dict else step % len(one)
            if type(one[key]) not in (list, dict):
                break
            one, other = one[key], other[key]
        return one, other

    def both(self, path: list[int], kind: type, method: str, *args: Any) -> None:
        one, other = self.at(path)
        if type(one) is kind:
            self.do(one, other, method, *args)

    def do(self, one: Any, other: Any, method: str, *args: Any) -> None:
        mine = deepcopy(args)
        expected = outcome(lambda: getattr(one, method)(*mine))
        found = outcome(lambda: getattr(other, method)(*args))
        assert found is other if expected is one else same(found, expected), (method, found)

    @rule(path=paths, tree=trees, method=st.sampled_from(["append", "remove", "count", "__eq__"]))
    def with_a_value(self, path: list[int], tree: Any, method: str) -> None:
        self.both(path, list, method, tree)

    @rule(
        path=paths,
        at=st.integers(-4, 4),
        tree=trees,
        how=st.sampled_from(["insert", "__setitem__"]),
    )
    def put(self, path: list[int], at: int, tree: Any, how: str) -> None:
        self.both(path, list, how, at, tree)

    @rule(
        path=paths,
        at=st.integers(-4, 4),
        how=st.sampled_from(["pop", "__getitem__", "__delitem__"]),
    )
    def take(self, path: list[int], at: int, how: str) -> None:
        self.both(path, list, how, at)

    @rule(
        path=paths,
        more=st.lists(trees, max_size=3),
        how=st.sampled_from(["extend", "__iadd__", "__add__"]),
    )
    def more(self, path: list[int], more: list[Any], how: str) -> None:
        self.both(path, list, how, more)

    @rule(path=paths, how=st.sampled_from(["reverse", "clear", "__len__", "copy", "__repr__"]))
    def simply(self, path: list[int], how: str) -> None:
        self.both(path, list, how)
        if how != "reverse":
            self.both(path, dict, how)

    @rule(
        path=paths,
        start=st.integers(-4, 4),
        stop=st.integers(-4, 4),
        more=st.lists(trees, max_size=3),
    )
    def put_slice(self, path: list[int], start: int, stop: int, more: list[Any]) -> None:
        self.both(path, list, "__setitem__", slice(start, stop), more)

    @rule(
        path=paths, key=keys, tree=trees, how=st.sampled_from(["__setitem__", "setdefault", "get"])
    )
    def put_key(self, path: list[int], key: Any, tree: Any, how: str) -> None:
        self.both(path, dict, how, key, tree)

    @rule(
        path=paths,
        key=keys,
        how=st.sampled_from(["pop", "__delitem__", "__getitem__", "__contains__"]),
    )
    def take_key(self, path: list[int], key: Any, how: str) -> None:
        self.both(path, dict, how, key)

    @rule(
        path=paths,
        more=st.dictionaries(keys, trees, max_size=3),
        how=st.sampled_from(["update", "__ior__", "__or__", "__eq__"]),
    )
    def more_keys(self, path: list[int], more: Any, how: str) -> None:
        self.both(path, dict, how, more)

    @rule(
        path=paths,
        there=st.tuples(st.sampled_from(["__setitem__", "pop"]), keys, simple),
        here=st.tuples(st.sampled_from(["__setitem__", "pop", "setdefault", "get"]), keys, simple),
    )
    def after_another_process(self, path: list[int], there: Any, here: Any) -> None:
        """What another one has changed, the object of this process has not seen yet."""
        self.one_after_the_other(path, dict, there, here)

    @rule(
        path=paths,
        there=st.sampled_from([("append", 1), ("pop",), ("insert", 0, 2), ("clear",)]),
        here=st.sampled_from([("append", 3), ("pop",), ("reverse",), ("insert", 0, 4), ("clear",)]),
    )
    def after_another_process_in_a_list(self, path: list[int], there: Any, here: Any) -> None:
        self.one_after_the_other(path, list, there, here)

    def one_after_the_other(self, path: list[int], kind: type, there: Any, here: Any) -> None:
        one, other = self.at(path)
        if type(one) is kind:
            self.do(one, other._shared, *there)
            self.do(one, other, *here)
            assert same(other, one)  # this object: nobody holds it until the next step

    @rule(value=plain)
    def anew(self, value: Any) -> None:
        self.model[0] = [{"new": [value]}]
        self.shared[0] = [{"new": [value]}]

    @rule(path=paths)
    def travel(self, path: list[int]) -> None:
        one, other = self.at(path)
        arrived = travelled(other)
        assert arrived is other
        assert same(deepcopy(other), one)

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "model"):
            found = self.shared[0]
            assert same(found, self.model[0])
            assert found == self.model[0]
            # The encoder in C looks at the objects' own memory.
            assert json.dumps(found, default=str) == json.dumps(self.model[0], default=str)


def test_what_is_in_a_shared_list_is_live() -> None:
    run(NestedMachine)
