"""Every engine, behind the pool that has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import allcores
import pytest
from allcores.pool import InlinePool, ThreadPool


def _processes(*args: Any) -> Any:
    return allcores.get_context("fork").Pool(*args)


ENGINES: dict[str, Callable[..., Any]] = {
    "inline": InlinePool,
    "threads": ThreadPool,
    "processes": _processes,
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine."""
    name: str = request.param
    return name


@pytest.fixture
def make(engine: str) -> Callable[..., Any]:
    """Makes a pool over each engine."""
    return ENGINES[engine]


@pytest.fixture
def pool(make: Callable[..., Any]) -> Iterator[Any]:
    """A pool of two workers over each engine."""
    with make(2) as pool:
        yield pool
    pool.join()


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind; one that is on its way out has a moment."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert not set(threading.enumerate()) - before
