"""How a pool ends, over every engine."""

from __future__ import annotations

import gc
import time
import weakref
from typing import Any

import allcores
import pytest
from allcores import errors


def test_a_closed_pool_takes_no_calls_and_ends_those_it_has(make: Any) -> None:
    pool = make(2)
    called: list[Any] = []
    result = pool.map_async(abs, range(-100, 0), 1)
    pool.apply_async(abs, (-1,), callback=called.append)
    pool.close()
    pool.close()
    for call in (
        lambda: pool.map(abs, [1]),
        lambda: pool.apply_async(abs),
        lambda: pool.imap(abs, []),
    ):
        with pytest.raises(ValueError, match="Pool not running"):
            call()
    pool.join()
    assert result.get() == [*range(100, 0, -1)]
    assert called == [1]
    pool.join()


def test_a_closed_pool_reads_the_input_to_its_end(make: Any) -> None:
    pool = make(2)
    results = pool.imap(abs, range(-1000, 0))
    others = pool.imap_unordered(abs, iter(range(-1000, 0)))
    pool.close()
    pool.join()
    assert list(results) == [*range(1000, 0, -1)]
    assert len(list(others)) == 1000


def test_a_pool_has_to_be_closed_before_it_is_joined(pool: Any) -> None:
    with pytest.raises(ValueError, match="still running"):
        pool.join()


def test_what_had_not_ended_when_a_pool_is_terminated_says_so(make: Any, engine: str) -> None:
    gate = allcores.Event()
    with make(2) as pool:
        results = pool.imap(lambda wait: wait(), [gate.wait] * 5)
        if engine != "inline":
            result = pool.map_async(lambda wait: wait(), [gate.wait] * 5)
    gate.set()
    pool.join()
    pool.terminate()
    with pytest.raises(errors.TaskCancelled, match="terminated before this call had ended"):
        next(results)
    if engine != "inline":
        with pytest.raises(errors.TaskCancelled):
            result.get()
    with pytest.raises(ValueError, match="Pool not running"):
        pool.map(abs, [1])
    with pytest.raises(ValueError, match="Pool not running"), pool:
        pass


def forget(holder: list[Any]) -> None:
    holder.clear()
    gc.collect()


def test_a_forgotten_pool_warns_and_ends(make: Any) -> None:
    pool = make(1)
    result = pool.map_async(abs, [1])
    assert result.get() == [1]
    while result._pool is not None:  # who brought it is about to let go of the pool
        time.sleep(0.001)
    gone = weakref.ref(pool)
    holder = [pool]
    del pool
    with pytest.warns(ResourceWarning, match="unclosed running"):
        forget(holder)
    assert gone() is None


def test_results_keep_their_pool_while_it_is_needed(make: Any) -> None:
    pool = make(1)
    results = pool.imap(abs, range(-300, 0))
    pool.close()
    del pool
    gc.collect()
    assert list(results) == [*range(300, 0, -1)]


def test_a_call_keeps_no_arguments_once_it_is_done(make: Any, engine: str) -> None:
    class Thing:
        def __abs__(self) -> int:
            return 1

    with make(1) as pool:
        for call in (
            lambda thing: pool.apply(abs, (thing,)),
            lambda thing: pool.map(abs, [thing]),
            lambda thing: list(pool.imap(abs, [thing])),
            lambda thing: pool.apply_async(lambda x: 1 / 0, (thing,)).wait(),
        ):
            thing = Thing()
            gone = weakref.ref(thing)
            call(thing)
            del thing
            # The last worker may be about to forget it, or who brought its result.
            pool.apply(abs, (1,))
            while gone() is not None:
                time.sleep(0.001)
                gc.collect()
    pool.join()
