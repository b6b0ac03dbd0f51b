"""Locks and semaphores count as their models do."""

from __future__ import annotations

import signal
from typing import Any

import allcores as mp
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from machinery import Counting, in_child, run, travelled

# Without waiting; for a time that is over at once; for one that isn't.
ways = st.sampled_from([(False, None), (True, 0), (True, -1), (True, 0.001)])


class SemaphoreMachine(Counting):
    @initialize(value=st.integers(0, 70), bounded=st.booleans())
    def start(self, value: int, bounded: bool) -> None:
        self.shared: Any = (mp.BoundedSemaphore if bounded else mp.Semaphore)(value)
        self.value, self.most = value, value if bounded else 2**31 - 1
        self.inside = 0

    @rule(way=ways)
    def acquire(self, way: tuple[bool, float | None]) -> None:
        assert self.shared.acquire(*way) == (self.value > 0)
        self.value -= self.value > 0

    @rule()
    def release(self) -> None:
        if self.value < self.most:
            self.shared.release()
            self.value += 1
        else:
            with pytest.raises(ValueError):
                self.shared.release()

    @precondition(lambda self: self.value > 0)
    @rule()
    def enter(self) -> None:
        self.shared.__enter__()
        self.value -= 1
        self.inside += 1

    @precondition(lambda self: self.inside > 0 and self.value < self.most)
    @rule()
    def leave(self) -> None:
        self.shared.__exit__(None, None, None)
        self.value += 1
        self.inside -= 1

    @rule()
    def travel(self) -> None:
        self.shared = travelled(self.shared)

    @rule(n=st.integers(1, 70), moment=st.integers(0, 3000))
    def a_child_dies_with_units(self, n: int, moment: int) -> None:
        shared = self.shared

        def work() -> None:
            for _ in range(min(n, shared.get_value())):
                shared.__enter__()

        in_child(work, moment)

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "value"):
            assert self.shared.get_value() == self.value
            assert self.shared.locked() == (self.value == 0)


class LockMachine(Counting):
    @initialize(recursive=st.booleans())
    def start(self, recursive: bool) -> None:
        self.recursive = recursive
        self.shared: Any = mp.RLock() if recursive else mp.Lock()
        self.depth = 0
        self.died = False
        # A Lock may be released once for a holder that has ended.
        self.is_left = False

    @rule(way=ways)
    def acquire(self, way: tuple[bool, float | None]) -> None:
        free = self.recursive or self.depth == 0
        assert self.shared.acquire(*way) == free
        self.depth += free
        self.is_left = False

    @rule()
    def release(self) -> None:
        if self.depth:
            self.shared.release()
            self.depth -= 1
        elif self.is_left:
            self.shared.release()
            self.is_left = False
        else:
            with pytest.raises(AssertionError if self.recursive else ValueError):
                self.shared.release()

    @precondition(lambda self: self.depth > 0)
    @rule()
    def mark_consistent(self) -> None:
        self.shared.mark_consistent()
        self.died = False

    @rule()
    def travel(self) -> None:
        self.shared = travelled(self.shared)

    @precondition(lambda self: self.depth == 0)
    @rule(times=st.integers(1, 3))
    def a_child_dies_with_it(self, times: int) -> None:
        shared = self.shared

        def work() -> None:
            for _ in range(times if self.recursive else 1):
                shared.acquire()
            # Its parent kills it at last.
            while True:
                signal.pause()

        def until_it_has_it() -> None:
            while not shared.locked():
                pass

        in_child(work, 0, until_it_has_it)
        self.died = True
        self.is_left = not self.recursive

    @invariant()
    def they_are_alike(self) -> None:
        if hasattr(self, "depth"):
            assert self.shared.locked() == (self.depth > 0)
            assert self.shared.owner_died == self.died


def test_semaphores_count() -> None:
    run(SemaphoreMachine)


def test_locks_count() -> None:
    run(LockMachine)
