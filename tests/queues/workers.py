"""What the processes of these tests do; importable, so that it works under every start method."""

from __future__ import annotations

import os
import signal
import struct
from typing import Any

from allcores import _core

END = -1


def produce(queue: Any, who: int, count: int) -> None:
    for i in range(count):
        queue.put((who, i) if i % 3 else who << 32 | i)


def consume(queue: Any, results: Any) -> None:
    """Put (number of items, their sum, whether each producer's came in order) into `results`."""
    number = total = 0
    last: dict[int, int] = {}
    in_order = True
    for item in iter(queue.get, END):
        who, i = item if isinstance(item, tuple) else (item >> 32, item & 0xFFFFFFFF)
        in_order &= last.get(who, -1) < i
        last[who] = i
        number += 1
        total += who << 32 | i
    results.put((number, total, in_order))


def put_all(queue: Any, items: list[Any]) -> None:
    for item in items:
        queue.put(item)


def put_ints(queue: Any, count: int) -> None:
    for i in range(count):
        queue.put(i)


def put_after_get(first: Any, second: Any) -> None:
    second.put(first.get())


def put_for_ever(queue: Any, ledger: Any, size: int = 100) -> None:
    """Put 0, 1, 2, ... of differing sizes; note in `ledger` how many are in."""
    i = 0
    while True:
        queue.put((i, b"x" * (i % 5 * size)))
        i += 1
        write(ledger, 0, i)


def work_off(queue: Any) -> None:
    for _ in iter(queue.get, None):
        queue.task_done()
    queue.task_done()


def get_until_end(queue: Any, results: Any) -> None:
    for item in iter(queue.get, END):
        results.put(item)


def kill_yourself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Block:
    """A `_core.Block` that travels."""

    def __init__(self, nbytes: int) -> None:
        self.block = _core.Block(nbytes)

    def __getstate__(self) -> Any:
        from allcores import pickling

        pickling.note_sent(self.block.offset)
        return (*self.block.handle(), self.block.nbytes)

    def __setstate__(self, state: Any) -> None:
        self.block = _core.Block.from_handle(*state)


def write(block: Block, index: int, value: int) -> None:
    # In one store: `struct.pack_into` writes zeros first, and whoever is killed then leaves them.
    memoryview(block.block).cast("B").cast("Q")[index] = value


def read(block: Block, index: int) -> int:
    return int(struct.unpack_from("Q", block.block, 8 * index)[0])
