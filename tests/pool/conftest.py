"""Pools under each start method; and after each test, no memory of theirs in the arena."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from allcores import _core, get_context

START_METHODS = ("fork", "spawn", "forkserver")


def eventually(claim: Callable[[], bool]) -> None:
    """Wait until `claim` holds; the watchdog ends a wait for what never comes."""
    while not claim():
        time.sleep(0.005)


def blocks() -> int:
    """Return how many blocks of the arena are in use, once nobody dead holds any."""
    gc.collect()
    _core.arena_fd()
    _core.recover()
    return int(_core.stats()["live_blocks"])


@pytest.fixture(params=START_METHODS)
def ctx(request: pytest.FixtureRequest) -> Any:
    """Each start method's context."""
    return get_context(request.param)


@pytest.fixture
def fork() -> Any:
    """The quickest start method, for tests whose subject is the same under all."""
    return get_context("fork")


@pytest.fixture
def pool(ctx: Any) -> Iterator[Any]:
    """A pool of two workers under each start method."""
    with ctx.Pool(2) as pool:
        yield pool
    pool.join()


@pytest.fixture
def forked(fork: Any) -> Iterator[Any]:
    """A pool of two forked workers."""
    with fork.Pool(2) as pool:
        yield pool
    pool.join()
