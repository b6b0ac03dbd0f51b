"""Cases about state that processes share: a manager's containers, and Value.

`mp` is the library under measurement, allcores or multiprocessing: the same code for both, written
as one would; `peer` is any that has a dict which processes share (mappings.py). Rates are those of
a process, unless the case says two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benches.peers import Peer

now = time.perf_counter
VALUE_ROUNDS = 200_000
LIST_LENGTH = 10_000


def _rounds(mp: Any) -> int:
    # The standard library's takes a round trip to another process each time.
    return 300_000 if mp.__name__ == "allcores" else 5_000


def _rate(container: Any, work: Callable[[Any, Iterable[int]], None], rounds: int) -> float:
    """Thousands of accesses in a second, to the numbers below 100 again and again."""
    keys = list(range(100)) * (rounds // 100)
    for key in range(100):
        container[key] = key
    work(container, keys[:1000])
    start = now()
    work(container, keys)
    return rounds / (now() - start) / 1e3


def _read(container: Any, keys: Iterable[int]) -> None:
    for key in keys:
        container[key]


def _write(container: Any, keys: Iterable[int]) -> None:
    for key in keys:
        container[key] = key


def list_get(mp: Any) -> float:
    with mp.get_context("fork").Manager() as manager:
        return _rate(manager.list(range(100)), _read, _rounds(mp))


def list_set(mp: Any) -> float:
    with mp.get_context("fork").Manager() as manager:
        return _rate(manager.list(range(100)), _write, _rounds(mp))


def dict_get(peer: Peer) -> float:
    with peer.shared_dict() as mapping:
        return _rate(mapping, _read, _dict_rounds(peer))


def dict_set(peer: Peer) -> float:
    with peer.shared_dict() as mapping:
        return _rate(mapping, _write, _dict_rounds(peer))


def _dict_rounds(peer: Peer) -> int:
    # With these each access is a round trip to another process.
    return 5_000 if {"multiprocessing", "redis"} & {*peer.modules} else 300_000


def list_iterate(mp: Any) -> float:
    """Milliseconds for all items of a list."""
    with mp.get_context("fork").Manager() as manager:
        shared = manager.list(range(LIST_LENGTH))
        times = []
        for _ in range(20 if mp.__name__ == "allcores" else 1):
            start = now()
            count = sum(1 for _ in shared)
            times.append(now() - start)
            if count != LIST_LENGTH:
                raise RuntimeError(f"{count} items of {LIST_LENGTH}")
    return sorted(times)[len(times) // 2] * 1e3


def _count(mapping: Any, lock: Any, rounds: int) -> None:
    if hasattr(mapping, "add"):
        for _ in range(rounds):
            mapping.add(0)
    else:
        for _ in range(rounds):
            with lock:
                mapping[0] += 1


def _count_in_child(mapping: Any, lock: Any, rounds: int) -> None:
    if hasattr(mapping, "after_fork"):
        mapping.after_fork()
    _count(mapping, lock, rounds)


def dict_count(peer: Peer) -> float:
    """Thousands of exact increments of one key in a second, by two processes."""
    context = peer.context()
    with peer.shared_dict() as mapping:
        mapping[0] = 0
        args = (mapping, mapping.lock if hasattr(mapping, "lock") else context.Lock())
        rounds = _dict_rounds(peer)
        child = context.Process(target=_count_in_child, args=(*args, rounds))
        return _by_two(child, lambda: _count(*args, rounds), rounds, lambda: mapping[0])


def _add(value: Any, rounds: int) -> None:
    for _ in range(rounds):
        with value.get_lock():
            value.value += 1


def value_add(mp: Any) -> float:
    """The same with a Value under its lock."""
    context = mp.get_context("fork")
    value = context.Value("q")
    child = context.Process(target=_add, args=(value, VALUE_ROUNDS))
    return _by_two(child, lambda: _add(value, VALUE_ROUNDS), VALUE_ROUNDS, lambda: value.value)


def _by_two(
    child: Any, work: Callable[[], object], rounds: int, counted: Callable[[], int]
) -> float:
    """Let a child and this process count to `rounds` each, at once."""
    child.start()
    while counted() == 0:
        if not child.is_alive():
            raise RuntimeError(f"the child ended with exit code {child.exitcode}")
    begun, start = counted(), now()
    work()
    child.join()
    seconds = now() - start
    if counted() != 2 * rounds:
        raise RuntimeError(f"{2 * rounds} additions made {counted()}")
    return float(2 * rounds - begun) / seconds / 1e3
