"""Pools under each start method; and after each test, no memory of theirs in the arena."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from allcores import get_context
from allcores.pool import InlinePool, ThreadPool

START_METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(params=START_METHODS)
def ctx(request: pytest.FixtureRequest) -> Any:
    """Each start method's context."""
    return get_context(request.param)


@pytest.fixture(params=[*START_METHODS, "threads", "inline"])
def any_pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A pool of two workers, of every kind."""
    local = {"threads": ThreadPool, "inline": InlinePool}
    make = local.get(request.param) or get_context(request.param).Pool
    with make(2) as pool:
        yield pool
    pool.join()


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
