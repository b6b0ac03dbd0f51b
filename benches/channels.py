"""How each library is told to make a queue from one process to another.

Some ends have to be opened in the process that uses them, after the fork: a channel's are context
managers, entered there, of what puts a message and of what gets one.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from benches.redis_server import redis_server

Put = Callable[[Any], object]
Get = Callable[[], Any]


class Channel(NamedTuple):
    """A queue with one process at each end."""

    sender: Callable[[], AbstractContextManager[Put]]
    receiver: Callable[[], AbstractContextManager[Get]]


class Channels(NamedTuple):
    """What a library makes channels with.

    Attributes:
        numbers: makes one for small integers.
        blocks: makes one for bytes; called with how many, of what length, may wait in it at most.
    """

    numbers: Callable[[], Channel]
    blocks: Callable[[int, int], Channel]


def _of_queue(queue: Any) -> Channel:
    """Both ends of a queue that goes along in the fork."""
    return Channel(
        lambda: contextlib.nullcontext(queue.put), lambda: contextlib.nullcontext(queue.get)
    )


@contextmanager
def of_context(mp: Any) -> Iterator[Channels]:
    """The queue of a context as multiprocessing has it."""
    context = mp.get_context("fork")
    yield Channels(
        lambda: _of_queue(context.Queue()), lambda most, _: _of_queue(context.Queue(most))
    )


@contextmanager
def faster_fifo(module: Any) -> Iterator[Channels]:
    """Its room is given in bytes: for blocks, their number times their length and some more."""
    yield Channels(
        lambda: _of_queue(module.Queue(1000 * 1000)),
        lambda most, length: _of_queue(module.Queue(most * (length + 100))),
    )


@contextmanager
def zmq(module: Any) -> Iterator[Channels]:
    """PUSH to PULL over ipc; as many wait as it lets by itself."""
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:

        def channel(put: str, get: str) -> Channel:
            address = f"ipc://{folder}/{next(numbers)}"

            @contextmanager
            def sender() -> Iterator[Put]:
                with module.Context() as context, context.socket(module.PUSH) as socket:
                    socket.connect(address)
                    yield getattr(socket, put)

            @contextmanager
            def receiver() -> Iterator[Get]:
                with module.Context() as context, context.socket(module.PULL) as socket:
                    socket.bind(address)
                    yield getattr(socket, get)

            return Channel(sender, receiver)

        yield Channels(
            lambda: channel("send_pyobj", "recv_pyobj"), lambda *_: channel("send", "recv")
        )


@contextmanager
def redis(module: Any) -> Iterator[Channels]:
    """A list, pushed to at one end and waited for at the other; nothing bounds it."""
    keys = itertools.count()
    with redis_server() as path:

        def channel(loads: Callable[[bytes], Any]) -> Channel:
            key = f"list {next(keys)}"

            @contextmanager
            def sender() -> Iterator[Put]:
                with module.Redis(unix_socket_path=path) as client:
                    yield lambda message: client.rpush(key, message)

            @contextmanager
            def receiver() -> Iterator[Get]:
                with module.Redis(unix_socket_path=path) as client:
                    yield lambda: loads(client.blpop([key])[1])

            return Channel(sender, receiver)

        yield Channels(lambda: channel(int), lambda *_: channel(bytes))


@contextmanager
def iceoryx2(module: Any) -> Iterator[Channels]:
    """Publish and subscribe, with an event for each message."""
    names = itertools.count()

    def channel(payload: Any, most: int, length: int = 0) -> Channel:
        service = _Iceoryx2(module, f"{os.getpid()}/{next(names)}", payload, most)
        return Channel(lambda: service.sender(length), lambda: service.receiver(length))

    yield Channels(
        lambda: channel(ctypes.c_uint64, 1000),
        lambda most, length: channel(module.Slice[ctypes.c_uint8], most, length),
    )


class _Iceoryx2:
    """A service. By itself it would overwrite what nobody got; a queue mustn't."""

    def __init__(self, module: Any, name: str, payload: Any, most: int) -> None:
        self._module, self._name, self._payload, self._most = module, name, payload, most

    def _open(self) -> tuple[Any, Any]:
        module, name = self._module, self._module.ServiceName.new(self._name)
        node = module.NodeBuilder.new().create(module.ServiceType.Ipc)
        messages = (
            node.service_builder(name)
            .publish_subscribe(self._payload)
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(self._most)
            .open_or_create()
        )
        return messages, node.service_builder(name).event().open_or_create()

    @contextmanager
    def sender(self, length: int) -> Iterator[Put]:
        messages, events = self._open()
        builder = messages.publisher_builder()
        publisher = (builder.initial_max_slice_len(length) if length else builder).create()
        notify = events.notifier_builder().create().notify

        def until_delivered(send: Callable[[], int]) -> None:
            # It says to how many: the first messages may find nobody there yet.
            while not send():
                time.sleep(0.001)
            notify()

        def number(message: int) -> None:
            until_delivered(lambda: publisher.send_copy(ctypes.c_uint64(message)))

        def block(message: bytes) -> None:
            def send() -> int:
                sample = publisher.loan_slice_uninit(len(message))
                ctypes.memmove(sample.payload_ptr, message, len(message))
                delivered: int = sample.assume_init().send()
                return delivered

            until_delivered(send)

        yield block if length else number

    @contextmanager
    def receiver(self, length: int) -> Iterator[Get]:
        messages, events = self._open()
        listener = events.listener_builder().create()
        subscriber = messages.subscriber_builder().create()

        def sample() -> Any:
            while (received := subscriber.receive()) is None:
                listener.blocking_wait()
            return received

        def block() -> bytes:
            # A copy, as others give one: the memory goes back with the sample.
            received = sample()
            return bytes(received.payload().as_memory_view())

        yield block if length else lambda: sample().payload().contents.value
