"""Random programs of pools and executors: whatever is called, in whatever order, with whatever is
large, slow or failing among the items, each result is right, and nothing is lost or hangs.
"""

from __future__ import annotations

import gc
import random
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import allcores
import machinery
import pytest
from allcores import errors
from allcores.pool import ThreadPool

KINDS = ("fork", "forkserver", "threads", "executor")
# Forty of them are more than may wait in shared memory.
LARGE = 3 << 20
MOST_ITEMS = 40
# Workers that a program kills at most, and how often each of its tasks is done again.
KILLS = 3


def digest(item: Any) -> int:
    """Return what says of an item which it is."""
    return zlib.crc32(item if isinstance(item, bytes) else repr(item).encode())


def is_bad(item: Any) -> bool:
    """Tell whether `picky` fails at an item."""
    return digest(item) % 11 == 0


def picky(item: Any) -> int:
    """Fail at some items."""
    if is_bad(item):
        raise ValueError(digest(item))
    return digest(item)


def echo(item: Any) -> Any:
    """Return what came."""
    return item


def lazy(item: Any) -> int:
    """Take a while, and for some items longer."""
    number = digest(item)
    time.sleep(number % 5 / 2000)
    return number


FUNCTIONS: list[Callable[[Any], Any]] = [digest, picky, echo, lazy]


