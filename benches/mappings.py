"""The dicts that processes share, of the libraries that have one (peers.py): numbers in and out.

Each is a context manager for a mapping from small numbers to numbers, in memory, used as its
documentation shows first. One that can add to a number has `add`, one that brings a lock `lock`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benches.redis_server import redis_server


@contextmanager
def managed(mp: Any) -> Iterator[Any]:
    """A manager's dict."""
    with mp.get_context("fork").Manager() as manager:
        yield manager.dict()


class OfLmdb:
    """A transaction for each access; numbers as text, since it stores bytes."""

    def __init__(self, open_it: Callable[[], Any]) -> None:
        self._open = open_it
        self._environment = open_it()
        self._begin = self._environment.begin

    def after_fork(self) -> None:
        """What was opened before a fork is the parent's alone."""
        self._environment.close()
        self._environment = self._open()
        self._begin = self._environment.begin

    def __getitem__(self, key: int) -> int:
        with self._begin() as transaction:
            return int(transaction.get(b"%d" % key))

    def __setitem__(self, key: int, value: int) -> None:
        with self._begin(write=True) as transaction:
            transaction.put(b"%d" % key, b"%d" % value)

    def add(self, key: int) -> None:
        """Count: nobody else writes during a transaction that does."""
        name = b"%d" % key
        with self._begin(write=True) as transaction:
            transaction.put(name, b"%d" % (int(transaction.get(name)) + 1))


@contextmanager
def lmdb(module: Any) -> Iterator[Any]:
    """A database in a folder in memory, so nothing waits for a disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield OfLmdb(lambda: module.open(folder, map_size=1 << 26, sync=False))


@contextmanager
def ultradict(module: Any) -> Iterator[Any]:
    """An UltraDict, with locks as it has them by itself."""
    mapping = module.UltraDict()
    try:
        yield mapping
    finally:
        mapping.unlink()


class OfRedis:
    """A hash, whose values are text; each access is a round trip to the server."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getitem__(self, key: int) -> int:
        return int(self._client.hget("numbers", key))

    def __setitem__(self, key: int, value: int) -> None:
        self._client.hset("numbers", key, value)

    def add(self, key: int) -> None:
        self._client.hincrby("numbers", key)


@contextmanager
def redis(module: Any) -> Iterator[Any]:
    """A hash of a server that serves nobody else."""
    with redis_server() as path, module.Redis(unix_socket_path=path) as client:
        yield OfRedis(client)
