"""Children under every start method, for the tests of what they synchronise by."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import allcores as mp
import pytest
from allcores import _core

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["fork", "spawn"])
def ctx(request: pytest.FixtureRequest) -> Any:
    return mp.get_context(request.param)


@pytest.fixture
def start(ctx: Any) -> Iterator[Callable[..., Any]]:
    """Start a child; each is over at the test's end, killed if it has to be."""
    children: list[Any] = []

    def begin(target: Callable[..., object], *args: Any) -> Any:
        child = ctx.Process(target=target, args=args)
        child.start()
        children.append(child)
        return child

    yield begin
    for child in children:
        child.kill()
        child.join()


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves memory of the arena in use."""
    _core.Event()
    _core.recover()
    before = _core.stats()["live_blocks"]
    yield
    gc.collect()
    _core.recover()
    assert _core.stats()["live_blocks"] <= before
