"""Memoryviews, which pickle itself can't send: those that can be made again, and the others."""

from __future__ import annotations

import pickle
from array import array
from typing import Any

import numpy as np
import pytest
from allcores import pickling
from allcores.errors import NotPicklable
from large_things import NUMBERS, same

MADE_AGAIN = {
    "bytes": memoryview(b"abc"),
    "chars": memoryview(b"abc").cast("c"),
    "no bytes": memoryview(b""),
    "no numbers": memoryview(array("d")),
    "no numbers, read-only": memoryview(array("d")).toreadonly(),
    "no rows": memoryview(np.zeros((0, 3))),
    "one number": memoryview(np.array(5.0)),
    "native by name": memoryview(bytes(16)).cast("@d"),
    "gaps": memoryview(np.arange(10).reshape(5, 2).T),
    "large": memoryview(NUMBERS),
    "large with gaps": memoryview(NUMBERS)[::2],
}
NOT_MADE = {
    "other order of bytes": memoryview(np.arange(3, dtype=">i4")),
    "records": memoryview(np.ones(3, dtype=[("a", "i4"), ("b", "f8")])),
    "large records": memoryview(np.ones(10_000, dtype=[("a", "i4"), ("b", "f8")])),
    "complex": memoryview(np.ones(3, dtype=complex)),
    "rows of nothing": memoryview(np.zeros((3, 0))),
}


@pytest.mark.parametrize("name", MADE_AGAIN)
def test_a_memoryview_arrives_as_it_is(name: str) -> None:
    """Format, shape, content, and whether it can be written to."""
    sent = MADE_AGAIN[name]
    data, refs = pickling.pack(sent)
    got = pickling.loads(data)
    assert (got.format, got.shape, got.readonly) == (sent.format, sent.shape, sent.readonly)
    assert got.tobytes() == sent.tobytes()
    del refs


@pytest.mark.parametrize("name", NOT_MADE)
def test_a_memoryview_that_nothing_makes(name: str) -> None:
    """Who sends it is told, not who receives it."""
    with pytest.raises(NotPicklable, match="memoryview of format"):
        pickling.pack([NOT_MADE[name]])
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(NOT_MADE[name])


def test_an_argument_that_nothing_makes(forked: Any) -> None:
    """The call is told which it is."""
    with pytest.raises(NotPicklable, match=r"args\[0\]"):
        forked.apply(same, (NOT_MADE["records"],))
