from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import allcores as mp
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def ctx(request: pytest.FixtureRequest) -> Any:
    """Each start method."""
    return mp.get_context(request.param)


@pytest.fixture(params=["fork", "spawn"])
def ctx_two(request: pytest.FixtureRequest) -> Any:
    """The two that differ most, for what takes long."""
    return mp.get_context(request.param)
