"""Cases about queues: messages from one process to another, and back.

`peer` is any library that can bring messages from one process to another (channels.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from benches.primitives import PING_PONGS, median_round

if TYPE_CHECKING:
    from benches.channels import Channel
    from benches.peers import Peer

now = time.perf_counter
NUMBERS = 50_000
BLOCKS, BLOCK, MOST = 10_000, 64 << 10, 64


def _send(channel: Channel, items: Iterable[Any], received: Any) -> None:
    with channel.sender() as put:
        for item in items:
            put(item)
        # What a library still holds when its sender ends may be lost.
        received.wait()


def _receive(
    peer: Peer, channel: Channel, items: Any, total: Callable[[Iterator[Any]], int]
) -> tuple[int, float]:
    """Have a child send the items; their total, and the seconds, from the second one on."""
    received = peer.context().Event()
    child = peer.context().Process(target=_send, args=(channel, items, received))
    child.start()
    with channel.receiver() as get:
        get()
        start = now()
        found = total(get() for _ in range(len(items) - 1))
        seconds = now() - start
    received.set()
    child.join()
    return found, seconds


def numbers(peer: Peer) -> float:
    """Thousands of small integers in a second, once the first has come."""
    with peer.open_channels() as channels:
        total, seconds = _receive(peer, channels.numbers(), range(NUMBERS), sum)
    if total != NUMBERS * (NUMBERS - 1) // 2:
        raise RuntimeError(f"the queue lost or changed items: sum {total}")
    return (NUMBERS - 1) / seconds / 1e3


def blocks(peer: Peer) -> float:
    """Gigabytes in a second, in blocks of 64 KB."""
    with peer.open_channels() as channels:
        total, seconds = _receive(
            peer,
            channels.blocks(MOST, BLOCK),
            [bytes(BLOCK)] * BLOCKS,
            lambda found: sum(map(len, found)),
        )
    if total != (BLOCKS - 1) * BLOCK:
        raise RuntimeError(f"the queue lost or changed items: {total} bytes")
    return total / seconds / 1e9


def _answer(inbox: Channel, outbox: Channel, rounds: int) -> None:
    with inbox.receiver() as get, outbox.sender() as put:
        for _ in range(rounds):
            put(get())


def ping_pong(peer: Peer) -> float:
    """Microseconds of a small integer there and back, the median."""
    rounds = PING_PONGS + PING_PONGS // 10
    with peer.open_channels() as channels:
        out, back = channels.numbers(), channels.numbers()
        child = peer.context().Process(target=_answer, args=(out, back, rounds))
        child.start()
        with back.receiver() as get, out.sender() as put:

            def ping() -> None:
                put(1)
                get()

            figure = median_round(ping, PING_PONGS)
        child.join()
    if child.exitcode:
        raise RuntimeError(f"the child ended with exit code {child.exitcode}")
    return figure
