"""The backend: batches of joblib's calls are calls to a `ProcessPoolExecutor`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from allcores.cpus import cpu_count
from allcores.executor import ProcessPoolExecutor

__all__ = ["AllcoresBackend"]


class AllcoresBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs what `joblib.Parallel` is given in the worker processes of allcores.

    A call inside of a call may use what cores are left to its worker, so nested calls with
    ``n_jobs=-1`` never take more processes than there are cores. A worker that dies fails the
    batch that it ran, with `WorkerDied`.

    Args:
        nesting_level: how many calls this one is in; joblib's.
        inner_max_num_threads: what libraries (BLAS, OpenMP) may use in each worker; None for
            the worker's share of the cores.
        options: of `ProcessPoolExecutor`: `mp_context`, `max_memory`, `max_tasks_per_child`,
            `initializer` and `initargs`.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._options = options
        self._executor: ProcessPoolExecutor | None = None
        self._workers = 1

    def __reduce__(self) -> Any:
        # It travels with each batch, for what is nested in there.
        return _again, (self.nesting_level, self.inner_max_num_threads, self._options)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many workers there would be.

        Args:
            n_jobs: as given by the caller: -1 for one a core that this process may use.

        Raises:
            ValueError: 0 workers.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning; -1 means one a core")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(cpu_count() + 1 + n_jobs, 1)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        **others: Any,
    ) -> int:
        """Make ready for calls, and return how many workers there will be.

        Args:
            n_jobs: as given by the caller.
            parallel: joblib's object.
            prefer: not needed.
            require: not needed.
            others: about memory-mapped files for arrays, of which there are none here.
        """
        workers: int = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._workers = workers
        self._executor = self._make()
        return workers

    def _make(self) -> ProcessPoolExecutor:
        options = self._options
        if self.inner_max_num_threads is not None:
            before = options.get("initializer"), tuple(options.get("initargs", ()))
            limited = (self.inner_max_num_threads, self.MAX_NUM_THREADS_VARS, *before)
            options = options | {"initializer": _limit, "initargs": limited}
        return ProcessPoolExecutor(self._workers, **options)

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None
    ) -> Any:
        """Have a worker do a batch.

        Args:
            func: the batch.
            callback: called with the future when it is done.
        """
        assert self._executor is not None  # joblib configures first
        future = self._executor.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Any) -> Any:
        """Return what a batch returned, or raise what it raised."""
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the workers, whatever they do.

        Args:
            ensure_ready: there may be more calls.
        """
        if self._executor is not None:
            self._executor.kill_workers()
            self._executor = self._make() if ensure_ready else None

    def terminate(self) -> None:
        """Let the workers go; the next call finds them again, if it comes soon."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None
        self.reset_batch_stats()

    def get_nested_backend(self) -> tuple[AllcoresBackend, int | None]:
        """Return the backend of calls inside of a call."""
        level = (self.nesting_level or 0) + 1
        return _again(level, self.inner_max_num_threads, self._options), None


def _again(
    level: int | None, inner_max_num_threads: int | None, options: dict[str, Any]
) -> AllcoresBackend:
    return AllcoresBackend(level, inner_max_num_threads, **options)


def _limit(
    threads: int,
    variables: list[str],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Keep libraries to some threads, in a worker."""
    import threadpoolctl

    os.environ.update(dict.fromkeys(variables, str(threads)))
    threadpoolctl.threadpool_limits(threads)  # those that are loaded already
    if initializer is not None:
        initializer(*initargs)
