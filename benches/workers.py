"""How each library is told to give tasks to two workers."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

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
