"""The libraries that are measured: how each gets two workers, and tasks to them.

A case says what happens, the classes here say how a library is told to. Nothing is tuned: each is
used as its documentation shows first. Their modules are imported by name, since a library is
measured by the Python of its own environment (install.py), where the others are missing.
"""

from __future__ import annotations

import functools
import importlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from benches import mappings

Function = Callable[[Any], Any]


class OfPool:
    """Two workers behind what `multiprocessing.Pool` has."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.terminate()
        self._pool.join()

    def map(self, function: Function, items: Sequence[Any], size: int | None = None) -> Any:
        """The results in order; `size` items travel together, None: as the library sees fit."""
        return self._pool.map(function, items, *([] if size is None else [size]))

    def unordered(self, function: Function, items: Sequence[Any]) -> Iterable[Any]:
        """The results as they come; each item travels alone."""
        return self._pool.imap_unordered(function, items)  # type: ignore[no-any-return]

    def each(self, function: Function, items: Sequence[Any]) -> Any:
        """A call for each item; then all their results."""
        apply_async = self._pool.apply_async
        results = [apply_async(function, (item,)) for item in items]
        return [result.get() for result in results]

    def call(self, function: Function, item: Any) -> Any:
        """One call, there and back."""
        return self._pool.apply(function, (item,))


class Loop(OfPool):
    """No workers: the caller does it."""

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Function, items: Sequence[Any], size: int | None = None) -> Any:
        return [function(item) for item in items]


class Mpire(OfPool):
    def __exit__(self, *_: object) -> None:
        self._pool.terminate()

    def map(self, function: Function, items: Sequence[Any], size: int | None = None) -> Any:
        if hasattr(items[0], "__len__"):
            items = [(item,) for item in items]  # which it would take for several arguments
        return self._pool.map(function, items, chunk_size=size)

    def unordered(self, function: Function, items: Sequence[Any]) -> Any:
        return self._pool.imap_unordered(function, items, chunk_size=1)


class OfExecutor(OfPool):
    """Two workers behind what `concurrent.futures.Executor` has."""

    def __init__(self, executor: Any, submit: Callable[..., Any] | None = None) -> None:
        super().__init__(executor)
        self._submit = submit or executor.submit

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def map(self, function: Function, items: Sequence[Any], size: int | None = None) -> Any:
        return list(
            self._pool.map(function, items, **({} if size is None else {"chunksize": size}))
        )

    def unordered(self, function: Function, items: Sequence[Any]) -> Iterable[Any]:
        as_completed = importlib.import_module("concurrent.futures").as_completed
        futures = [self._submit(function, item) for item in items]
        return (future.result() for future in as_completed(futures))

    def each(self, function: Function, items: Sequence[Any]) -> Any:
        submit = self._submit
        futures = [submit(function, item) for item in items]
        return [future.result() for future in futures]

    def call(self, function: Function, item: Any) -> Any:
        return self._submit(function, item).result()


class Loky(OfExecutor):
    """The reusable executor: the workers are the program's, for its whole life."""

    def __exit__(self, *_: object) -> None:
        pass


class Pebble(OfExecutor):
    def __init__(self, pool: Any) -> None:
        super().__init__(pool, lambda function, item: pool.schedule(function, args=(item,)))

    def __exit__(self, *_: object) -> None:
        self._pool.close()
        self._pool.join()


class Joblib(OfPool):
    """Here as well the workers are the program's."""

    def __exit__(self, *_: object) -> None:
        pass

    def _run(self, function: Function, items: Sequence[Any], **options: Any) -> Any:
        delayed = self._pool.delayed(function)
        return self._pool.Parallel(n_jobs=2, **options)(delayed(item) for item in items)

    def map(self, function: Function, items: Sequence[Any], size: int | None = None) -> Any:
        return self._run(function, items, batch_size=size or "auto")

    def unordered(self, function: Function, items: Sequence[Any]) -> Any:
        return self._run(function, items, batch_size=1, return_as="generator_unordered")


