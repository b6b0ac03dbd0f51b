"""Workers log into a queue; one listener writes what all of them say."""

import logging
import logging.handlers

import allcores as mp


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        worker = record.processName.partition("-")[0].removeprefix("Fork").removeprefix("Server")
        self.lines.append(f"{worker.removeprefix('Spawn')}: {record.getMessage()}")


def log_to(queue):
    logging.getLogger().handlers = [logging.handlers.QueueHandler(queue)]
    logging.getLogger().setLevel(logging.INFO)


def work(item):
    logging.info("item %d", item)


queue, lines = mp.Queue(), Lines()
listener = logging.handlers.QueueListener(queue, lines)
listener.start()
with mp.Pool(2, initializer=log_to, initargs=(queue,)) as pool:
    pool.map(work, range(4), chunksize=1)
listener.stop()
print("\n".join(sorted(lines.lines)))
