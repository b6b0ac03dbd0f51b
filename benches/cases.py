"""What is measured: each case is a function that runs in a fresh process and returns one figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benches import containers, data, idle, primitives, queues, spreading, tasks, zoo
from benches.data import GB, MB
from benches.peers import OTHERS, PEERS, Peer


class Case(NamedTuple):
    """One row of the table.

    Attributes:
        measure: returns the figure of a library: of its module or, with `needs`, of its workers.
        unit: of the figure.
        what: for the reader.
        needs: the ability (see `peers.Peer.can`) that a library is measured with; any of several.
        more_is_better: or less is.
        target: what the figure or the ratio to the standard library's should be.
        rounds: at most; for cases that take long.
        floor: what no library can pass, see floors.py; has the same unit.
    """

    measure: Callable[[Any], float]
    unit: str
    what: str
    needs: str = ""
    more_is_better: bool = False
    target: str = ""
    rounds: int = 99
    floor: str = ""

    def others(self) -> list[str]:
        """The libraries beside allcores and the standard library that can do it."""
        return [name for name in OTHERS if {*self.needs.split()} & {*PEERS[name].can.split()}]


def _chunk_cases() -> dict[str, Case]:
    names = ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
    return {
        f"chunks_{name.replace(' ', '').replace('µ', 'u')}": Case(
            spreading.chunks(10.0 ** (power - 6)),
            "x",
            f"{name} tasks: time by best chunk size's",
            "sizes",
            target="<= 1.5 x",
            rounds=2,
        )
        for power, name in enumerate(names)
    }


def _program(what: str, job: Any) -> Case:
    wanted = "<= every process's, serial's"
    return Case(zoo.seconds(job), "s", what, "map zoo", target=wanted, rounds=3)


def _to_worker(what: str, measure: Callable[[Peer], float], target: float = 0) -> Case:
    wanted = f"<= {target:g} ms" if target else "<= 1"
    return Case(measure, "ms", what, "map", target=wanted, rounds=3)


def _array(what: str, measure: Callable[[Peer], float], target: float, floor: str = "") -> Case:
    return Case(measure, "ms", what, "array", target=f"<= {target:g} ms", rounds=3, floor=floor)


CASES: dict[str, Case] = {
    "lock": Case(
        primitives.lock_uncontended, "ns", "Lock, uncontended: acquire and release", target="<= 1"
    ),
    "lock_with": Case(primitives.lock_with, "ns", "Lock, uncontended: with", target="<= 1"),
    "lock_contended": Case(
        primitives.lock_contended, "k/s", "Lock, 2 processes, nothing inside", more_is_better=True
    ),
    "event": Case(
        primitives.event_ping_pong,
        "µs",
        "Event: there and back, median",
        target="<= 0.2",
        floor="hot",
    ),
    "condition": Case(
        primitives.condition_ping_pong,
        "µs",
        "Condition: there and back, median",
        target="<= 0.2",
        floor="hot",
    ),
    "semaphore": Case(
        primitives.semaphore_ping_pong, "µs", "Semaphore: there and back, median", floor="hot"
    ),
    "barrier": Case(
        primitives.barrier_ping_pong, "µs", "Barrier of 2: a round, median", floor="hot"
    ),
    "queue": Case(queues.numbers, "k/s", "Queue: small integers, one writer", "queue", True),
    "queue_bytes": Case(queues.blocks, "GB/s", "Queue: 64 KB bytes, one writer", "queue", True),
    "queue_ping": Case(
        queues.ping_pong, "µs", "Queue: there and back, median", "queue", floor="hot"
    ),
    "list_get": Case(
        containers.list_get, "k/s", "Manager().list: get an int", "", True, ">= 3,000 k/s"
    ),
    "list_set": Case(
        containers.list_set, "k/s", "Manager().list: set an int", "", True, ">= 1,500 k/s"
    ),
    "list_iterate": Case(
        containers.list_iterate, "ms", "Manager().list: iterate 10,000 ints", target="<= 0.01"
    ),
    "dict_get": Case(
        containers.dict_get, "k/s", "shared dict: get an int", "mapping", True, ">= 3,000 k/s"
    ),
    "dict_set": Case(
        containers.dict_set, "k/s", "shared dict: set an int", "mapping", True, ">= 1,500 k/s"
    ),
    "dict_count": Case(
        containers.dict_count,
        "k/s",
        "shared dict: count, 2 processes",
        "mapping",
        True,
        ">= 500 k/s",
    ),
    "value_add": Case(
        containers.value_add,
        "k/s",
        "Value: += under its lock, 2 processes",
        more_is_better=True,
        target=">= 2,000 k/s",
    ),
    "process": Case(
        primitives.process_start, "ms", "Process: fork, start and join, median", floor="fork"
    ),
    "pool": Case(
        tasks.map_default,
        "k/s",
        "map of 1,000,000 ints",
        "map",
        True,
        ">= 20,000 k/s",
        rounds=5,
        floor="calls",
    ),
    "pool_single": Case(
        tasks.map_single, "k/s", "map of 20,000, chunk size 1", "map", True, ">= 500 k/s"
    ),
    "pool_imap": Case(tasks.unordered, "k/s", "imap_unordered", "unordered", True, ">= 400 k/s"),
    "pool_async": Case(
        tasks.apply_async, "k/s", "apply_async, then all results", "pool", True, ">= 250 k/s"
    ),
    "executor_submit": Case(
        tasks.submit, "k/s", "submit, then all results", "submit", True, ">= 150 k/s"
    ),
    "executor_round_trip": Case(
        tasks.round_trip, "µs", "submit(...).result(), median", "submit", floor="hot"
    ),
    "pool_apply": Case(
        tasks.apply_hot, "µs", "apply, median", "call", target="<= 20 µs", floor="hot"
    ),
    "pool_idle": Case(
        tasks.apply_idle,
        "µs",
        "apply after 10 ms of nothing, median",
        "call",
        target="<= 100 µs",
        floor="futex",
    ),
    "second": Case(
        tasks.second_pool("forkserver"),
        "ms",
        "another Pool(2): first result, forkserver",
        "forkserver",
        target="<= 5 ms",
    ),
    "second_fork": Case(
        tasks.second_pool("fork"),
        "ms",
        "another Pool(2): first result, fork",
        "fork",
        target="<= 5 ms",
    ),
    "first": Case(
        tasks.first_pool("forkserver"),
        "ms",
        "the first Pool(2), with NumPy, forkserver",
        "forkserver",
        target="<= 0.5",
    ),
    "first_spawn": Case(
        tasks.first_pool("spawn"),
        "ms",
        "the first Pool(2), with NumPy, spawn",
        "spawn",
        target="<= 0.5",
    ),
    "even": Case(
        spreading.even,
        "",
        "2,000 tasks of 5 ms: share of 2 cores used",
        "map",
        True,
        ">= 0.97",
        rounds=3,
    ),
    "pool_tiny": Case(
        spreading.tiny,
        "x",
        "1,000,000 tasks of 1 µs, against a loop",
        "map zoo",
        True,
        ">= 1.7 x, never < 1",
        rounds=5,
    ),
    "pareto": Case(
        spreading.pareto,
        "x",
        "Pareto durations: time by the ideal's",
        "map zoo",
        target="<= 1.05 x",
        rounds=3,
    ),
    "long_last": Case(
        spreading.long_last,
        "x",
        "the long ones last: time by the ideal's",
        "map",
        target="<= 1.05 x",
        rounds=3,
    ),
    **_chunk_cases(),
    "zoo_queens": _program("14 queens, pure Python", zoo.queens),
    "zoo_mandelbrot": _program("rows of Mandelbrot, pure Python", zoo.mandelbrot),
    "zoo_products": _program("products of matrices, BLAS's threads", zoo.products),
    "zoo_sorts": _program("arrays drawn and sorted, NumPy", zoo.sorts),
    "zoo_waits": _program("2,000 waits of 2 ms", zoo.waits),
    "zoo_words": _program("words of 200 MB of text, counted", zoo.words),
    "zoo_bootstrap": _program("bootstrap of a 200 MB array", zoo.bootstrap),
    "array": _array("a 1 GB array to a worker, its sum back", data.there(GB, 3), 300, "copy_read"),
    "array_put": _array("the same, `put` before", data.there(GB, 3, "put"), 140, "read"),
    "array_shared": _array("the same, a `shared_array`", data.there(GB, 3, "shared"), 140, "read"),
    "array_back": _array("a 1 GB array from a worker", data.back, 300, "copy"),
    "array_many": _array("a 64 MB array to each of 100 tasks", data.to_many, 200),
    "array_small": _array("a 1 MB array to a worker, its sum back", data.there(MB, 200), 0.3),
    "frame": _to_worker("a DataFrame, Arrow texts", data.length(data.frame_of_arrow), 20),
    "frame_objects": _to_worker("a DataFrame, Python texts", data.length(data.frame_of_objects)),
    "dict_million": _to_worker("a dict of a million texts", data.length(data.dict_of_objects)),
    "idle": Case(
        idle.waiter, "ms/s", "CPU time of the dearest idle waiter", target="<= 1 ms/s", rounds=3
    ),
    "idle_pool": Case(
        idle.pool, "ms/s", "CPU time of an idle Pool(2)", target="<= 3 ms/s", rounds=3
    ),
}
