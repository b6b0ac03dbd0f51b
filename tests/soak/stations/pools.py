"""Pools: a worker's death costs one task, and the pool's owner may die as well."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import allcores as mp
from allcores import errors

from tests.soak import ledger as book
from tests.soak.stations import Seen, Station

DIED = book.EXTRA  # of a row: tasks that died
WORKERS = book.EXTRA + 1  # from here on: the pids of the pool's workers
MOST_WORKERS = 3
TASKS = 12


def square(x: int, size: int) -> tuple[int, int, bytes]:
    return x * x, os.getpid(), b"x" * size


class Pools(Station):
    """Each owner has a pool of its own."""

    seats = ("own", "own")

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice)
        self.size = dice.choice([10, 10, 5000])
        self.name = f"Pool, results of {self.size} bytes"

    def do_own(self, row: book.Row, dice: random.Random) -> None:
        pool = mp.get_context("fork").Pool(2)
        for n in self.running(row, dice):
            results = [pool.apply_async(square, (x, self.size)) for x in range(n, n + TASKS)]
            pids = [process.pid for process in pool._pool][:MOST_WORKERS]
            for i, pid in enumerate(pids):
                row.words[WORKERS + i] = pid or 0
            for x, result in enumerate(results, n):
                try:
                    got = result.get()
                except errors.WorkerDied:
                    row.words[DIED] += 1
                else:
                    if got[0] != x * x or got[2] != b"x" * self.size:
                        self.ledger.complain(f"{self.name}: the square of {x} came as {got}")
        pool.close()
        pool.join()

    def close(self, rows: list[Seen]) -> Iterator[str]:
        for seen in rows:
            if seen.words[DIED] > seen.others_killed:
                yield (
                    f"{self.name}: {seen.words[DIED]} tasks of row {seen.index} died, and "
                    f"{seen.others_killed} workers were killed"
                )
