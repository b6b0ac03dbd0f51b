from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from allcores import _core

sys.path.insert(0, str(Path(__file__).parent))

import machinery


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Seconds of computing may take minutes on a busy machine, and long runs take long."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.watchdog(300 + 2 * machinery.EXAMPLES))


@pytest.fixture(autouse=True)
def _nothing_left():
    """No machine leaves a block behind."""
    # A process that holds many things at once has a larger table of them from then on.
    [_core.List([1]) for _ in range(3000)]
    before = _core.stats()["live_blocks"]
    yield
    _core.recover()
    # A worker that may serve another pool says that it has left before it lets go of the rings.
    # (The watchdog ends a wait for what stays.)
    while _core.stats()["live_blocks"] > before:
        time.sleep(0.01)
        _core.recover()