class RayTasks(OfPool):
    """Ray's remote functions. What it started ends with the process."""

    def __exit__(self, *_: object) -> None:
        pass

    def each(self, function: Function, items: Sequence[Any]) -> Any:
        remote = self._pool.remote(function).remote
        return self._pool.get([remote(item) for item in items])

    def call(self, function: Function, item: Any) -> Any:
        return self._pool.get(self._remote(function).remote(item))

    @functools.cached_property
    def _remote(self) -> Any:
        return functools.cache(self._pool.remote)


class Dask(OfPool):
    """Without pure=False a call that was made before is answered from memory."""

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def map(self, function: Function, items: Sequence[Any], size: int | None = None) -> Any:
        return self._pool.gather(self._pool.map(function, items, pure=False))

    def unordered(self, function: Function, items: Sequence[Any]) -> Iterable[Any]:
        as_completed = importlib.import_module("distributed").as_completed
        futures = self._pool.map(function, items, pure=False)
        return (result for _, result in as_completed(futures, with_results=True))

    def each(self, function: Function, items: Sequence[Any]) -> Any:
        return self._pool.gather([self._pool.submit(function, item, pure=False) for item in items])

    def call(self, function: Function, item: Any) -> Any:
        return self._pool.submit(function, item, pure=False).result()


class Peer(NamedTuple):
    """A library under measurement.

    Attributes:
        modules: what it needs imported; not part of any time.
        pool: makes its workers; called with those modules and a start method.
        executor: what futures are got from, where that is another thing.
        can: what it is measured with: the `needs` of the cases.
        requirement: what pip installs; nothing when it is at hand.
        batches: without being told, `map` lets many items travel together.
        single: tasks a measurement makes when each travels alone, at most.
        mapping: makes the dict that processes share, see mappings.py; called with its first module.
        rounds: in how many it takes part, at most; few for those that take seconds to start.
    """

    modules: tuple[str, ...]
    pool: Callable[..., Any]
    executor: Callable[..., Any] | None = None
    can: str = "map sizes unordered call pool submit fork forkserver spawn mapping"
    requirement: str = ""
    batches: bool = True
    single: int = 20_000
    rounds: int = 2
    mapping: Callable[..., Any] | None = None

    def workers(self, start: str = "fork") -> Any:
        """Two workers, as a pool has them."""
        return self.pool(*map(importlib.import_module, self.modules), start)

    def shared_dict(self) -> Any:
        """A context manager for a dict that processes share."""
        if self.mapping is None:
            raise RuntimeError("it has no dict that processes share")
        return self.mapping(importlib.import_module(self.modules[0]))

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


def _none(*_: object) -> Any:
    raise RuntimeError("it has no workers")


PEERS: dict[str, Peer] = {
    "allcores": Peer(
        ("allcores",),
        lambda mp, start: OfPool(mp.get_context(start).Pool(2)),
        lambda mp, start: OfExecutor(mp.ProcessPoolExecutor(2, mp.get_context(start))),
        mapping=mappings.managed,
    ),
    "multiprocessing": Peer(
        ("multiprocessing",),
        lambda mp, start: OfPool(mp.get_context(start).Pool(2)),
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
        can="map unordered call fork forkserver spawn",
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
        can="map unordered call submit spawn",
        requirement="loky",
        batches=False,
        single=10_000,
    ),
    "joblib": Peer(
        ("joblib",),
        lambda joblib, start: Joblib(joblib),
        can="map unordered spawn",
        requirement="joblib",
    ),
    "mpire": Peer(
        ("mpire",),
        lambda mpire, start: Mpire(mpire.WorkerPool(2, start_method=start, keep_alive=True)),
        can="map unordered call pool fork forkserver spawn",
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
        can="map unordered call pool submit spawn",
        requirement="ray",
        single=2_000,
        rounds=1,
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
        can="map unordered call submit spawn",
        requirement="distributed",
        batches=False,
        single=2_000,
        rounds=1,
    ),
}
LIBRARIES = ("allcores", "multiprocessing")
OTHERS = tuple(name for name in PEERS if name not in LIBRARIES)
