"""Fills shared memory until there is no more, and goes on after freeing some."""

from __future__ import annotations

from typing import Any


def fill(shared: Any, queue: Any, size: int) -> int:
    """Append until an error, which has to be a MemoryError; return how many went in."""
    count = 0
    while True:
        try:
            shared.append(bytes(size))
        except MemoryError:
            break
        count += 1
    full = 0
    try:
        while True:
            queue.put(bytes(size))
            full += 1
    except MemoryError:
        pass
    for _ in range(full):
        assert len(queue.get()) == size
    assert len(shared) == count
    return count


def add(shared: Any, lock: Any) -> None:
    with lock:
        shared.append("from a child")


def main(size: int = 200_000, rounds: int = 3) -> None:
    """Fill, look, free, and use everything again."""
    import allcores as mp
    from allcores import _core

    context = mp.get_context("fork")
    shared, queue, lock = mp.Manager().list(), context.Queue(), context.Lock()
    counts = []
    for _ in range(rounds):
        count = fill(shared, queue, size)
        assert count > 2, count
        counts.append(count)
        # What is there stays right, and what needs no memory goes on.
        with lock:
            assert len(shared[0]) == len(shared[-1]) == size
        del shared[count // 2 :]
        queue.put("small")
        assert queue.get() == "small"
        child = context.Process(target=add, args=(shared, lock))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert shared.pop() == "from a child"
        del shared[:]
    assert min(counts) > max(counts) // 2, counts
    shared = queue = lock = None
    _core.recover()
    print("filled", flush=True)
