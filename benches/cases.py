"""What is measured: each case is one function; it runs in a fresh process and returns one figure.

`mp` is the library under measurement, allcores or multiprocessing: the same code for both.
Processes are forked, and started before the time counts unless a case is about starting them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benches import idle, tasks

now = time.perf_counter
LOCK_ROUNDS = 500_000
PING_PONGS = 4_000
QUEUE_ITEMS = 50_000
BIG_ITEMS = 10_000
EXECUTOR_CALLS = 20_000


class Case(NamedTuple):
    """One row of the table."""

    measure: Callable[[Any], float]
    unit: str
    what: str
    more_is_better: bool = False
    target: str = ""


def lock_uncontended(mp: Any) -> float:
    lock = mp.get_context("fork").Lock()
    acquire, release = lock.acquire, lock.release
    start = now()
    for _ in range(LOCK_ROUNDS):
        acquire()
        release()
    return (now() - start) / LOCK_ROUNDS * 1e9


def lock_with(mp: Any) -> float:
    lock = mp.get_context("fork").Lock()
    start = now()
    for _ in range(LOCK_ROUNDS):
        with lock:
            pass
    return (now() - start) / LOCK_ROUNDS * 1e9


def _median_round(ping: Callable[[], object], rounds: int) -> float:
    """The median time of a round in microseconds, after some to warm up."""
    times = []
    for _ in range(rounds // 10):
        ping()
    for _ in range(rounds):
        start = now()
        ping()
        times.append(now() - start)
    return statistics.median(times) * 1e6


def _with_child(
    mp: Any, target: Callable[..., None], args: tuple[Any, ...], ping: Callable[[], object]
) -> float:
    """Play `PING_PONGS` rounds against a forked child, which plays one more to end."""
    rounds = PING_PONGS + PING_PONGS // 10
    child = mp.get_context("fork").Process(target=target, args=(*args, rounds))
    child.start()
    figure = _median_round(ping, PING_PONGS)
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the child ended with exit code {child.exitcode}")
    return figure


def _event_child(here: Any, there: Any, rounds: int) -> None:
    for _ in range(rounds):
        here.wait()
        here.clear()
        there.set()


def event_ping_pong(mp: Any) -> float:
    context = mp.get_context("fork")
    here, there = context.Event(), context.Event()

    def ping() -> None:
        there.set()
        here.wait()
        here.clear()

    return _with_child(mp, _event_child, (there, here), ping)


def _semaphore_child(here: Any, there: Any, rounds: int) -> None:
    for _ in range(rounds):
        here.acquire()
        there.release()


def semaphore_ping_pong(mp: Any) -> float:
    context = mp.get_context("fork")
    here, there = context.Semaphore(0), context.Semaphore(0)

    def ping() -> None:
        there.release()
        here.acquire()

    return _with_child(mp, _semaphore_child, (there, here), ping)


def _take_turn(condition: Any, turn: Any, mine: int) -> None:
    with condition:
        while turn.value != mine:
            condition.wait()
        turn.value = 1 - mine
        condition.notify()


def _condition_child(condition: Any, turn: Any, rounds: int) -> None:
    for _ in range(rounds):
        _take_turn(condition, turn, 1)


def condition_ping_pong(mp: Any) -> float:
    context = mp.get_context("fork")
    condition, turn = context.Condition(), context.RawValue("i", 0)

    def ping() -> None:
        _take_turn(condition, turn, 0)

    return _with_child(mp, _condition_child, (condition, turn), ping)


def _queue_child(inbox: Any, outbox: Any, rounds: int) -> None:
    for _ in range(rounds):
        outbox.put(inbox.get())


def queue_ping_pong(mp: Any) -> float:
    context = mp.get_context("fork")
    out, back = context.Queue(), context.Queue()

    def ping() -> None:
        out.put(1)
        back.get()

    return _with_child(mp, _queue_child, (out, back), ping)


def _produce(queue: Any, count: int) -> None:
    for number in range(count):
        queue.put(number)


def queue_throughput(mp: Any) -> float:
    context = mp.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_produce, args=(queue, QUEUE_ITEMS))
    child.start()
    queue.get()
    start = now()
    total = sum(queue.get() for _ in range(QUEUE_ITEMS - 1))
    seconds = now() - start
    child.join()
    if total != QUEUE_ITEMS * (QUEUE_ITEMS - 1) // 2:
        raise RuntimeError(f"the queue lost or changed items: sum {total}")
    return (QUEUE_ITEMS - 1) / seconds / 1e3


def _dict_rate(rounds: int, work: Callable[[int], object]) -> float:
    start = now()
    for number in range(rounds):
        work(number)
    return rounds / (now() - start) / 1e3


def _dict_rounds(mp: Any) -> int:
    # The standard library's takes a round trip to another process each time.
    return 300_000 if mp.__name__ == "allcores" else 5_000


def dict_get(mp: Any) -> float:
    with mp.get_context("fork").Manager() as manager:
        mapping = manager.dict({number: number for number in range(100)})
        get = mapping.get
        return _dict_rate(_dict_rounds(mp), lambda number: get(number % 100))


def dict_set(mp: Any) -> float:
    with mp.get_context("fork").Manager() as manager:
        mapping = manager.dict()
        put = mapping.__setitem__
        return _dict_rate(_dict_rounds(mp), lambda number: put(number % 100, number))


def _count(mapping: Any, lock: Any, rounds: int) -> None:
    if hasattr(mapping, "add"):
        for _ in range(rounds):
            mapping.add("count")
    else:
        for _ in range(rounds):
            with lock:
                mapping["count"] += 1


def dict_count(mp: Any) -> float:
    context = mp.get_context("fork")
    rounds = _dict_rounds(mp)
    with context.Manager() as manager:
        mapping, lock = manager.dict(count=0), context.Lock()
        child = context.Process(target=_count, args=(mapping, lock, rounds))
        child.start()
        while mapping["count"] == 0:
            pass
        begun, start = mapping["count"], now()
        _count(mapping, lock, rounds)
        child.join()
        seconds = now() - start
        counted = mapping["count"]
    if counted != 2 * rounds:
        raise RuntimeError(f"{2 * rounds} additions made {counted}")
    return float(counted - begun) / seconds / 1e3


def _nothing(number: int) -> int:
    return number


def _lock_rounds(lock: Any, go: Any, rounds: int) -> None:
    go.wait()
    for _ in range(rounds):
        lock.acquire()
        lock.release()


def lock_contended(mp: Any) -> float:
    context = mp.get_context("fork")
    lock, go = context.Lock(), context.Event()
    children = [
        context.Process(target=_lock_rounds, args=(lock, go, LOCK_ROUNDS)) for _ in range(2)
    ]
    for child in children:
        child.start()
    start = now()
    go.set()
    for child in children:
        child.join()
    return 2 * LOCK_ROUNDS / (now() - start) / 1e3


def _barrier_child(barrier: Any, rounds: int) -> None:
    for _ in range(rounds):
        barrier.wait()


def barrier_ping_pong(mp: Any) -> float:
    barrier = mp.get_context("fork").Barrier(2)
    return _with_child(mp, _barrier_child, (barrier,), barrier.wait)


def _produce_bytes(queue: Any, count: int) -> None:
    data = bytes(64 << 10)
    for _ in range(count):
        queue.put(data)


def queue_bytes(mp: Any) -> float:
    context = mp.get_context("fork")
    queue = context.Queue(64)
    child = context.Process(target=_produce_bytes, args=(queue, BIG_ITEMS))
    child.start()
    queue.get()
    start = now()
    total = sum(len(queue.get()) for _ in range(BIG_ITEMS - 1))
    seconds = now() - start
    child.join()
    return total / seconds / 1e9


def _executor(mp: Any) -> Any:
    if mp.__name__ == "allcores":
        make = mp.ProcessPoolExecutor
    else:
        from concurrent.futures import ProcessPoolExecutor as make
    return make(2, mp.get_context("fork"))


def executor_submit(mp: Any) -> float:
    with _executor(mp) as executor:
        executor.submit(_nothing, 1).result()
        start = now()
        futures = [executor.submit(_nothing, number) for number in range(EXECUTOR_CALLS)]
        result = [future.result() for future in futures]
        seconds = now() - start
    if result != list(range(EXECUTOR_CALLS)):
        raise RuntimeError("the futures have other results than they should have")
    return EXECUTOR_CALLS / seconds / 1e3


def executor_round_trip(mp: Any) -> float:
    with _executor(mp) as executor:
        return _median_round(lambda: executor.submit(_nothing, 1).result(), PING_PONGS)


def process_start(mp: Any) -> float:
    context = mp.get_context("fork")
    times = []
    for number in range(50):
        start = now()
        child = context.Process(target=_nothing, args=(number,))
        child.start()
        child.join()
        times.append(now() - start)
    return statistics.median(times) * 1e3


CASES: dict[str, Case] = {
    "lock": Case(lock_uncontended, "ns", "Lock, uncontended: acquire and release", target="<= 1"),
    "lock_with": Case(lock_with, "ns", "Lock, uncontended: with", target="<= 1"),
    "lock_contended": Case(
        lock_contended, "k/s", "Lock, 2 processes, nothing inside", more_is_better=True
    ),
    "event": Case(event_ping_pong, "µs", "Event: there and back, median", target="<= 0.2"),
    "condition": Case(
        condition_ping_pong, "µs", "Condition: there and back, median", target="<= 0.2"
    ),
    "semaphore": Case(semaphore_ping_pong, "µs", "Semaphore: there and back, median"),
    "barrier": Case(barrier_ping_pong, "µs", "Barrier of 2: a round, median"),
    "queue": Case(
        queue_throughput, "k/s", "Queue: small integers, one writer", more_is_better=True
    ),
    "queue_bytes": Case(queue_bytes, "GB/s", "Queue: 64 KB bytes, one writer", more_is_better=True),
    "queue_ping": Case(queue_ping_pong, "µs", "Queue: there and back, median"),
    "dict_get": Case(
        dict_get, "k/s", "Manager().dict: get an int", more_is_better=True, target=">= 10"
    ),
    "dict_set": Case(
        dict_set, "k/s", "Manager().dict: set an int", more_is_better=True, target=">= 10"
    ),
    "dict_count": Case(
        dict_count, "k/s", "Manager().dict: count, 2 processes", more_is_better=True, target=">= 10"
    ),
    "pool": Case(tasks.map_default, "k/s", "Pool.map, 1,000,000 ints", more_is_better=True),
    "pool_single": Case(
        tasks.map_single, "k/s", "Pool.map, chunksize 1", more_is_better=True, target=">= 500 k/s"
    ),
    "pool_imap": Case(
        tasks.imap_single, "k/s", "imap_unordered", more_is_better=True, target=">= 400 k/s"
    ),
    "pool_async": Case(tasks.apply_async, "k/s", "apply_async, all results", more_is_better=True),
    "pool_apply": Case(tasks.apply_hot, "µs", "apply: there and back, median"),
    "pool_tiny": Case(
        tasks.tiny_tasks, "x", "map of 1 µs tasks against a loop", more_is_better=True
    ),
    "executor_submit": Case(
        executor_submit, "k/s", "Executor: submit 20,000, then all results", more_is_better=True
    ),
    "executor_round_trip": Case(
        executor_round_trip, "µs", "Executor: submit(...).result(), median"
    ),
    "process": Case(process_start, "ms", "Process: fork, start and join, median"),
    "idle": Case(idle.waiter, "ms/s", "CPU time of the dearest idle waiter", target="<= 1 ms/s"),
    "idle_pool": Case(idle.pool, "ms/s", "CPU time of an idle Pool(2)", target="<= 3 ms/s"),
}
