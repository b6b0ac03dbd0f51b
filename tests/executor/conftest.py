"""Executors of two workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import allcores
import pytest


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def ctx(request: pytest.FixtureRequest) -> Any:
    """Each start method's context."""
    return allcores.get_context(request.param)


@pytest.fixture
def fork() -> Any:
    """The quickest start method, for tests whose subject is the same under all."""
    return allcores.get_context("fork")


@pytest.fixture
def executor(fork: Any) -> Iterator[Any]:
    """An executor of two forked workers."""
    with allcores.ProcessPoolExecutor(2, fork) as executor:
        yield executor


@pytest.fixture
def busy(executor: Any) -> Iterator[Any]:
    """An executor whose two workers wait until the event, its attribute `gate`, is set."""
    executor.gate = gate = allcores.Event()
    executor.begun = [executor.submit(gate.wait) for _ in range(2)]
    while not all(future.running() for future in executor.begun):
        time.sleep(0.001)
    yield executor
    gate.set()
