"""A queue does what a bounded deque would, in any order of operations."""

from __future__ import annotations

from collections import deque
from queue import Empty, Full
from typing import Any

import pytest
from allcores.queues import JoinableQueue
from allcores.shared.lists import List
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from machinery import Counting, in_child, run, same, travelled, values

bounds = st.sampled_from([0, 0, 1, 2, 3, 16, 17, 100, 1024, 1100])
# Without waiting; for a time that is over at once; for one that isn't.
ways = st.sampled_from([(False, None), (True, 0), (True, -1), (True, 0.001)])


class QueueMachine(Counting):
    @initialize(maxsize=bounds)
    def start(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.queue: JoinableQueue[Any] = JoinableQueue(maxsize)
        self.model: deque[Any] = deque()
        self.unfinished = 0
        self.closed = False
        self.shared = List(["travels"])

    def is_full(self) -> bool:
        return 0 < self.maxsize <= len(self.model)

    def put_one(self, value: Any, block: bool = False, timeout: float | None = None) -> None:
        if self.closed:
            with pytest.raises(ValueError):
                self.queue.put(value, block, timeout)
        elif self.is_full():
            with pytest.raises(Full):
                self.queue.put(value, block, timeout)
        else:
            self.queue.put(value, block, timeout)
            self.model.append(value)
            self.unfinished += 1

    def get_one(self, block: bool = False, timeout: float | None = None) -> None:
        if self.closed:
            with pytest.raises(ValueError):
                self.queue.get(block, timeout)
        elif self.model:
            found = self.queue.get(block, timeout)
            expected = self.model.popleft()
            assert same(found, expected), (found, expected)
        else:
            with pytest.raises(Empty):
                self.queue.get(block, timeout)

    @rule(value=values, way=ways)
    def put(self, value: Any, way: tuple[bool, float | None]) -> None:
        self.put_one(value, *way)

    @rule()
    def put_a_shared_one(self) -> None:
        self.put_one(self.shared)

    @rule(n=st.integers(2, 400))
    def put_many(self, n: int) -> None:
        for i in range(n):
            self.put_one(i)

    @rule(way=ways)
    def get(self, way: tuple[bool, float | None]) -> None:
        self.get_one(*way)

    @rule(n=st.integers(2, 400))
    def get_many(self, n: int) -> None:
        for _ in range(min(n, len(self.model) + 1)):
            self.get_one()

    @rule(n=st.integers(1, 5))
    def task_done(self, n: int) -> None:
        for _ in range(n):
            if self.unfinished:
                self.queue.task_done()
                self.unfinished -= 1
            else:
                with pytest.raises(ValueError):
                    self.queue.task_done()

    @precondition(lambda self: not self.unfinished)
    @rule()
    def join(self) -> None:
        self.queue.join()

    @precondition(lambda self: not self.closed)
    @rule()
    def travel(self) -> None:
        self.queue = travelled(self.queue)

    @precondition(lambda self: not self.closed)
    @rule(n=st.integers(1, 30), moment=st.integers(0, 3000))
    def a_producer_dies(self, n: int, moment: int) -> None:
        queue = self.queue

        def work() -> None:
            for i in range(n):
                queue.put(("child", i), block=False)

        if self.maxsize and len(self.model) + n > self.maxsize:
            return
        in_child(work, moment)
        # What waited before, then the first of what it put, in order.
        for expected in self.model:
            assert same(queue.get(block=False), expected)
        for i in range(n):
            try:
                assert queue.get(block=False) == ("child", i)
            except Empty:
                break
            queue.task_done()
        with pytest.raises(Empty):
            queue.get(block=False)
        for value in self.model:
            queue.put(value, block=False)
            queue.task_done()

    @precondition(lambda self: not self.closed)
    @rule(n=st.integers(1, 30), moment=st.integers(0, 3000))
    def a_consumer_dies(self, n: int, moment: int) -> None:
        queue = self.queue

        def work() -> None:
            for _ in range(n):
                queue.get(block=False)

        n = min(n, len(self.model))
        in_child(work, moment)
        left = []
        while not queue.empty():
            left.append(queue.get(block=False))
        taken = len(self.model) - len(left)
        assert 0 <= taken <= n
        assert same(left, list(self.model)[taken:])
        for _ in range(taken):
            self.model.popleft()
        for value in left:
            queue.put(value, block=False)
            queue.task_done()

    @precondition(lambda self: self.model is not None)
    @rule(really=st.integers(0, 9))
    def close(self, really: int) -> None:
        if really == 9:
            self.queue.close()
            self.closed = True

    @invariant()
    def they_are_alike(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.queue.qsize() == len(self.model)
        assert self.queue.full() == self.is_full()
        if not self.closed:
            assert self.queue.empty() == (not self.model)


def test_a_queue_is_a_deque() -> None:
    run(QueueMachine)