class Program:
    """One program: calls, some of whose results are taken later or never, and an end."""

    def __init__(self, seed: int, kind: str) -> None:
        self.random = random.Random(f"{seed} {kind}")
        self.kind = kind
        self.steps: list[str] = []  # what has been done, for who reads of a failure
        # What has results to come: how to take them.
        self.open: list[Callable[[bool], None]] = []
        count = self.random.choice([1, 2, 2, 3])
        # Where workers are killed, tasks are done again so often that each gives its result.
        self.kills = self.random.choice([0, 0, KILLS]) if kind != "threads" else 0
        self.options: dict[str, Any] = {"retries": KILLS} if self.kills else {}
        if self.random.random() < 0.2:
            self.options["timeout"] = 1000
        # Tasks of a worker; then there are few, as each new one takes a while.
        self.most = self.random.choice([None, None, None, 1, 4])
        self.executor = kind == "executor"
        if self.executor:
            method = "forkserver" if self.most else self.random.choice(["fork", "forkserver"])
            context = allcores.get_context(method)
            self.pool: Any = allcores.ProcessPoolExecutor(
                count, context, max_tasks_per_child=self.most
            )
        elif kind == "threads":
            self.pool = ThreadPool(count)
        else:
            self.pool = allcores.get_context(kind).Pool(count, maxtasksperchild=self.most)

    # What calls get.

    def items(self) -> list[Any]:
        """Return some items, of one kind or mixed."""
        draw = self.random
        kind = draw.choice(["numbers", "numbers", "texts", "large", "mixed", "none"])
        counts = [1, 2, 3, 10] if self.most else [1, 2, 3, 10, 100, 2000]
        count = draw.choice(counts) if kind in ("numbers", "texts") else 0
        if kind == "numbers":
            return [draw.randrange(1 << 40) for _ in range(count)]
        if kind == "texts":
            return [str(draw.random()) * draw.randrange(9) for _ in range(count)]
        if kind == "none":
            return []
        sizes = [LARGE, LARGE // 3] if kind == "large" else [5, 70_000, LARGE]
        return [draw.randbytes(draw.choice(sizes)) for _ in range(draw.randrange(1, MOST_ITEMS))]

    def given(self, items: list[Any]) -> Any:
        """Return the items as a list, or as something that is read once."""
        return self.random.choice([items, tuple(items), (item for item in items), iter(items)])

    # Steps.

    def step(self) -> None:
        """Make a call, or take what an earlier one gave."""
        draw = self.random
        if self.kills and draw.random() < 0.5:
            self.kill()
        if self.open and draw.random() < 0.45:
            take = self.open.pop(draw.randrange(len(self.open)))
            how = draw.choice(["all", "all", "never", "elsewhere"])
            self.steps.append(f"take {how}")
            if how == "all":
                take(False)
            elif how == "elsewhere":
                self.elsewhere(lambda: take(False))
            return
        function, items = draw.choice(FUNCTIONS), self.items()
        forms = ["submit", "map"] if self.executor else ["map", "map_async", "imap", "one"]
        form = draw.choice(forms)
        size = draw.choice([None, 1, 1, 2, 7, 100])
        self.steps.append(f"{form} {function.__name__} {len(items)} chunks of {size}")
        getattr(self, f"executor_{form}" if self.executor else form)(function, items, size)

    def kill(self) -> None:
        """Kill a worker."""
        workers = list(self.pool._processes.values() if self.executor else self.pool._pool)
        if workers:
            self.kills -= 1
            self.steps.append("kill")
            self.random.choice(workers).kill()

    def elsewhere(self, what: Callable[[], None]) -> None:
        """Do it in another thread, beside something in this one."""
        failed: list[BaseException] = []

        def run() -> None:
            try:
                what()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        if self.random.random() < 0.5:
            self.step()
        thread.join()
        if failed:
            raise failed[0]

    def map(self, function: Any, items: list[Any], size: int | None) -> None:
        """Have a map done, whole."""
        on_error = self.random.choice(["raise", "raise", "return", "skip"])
        bad = [item for item in items if function is picky and is_bad(item)]
        name = self.random.choice(["map", "starmap"])
        given = self.given(items if name == "map" else [(item,) for item in items])
        options = self.options | {"on_error": on_error}

        def call() -> Any:
            return getattr(self.pool, name)(function, given, size, **options)

        if bad and on_error == "raise":
            with pytest.raises(ValueError) as caught:
                call()
            assert caught.value.args[0] in [digest(item) for item in bad]
        else:
            self.compare(call(), self.expected(function, items, on_error))

    def expected(self, function: Any, items: list[Any], on_error: str) -> list[Any]:
        """Return what calls return, with "bad" in the place of errors."""
        return [
            "bad" if function is picky and is_bad(item) else function_of(function, item)
            for item in items
            if not (on_error == "skip" and function is picky and is_bad(item))
        ]

    def compare(self, found: Any, expected: list[Any]) -> None:
        """Compare results."""
        assert ["bad" if isinstance(one, ValueError) else one for one in found] == expected

    def map_async(self, function: Any, items: list[Any], size: int | None) -> None:
        """Begin a map."""
        expected = self.expected(function, items, "raise")
        result = self.pool.map_async(
            function,
            self.given(items),
            size,
            **self.options,
        )

        def take(ended: bool) -> None:
            try:
                found = result.get()
            except errors.TaskCancelled:
                assert ended
                return
            except ValueError:
                assert "bad" in expected
                return
            self.compare(found, expected)

        self.open.append(take)

    def imap(self, function: Any, items: list[Any], size: int | None) -> None:
        """Begin a stream of results, and take some of them."""
        ordered = self.random.random() < 0.5
        method = self.pool.imap if ordered else self.pool.imap_unordered
        expected = self.expected(function, items, "return")
        stream = method(function, self.given(items), size or 1, on_error="return", **self.options)
        some = self.random.randrange(len(items) + 1) if self.random.random() < 0.5 else 0
        begun = [next(stream) for _ in range(some)]

        def take(ended: bool) -> None:
            found = list(begun)
            begun.clear()
            try:
                found.extend(stream)
            except errors.TaskCancelled:
                assert ended
                return
            if ordered:
                self.compare(found, expected)
            else:
                self.compare(sorted(found, key=key), sorted(expected, key=key))

        self.open.append(take)

    def one(self, function: Any, items: list[Any], size: int | None) -> None:
        """Begin some single calls, and perhaps make one more."""
        results = [self.pool.apply_async(function, (item,), **self.options) for item in items[:100]]
        self.open.append(lambda ended: self.take_each(function, items, results, ended))
        if items and self.random.random() < 0.3:
            assert self.pool.apply(digest, (items[0],), **self.options) == digest(items[0])

    def take_each(self, function: Any, items: list[Any], results: list[Any], ended: bool) -> None:
        """Take the results of single calls, and cancel some before that."""
        draw = self.random
        some = results if draw.random() < 0.3 else []
        stopped = {draw.randrange(len(results)) for _ in some[:5]}
        for i in sorted(stopped):
            results[i].cancel(**({"force": True} if self.executor and draw.random() < 0.5 else {}))
        for i, (item, result) in enumerate(zip(items, results, strict=False)):
            try:
                found = result.result() if self.executor else result.get()
            except (errors.TaskCancelled, CancelledError):
                assert ended or i in stopped
            except ValueError:
                assert function is picky
                assert is_bad(item)
            else:
                assert found == function_of(function, item)

    def executor_submit(self, function: Any, items: list[Any], size: int | None) -> None:
        """Submit some single calls."""
        results = [self.with_options().submit(function, item) for item in items[:300]]
        self.open.append(lambda ended: self.take_each(function, items, results, ended))

    def executor_map(self, function: Any, items: list[Any], size: int | None) -> None:
        """Begin a map of an executor."""
        expected = self.expected(function, items, "raise")
        found = self.with_options().map(function, self.given(items), chunksize=size or 1)

        def take(ended: bool) -> None:
            try:
                self.compare(list(found), expected)
            except (errors.TaskCancelled, CancelledError):
                assert ended
            except ValueError:
                assert "bad" in expected

        self.open.append(take)

    def with_options(self) -> Any:
        """Return the executor for calls with the program's options."""
        return self.pool.with_options(**self.options) if self.options else self.pool

    # The end.

    def end(self) -> None:
        """End it, and take what is left before or after that."""
        draw, pool = self.random, self.pool
        how = draw.choice(["close", "close", "terminate", "take, close", "with"])
        self.steps.append(f"end: {how}")
        if how == "take, close":
            self.take_rest(False)
        if self.executor:
            pool.shutdown(cancel_futures=how == "terminate")
        elif how == "with":
            with pool:
                pass
        elif how == "terminate":
            pool.terminate()
        else:
            pool.close()
        if not self.executor:
            pool.join()
        self.take_rest(how in ("terminate", "with"))

    def take_rest(self, ended: bool) -> None:
        """Take what all calls gave that are open."""
        while self.open:
            self.open.pop()(ended)


def key(result: Any) -> str:
    """Return what to sort results by."""
    return "" if isinstance(result, ValueError) or result == "bad" else repr(result)


def function_of(function: Any, item: Any) -> Any:
    """Return what a call returns."""
    return item if function is echo else digest(item)


def run(seed: int, kind: str) -> None:
    """Run one program.

    Args:
        seed: of all that is drawn.
        kind: of pool.
    """
    program = Program(seed, kind)
    try:
        for _ in range(program.random.randrange(1, 9)):
            program.step()
        program.end()
    except BaseException:
        print(f"seed {seed}, {kind}: " + "; ".join(program.steps), flush=True)
        raise
    finally:
        program.open.clear()
        if not program.executor:
            program.pool.terminate()
            program.pool.join()
        else:
            program.pool.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_pool_machine(kind: str) -> None:
    count = max(3, machinery.EXAMPLES // 5)
    print(f"ALLCORES_TEST_SEED={machinery.SEED}")
    for seed in range(machinery.SEED, machinery.SEED + count):
        run(seed, kind)
    print(f"{count} programs")
    gc.collect()
