"""A timeout that is no number is the same clear error everywhere, needed or not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import allcores as mp
import pytest

CALLS = [
    "lock", "rlock", "semaphore", "event", "set event", "condition", "barrier",
    "get", "get what is there", "put", "put where there is room",
    "ready result", "result", "imap", "process", "finished process",
]  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    with mp.Pool(1) as pool:
        yield pool


def _waiter(name: str, pool: Any) -> Callable[[Any], object]:
    """Return a function that waits, with the timeout that it is given."""
    if name == "event":
        return mp.Event().wait  # type: ignore[no-any-return]
    if name == "set event":
        event = mp.Event()
        event.set()
        return event.wait  # type: ignore[no-any-return]
    if name == "condition":
        condition = mp.Condition()
        condition.acquire()
        return condition.wait  # type: ignore[no-any-return]
    if name == "barrier":
        return mp.Barrier(2).wait  # type: ignore[no-any-return]
    if name in ("get", "get what is there"):
        queue = mp.Queue()
        if name != "get":
            queue.put(1)
        return lambda timeout: queue.get(True, timeout)
    if name in ("put", "put where there is room"):
        bounded = mp.Queue(1)
        if name == "put":
            bounded.put(1)
        return lambda timeout: bounded.put(2, True, timeout)
    if name in ("ready result", "result"):
        result = pool.apply_async(time.sleep, (0 if name == "ready result" else 0.2,))
        if name == "ready result":
            result.wait()
        return result.get  # type: ignore[no-any-return]
    if name == "imap":
        return pool.imap(abs, [1]).next  # type: ignore[no-any-return]
    made = {"lock": mp.Lock, "rlock": mp.RLock, "semaphore": mp.Semaphore}[name]()
    return lambda timeout: made.acquire(True, timeout)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_timeout_is_a_clear_error(name: str, pool: Any) -> None:
    process = None
    if name.endswith("process"):
        process = mp.Process(target=time.sleep, args=(0 if name.startswith("fin") else 0.2,))
        process.start()
        if name.startswith("fin"):
            process.join()
        wait: Callable[[Any], object] = process.join
    else:
        wait = _waiter(name, pool)
    for wrong in ("1", b"1", [], 1j, object()):
        with pytest.raises(TypeError, match=r"timeout must be a number of seconds or None, not"):
            wait(wrong)
    with pytest.raises(ValueError, match="NaN"):
        wait(math.nan)
    if process is not None:
        process.join(10**400)  # longer than any clock runs: for ever
        process.join(math.inf)
        process.close()
