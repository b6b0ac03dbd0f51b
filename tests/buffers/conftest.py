"""Each start method; and what the tests count."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import allcores as mp
import pytest

sys.path.insert(0, str(Path(__file__).parent))

START_METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(params=START_METHODS)
def ctx(request: pytest.FixtureRequest) -> Any:
    """Each start method's context."""
    return mp.get_context(request.param)


@pytest.fixture
def pool(ctx: Any) -> Iterator[Any]:
    """A pool of two workers under each start method."""
    with ctx.Pool(2) as pool:
        yield pool
    pool.join()


@pytest.fixture
def forked() -> Iterator[Any]:
    """A pool of two forked workers, for what is the same under all start methods."""
    with mp.get_context("fork").Pool(2) as pool:
        yield pool
    pool.join()
