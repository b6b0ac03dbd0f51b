"""Sizes as users write them, and the memory that a process has for itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import allcores
import pytest
from allcores import memory
from pool_tools import take

MB = 10**6


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1, 1),
        ("4 GiB", 4 << 30),
        ("500MB", 500 * MB),
        ("500 mb", 500 * MB),
        (" 1.5 KiB ", 1536),
        (".5kB", 500),
        ("2 TB", 2 * 10**12),
        ("17 B", 17),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    """A size is a number of bytes, or a number with a unit."""
    assert memory.parse(text, "max_memory") == size


@pytest.mark.parametrize("size", ["", "4", "4 G", "GiB", "-1 MB", "1,5 GB", "0 MB", 0, -5])
def test_what_is_no_size(size: int | str) -> None:
    """What can be misread is no size; the error says how to write one."""
    with pytest.raises(ValueError, match="max_memory"):
        allcores.Pool(1, max_memory=size)
    with pytest.raises(ValueError, match="max_memory"):
        allcores.ProcessPoolExecutor(1, max_memory=size)


@pytest.mark.parametrize("size", [0.5, True, b"1 MB", [1]])
def test_what_is_of_the_wrong_type(size: Any) -> None:
    """Other types are a TypeError."""
    with pytest.raises(TypeError, match="max_memory must be a number of bytes or a text"):
        allcores.Pool(1, max_memory=size)


def test_memory_of_a_process() -> None:
    """What a process has for itself is measured, here and after its end."""
    before = memory.status(os.getpid())
    assert before is not None
    exact = memory.private(os.getpid(), before.anonymous)
    block = take(64 * MB)  # from there on it is never memory that was there before
    after = memory.status(os.getpid())
    assert after is not None
    assert after.anonymous - before.anonymous > 60 * MB
    assert memory.private(os.getpid(), after.anonymous) - exact > 60 * MB
    del block
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert memory.status(child.pid) is None
    assert memory.private(child.pid, 17) == 17
