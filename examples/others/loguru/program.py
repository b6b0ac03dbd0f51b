"""loguru's `enqueue=True` with a context: all processes write into one file, line by line."""

import tempfile
from pathlib import Path

import allcores as mp
from loguru import logger


def take(given):
    global logger
    logger = given


def work(item):
    logger.info("item {}", item)
    logger.complete()


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "all.log")
    logger.remove()
    logger.add(path, enqueue=True, context=mp.get_context(), format="{message}")
    with mp.Pool(2, initializer=take, initargs=(logger,)) as pool:
        pool.map(work, range(4), chunksize=1)
    logger.complete()
    logger.remove()
    print(sorted(path.read_text().splitlines()))
