"""Queues between processes: nothing lost, nothing doubled, in order, nobody waits for nothing."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
from queue import Empty
from typing import Any

import allcores as mp
import pytest
import workers
from allcores import _core

SEED = int(os.environ.get("ALLCORES_TEST_SEED", random.SystemRandom().randrange(2**32)))


# Takes seconds of computing, or many turns between processes: minutes on a busy machine.
LONG = pytest.mark.watchdog(300)


@pytest.fixture
def dice() -> random.Random:
    print(f"ALLCORES_TEST_SEED={SEED}")
    return random.Random(SEED)


@pytest.mark.parametrize("maxsize", [0, 1, 20, 2000])
def test_each_item_arrives_once_and_in_its_producers_order(ctx_two: Any, maxsize: int) -> None:
    count = 400 if maxsize == 1 else 4000
    queue, results = ctx_two.Queue(maxsize), ctx_two.Queue()
    producers = [
        ctx_two.Process(target=workers.produce, args=(queue, who, count)) for who in range(3)
    ]
    consumers = [ctx_two.Process(target=workers.consume, args=(queue, results)) for _ in range(2)]
    for process in producers + consumers:
        process.start()
    for process in producers:
        process.join()
    for _ in consumers:
        queue.put(workers.END)
    answers = [results.get() for _ in consumers]
    for process in consumers:
        process.join()
    assert all(in_order for _, _, in_order in answers)
    assert sum(number for number, _, _ in answers) == 3 * count
    expected = sum(who << 32 | i for who in range(3) for i in range(count))
    assert sum(total for _, total, _ in answers) == expected


def test_a_process_is_joined_before_its_items_are_read(ctx: Any) -> None:
    queue = ctx.Queue()
    items = [b"x" * (10 << 20), list(range(100_000)), "end"]
    process = ctx.Process(target=workers.put_all, args=(queue, items))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert [queue.get(timeout=1) for _ in items] == items
    assert queue.empty()


@LONG
def test_a_million_items_wait_for_a_reader_that_comes_later(ctx_two: Any) -> None:
    queue = ctx_two.Queue()
    process = ctx_two.Process(target=workers.put_ints, args=(queue, 1_000_000))
    process.start()
    process.join()
    assert queue.qsize() == 1_000_000
    assert all(queue.get() == i for i in range(1_000_000))
    assert queue.empty()


def test_workers_join_their_queue(ctx: Any) -> None:
    queue = ctx.JoinableQueue()
    processes = [ctx.Process(target=workers.work_off, args=(queue,)) for _ in range(3)]
    for process in processes:
        process.start()
    for i in range(500):
        queue.put(i)
    queue.join()
    for _ in processes:
        queue.put(None)
    queue.join()
    for process in processes:
        process.join()


def test_queues_travel_through_queues(ctx: Any) -> None:
    way = ctx.Queue()
    process = ctx.Process(target=workers.put_after_get, args=(way, way_back := ctx.SimpleQueue()))
    process.start()
    inner = ctx.Queue()
    inner.put("inside")
    way.put({"a queue": [inner]})
    del inner
    process.join()
    assert way_back.get()["a queue"][0].get(timeout=1) == "inside"


def test_what_travels_is_given_back_when_nobody_reads(ctx_two: Any) -> None:
    queue = ctx_two.Queue()
    del queue
    # What would go by itself meanwhile.
    gc.collect()
    _core.recover()
    before = _core.stats()["live_blocks"]
    queue = ctx_two.Queue()
    for i in range(600):
        queue.put([mp.Queue(), i])
    assert _core.stats()["live_blocks"] > before + 600
    del queue
    assert _core.stats()["live_blocks"] <= before


@LONG
@pytest.mark.parametrize("maxsize", [0, 3])
def test_a_killed_producer_costs_nobody_elses_item(
    ctx_two: Any, maxsize: int, dice: random.Random
) -> None:
    for _ in range(5):
        queue, ledger = ctx_two.Queue(maxsize), workers.Block(8)
        process = ctx_two.Process(target=workers.put_for_ever, args=(queue, ledger))
        process.start()
        expected = 0
        for _ in range(dice.randrange(1, 1000)):
            assert queue.get(timeout=150)[0] == expected
            expected += 1
        process.kill()
        process.join()
        # (There may be no room for it before some were read.)
        after = threading.Thread(target=queue.put, args=("after",))
        after.start()
        while (item := queue.get()) != "after":
            assert item[0] == expected
            expected += 1
        after.join()
        assert workers.read(ledger, 0) <= expected <= workers.read(ledger, 0) + 1
        assert queue.empty()


@LONG
def test_a_killed_consumer_takes_one_item_at_most(ctx_two: Any, dice: random.Random) -> None:
    for _ in range(5):
        queue, results = ctx_two.Queue(), ctx_two.Queue()
        first = ctx_two.Process(target=workers.get_until_end, args=(queue, results))
        first.start()
        count = 3000
        for i in range(count):
            queue.put(i if i % 2 else (i, b"x" * 200))
        seen = [results.get(timeout=150) for _ in range(dice.randrange(1, count // 2))]
        first.kill()
        first.join()
        second = ctx_two.Process(target=workers.get_until_end, args=(queue, results))
        second.start()
        queue.put(workers.END)
        second.join()
        while not results.empty():
            seen.append(results.get())
        numbers = [item if isinstance(item, int) else item[0] for item in seen]
        assert len(set(numbers)) == len(numbers)
        assert len(numbers) >= count - 1


def test_a_stopped_producer_stops_nobody(ctx_two: Any) -> None:
    queue, ledger = ctx_two.Queue(50), workers.Block(8)
    # Small items: one stopped in the allocator, under its lock, does stop others.
    process = ctx_two.Process(target=workers.put_for_ever, args=(queue, ledger, 1))
    process.start()
    try:
        for _ in range(20):
            queue.get(timeout=150)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            while not queue.empty():
                try:
                    queue.get(timeout=1)
                except Empty:
                    # The one item that the stopped process is at.
                    break
            queue.put("mine")
            assert queue.get(timeout=150) == "mine"
            os.kill(process.pid, signal.SIGCONT)
    finally:
        process.kill()
        process.join()


def test_os_fork_shares_the_queue() -> None:
    queue = mp.Queue()
    queue.put(1)
    pid = os.fork()
    if pid == 0:
        queue.put(queue.get() + 1)
        _core.leave()
        os._exit(0)
    os.waitpid(pid, 0)
    assert queue.get(timeout=1) == 2


def test_the_executor_of_concurrent_futures_takes_our_context(ctx_two: Any) -> None:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2, mp_context=ctx_two) as executor:
        assert list(executor.map(abs, [-1, -2, -3])) == [1, 2, 3]
