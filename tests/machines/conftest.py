from __future__ import annotations

import sys
from pathlib import Path

import pytest
from allcores import _core

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _nothing_left():
    """No machine leaves a block behind."""
    _core.List([1])
    before = _core.stats()["live_blocks"]
    yield
    _core.recover()
    assert _core.stats()["live_blocks"] <= before
