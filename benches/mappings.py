"""The dicts that processes share, of the libraries that have one (peers.py): numbers in and out.

Each is a context manager for a mapping from small numbers to numbers, in memory, used as its
documentation shows first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def managed(mp: Any) -> Iterator[Any]:
    """A manager's dict."""
    with mp.get_context("fork").Manager() as manager:
        yield manager.dict()


class OfLmdb:
    """A transaction for each access; numbers as text, since it stores bytes."""

    def __init__(self, environment: Any) -> None:
        self._begin = environment.begin

    def __getitem__(self, key: int) -> int:
        with self._begin() as transaction:
            return int(transaction.get(b"%d" % key))

    def __setitem__(self, key: int, value: int) -> None:
        with self._begin(write=True) as transaction:
            transaction.put(b"%d" % key, b"%d" % value)


@contextmanager
def lmdb(module: Any) -> Iterator[Any]:
    """A database in a folder in memory, so nothing waits for a disk."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,
        module.open(folder, map_size=1 << 26, sync=False) as environment,
    ):
        yield OfLmdb(environment)


@contextmanager
def ultradict(module: Any) -> Iterator[Any]:
    """An UltraDict, with locks as it has them by itself."""
    mapping = module.UltraDict()
    try:
        yield mapping
    finally:
        mapping.unlink()
