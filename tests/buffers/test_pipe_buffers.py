"""Large objects through a Pipe: beside it, in shared memory, and none is lost."""

from __future__ import annotations

import pickle
from typing import Any

import allcores as mp
import pytest
from large_things import NUMBERS, address, live_bytes


def _send(conn: Any, count: int) -> None:
    for i in range(count):
        conn.send((i, NUMBERS, mp.Lock()))
        conn.send("small")
    conn.close()


def _echo(conn: Any) -> None:
    while (obj := conn.recv()) is not None:
        place = address(obj)
        obj[0] = 1
        conn.send((place, obj))


@pytest.mark.parametrize("duplex", [True, False])
def test_a_sender_may_end_before_it_is_read(ctx: Any, duplex: bool) -> None:
    """What it sent is kept by the pipe, not by the process."""
    ours, theirs = ctx.Pipe(duplex)
    child = ctx.Process(target=_send, args=(theirs, 3))
    child.start()
    theirs.close()
    child.join()
    for i in range(3):
        number, numbers, lock = ours.recv()
        assert number == i
        assert (numbers == NUMBERS).all()
        with lock:
            assert ours.recv() == "small"
    with pytest.raises(EOFError):
        ours.recv()
    ours.close()


def test_there_and_back(ctx: Any) -> None:
    """Both ways, and what the other end writes is its own."""
    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=_echo, args=(theirs,))
    child.start()
    for _ in range(20):
        ours.send(NUMBERS)
        place, back = ours.recv()
        assert place is not None
        assert back[0] == 1
        assert NUMBERS[0] == 0
    ours.send(None)
    child.join()
    ours.close()
    theirs.close()


def test_nobody_can_read_any_more() -> None:
    """Then sending is a broken pipe, however many messages wait, and nothing stays."""
    before = live_bytes()
    ours, theirs = mp.Pipe()
    for _ in range(16):
        ours.send(NUMBERS)
    theirs.close()
    with pytest.raises(BrokenPipeError):
        ours.send(NUMBERS)
    ours.close()
    del ours, theirs
    assert live_bytes() <= before


def test_a_notice_is_a_pickle() -> None:
    """Who reads bytes and unpickles them gets the object as well."""
    ours, theirs = mp.Pipe()
    ours.send(NUMBERS)
    assert (pickle.loads(theirs.recv_bytes()) == NUMBERS).all()
    ours.close()
    theirs.close()
