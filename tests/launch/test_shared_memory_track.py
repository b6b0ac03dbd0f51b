"""`SharedMemory(track=False)`, which is of Python 3.13, is there under every version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from allcores.shared_memory import SharedMemory

PROGRAM = """
from allcores.shared_memory import SharedMemory
block = SharedMemory(create=True, size=100, track={track})
print(block.name, flush=True)
block.buf[0] = 7
block.close()
"""


def left_by(track: bool) -> str:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(track=track)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=150)
    return done.stdout.strip()


def test_an_untracked_block_outlives_its_program() -> None:
    """What a program has made untracked is there after it; the tracked one is not."""
    name = left_by(track=False)
    block = SharedMemory(name, track=False)
    assert block.buf[0] == 7
    assert block.size >= 100
    block.close()
    block.unlink()
    with pytest.raises(FileNotFoundError):
        SharedMemory(name, track=False)


def test_attaching_untracked_leaves_a_block_to_its_owner() -> None:
    """A program that attaches untracked doesn't take the block with it when it ends."""
    block = SharedMemory(create=True, size=10)
    program = (
        f"from allcores.shared_memory import SharedMemory; "
        f"block = SharedMemory({block.name!r}, track=False); block.buf[1] = 3; block.close()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=150)
    assert block.buf[1] == 3
    assert Path("/dev/shm", block.name).exists()
    block.close()
    block.unlink()


def test_errors_are_those_of_a_tracked_one() -> None:
    with pytest.raises(ValueError, match="size"):
        SharedMemory(create=True, size=0, track=False)
    with pytest.raises(ValueError, match="size"):
        SharedMemory(create=True, size=-1, track=False)
    with pytest.raises(ValueError, match="name"):
        SharedMemory(track=False)
    block = SharedMemory(create=True, size=1, track=False)
    try:
        with pytest.raises(FileExistsError):
            SharedMemory(block.name, create=True, size=1, track=False)
    finally:
        block.close()
        block.unlink()
