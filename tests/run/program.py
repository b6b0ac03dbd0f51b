"""A program that knows nothing of allcores; tests/run runs it."""

import concurrent.futures
import importlib
import multiprocessing
import multiprocessing.pool
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Process, shared_memory


def names(item):
    import multiprocessing.queues as queues  # imported late, in a worker
    from concurrent import futures

    return multiprocessing.__name__, queues.Queue.__module__, futures.ProcessPoolExecutor.__module__


def grandchild(queue):
    child = Process(target=queue.put, args=(names(0),))
    child.start()
    child.join()


class Named(multiprocessing.Process):
    def __init__(self, queue):
        super().__init__()
        self.queue = queue

    def run(self):
        self.queue.put(names(0))


def late(found):
    import multiprocessing.connection as connection

    found.append(connection.__name__)


if __name__ == "__main__":
    ours = ("allcores", "allcores.queues", "allcores.executor")
    assert names(0) == ours, names(0)
    assert concurrent.futures.process.ProcessPoolExecutor is ProcessPoolExecutor
    assert issubclass(BrokenProcessPool, concurrent.futures.BrokenExecutor)
    assert importlib.import_module("multiprocessing.pool").__name__ == "allcores.pool"
    # From 3.13 on that of the standard library has all that is documented.
    expected = "multiprocessing" if sys.version_info >= (3, 13) else "allcores"
    assert shared_memory.__name__ == f"{expected}.shared_memory"
    found = []
    thread = threading.Thread(target=late, args=(found,))
    thread.start()
    thread.join()
    assert found == ["allcores.connection"], found
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            assert pool.map(names, range(3)) == [ours] * 3
        queue = context.Queue()
        child = context.Process(target=grandchild, args=(queue,))
        child.start()
        assert queue.get() == ours
        child.join()
    queue = multiprocessing.Queue()
    named = Named(queue)
    named.start()
    assert queue.get() == ours
    named.join()
    with ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(names, number) for number in range(3)]
        assert [future.result() for future in as_completed(futures)] == [ours] * 3
    with multiprocessing.pool.ThreadPool(2) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]
    print("arguments", sys.argv[1:])
