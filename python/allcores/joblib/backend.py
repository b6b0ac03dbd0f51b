"""The backend: batches of joblib's calls are calls to a `ProcessPoolExecutor`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from multiprocessing.process import current_process
from typing import TYPE_CHECKING, Any

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from allcores.cpus import cpu_count
from allcores.joblib import register

if TYPE_CHECKING:
    from allcores.executor import ProcessPoolExecutor

__all__ = ["AllcoresBackend"]

# Keywords of `ProcessPoolExecutor` that `Parallel` and `parallel_config` take for this backend.
_OPTIONS = {"initializer", "initargs", "max_memory", "max_tasks_per_child", "mp_context"}
# What joblib passes to each backend, about its own pools and files.
_JOBLIBS = {"context", "max_nbytes", "mmap_mode", "temp_folder", "verbose"}
# Calls inside of calls inside of calls are made one after the other.
_DEEPEST = 1


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
        _check(options, _OPTIONS)
        self._given = options
        self._options = options
        self._workers: ProcessPoolExecutor | None = None
        self._count = 1

    def __reduce__(self) -> Any:
        # It travels with each batch, for what is nested in there.
        return _again, (self.nesting_level, self.inner_max_num_threads, self._given)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many workers there would be.

        Args:
            n_jobs: as given by the caller: -1 for one a core that this process may use.

        Raises:
            ValueError: 0 workers.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning; -1 means one a core")
        if n_jobs is None or n_jobs == 1:
            return 1
        if current_process().daemon:
            warnings.warn(
                "this is a daemonic process of multiprocessing, which may have no children: "
                "n_jobs is 1 here",
                stacklevel=3,
            )
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
            others: options, as for the backend itself; and what joblib says to all backends about
                memory-mapped files for arrays, of which there are none here.

        Raises:
            TypeError: an option that there is not.
        """
        _check(others, _OPTIONS | _JOBLIBS)
        count: int = self.effective_n_jobs(n_jobs)
        if count == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        chosen = {name: value for name, value in others.items() if name in _OPTIONS}
        self.parallel = parallel
        self._options = self._given | chosen
        self._count = count
        self._workers = self._make()
        return count

    def _make(self) -> ProcessPoolExecutor:
        from allcores.executor import ProcessPoolExecutor

        options = self._options
        if self.inner_max_num_threads is not None:
            before = options.get("initializer"), tuple(options.get("initargs", ()))
            limited = (self.inner_max_num_threads, self.MAX_NUM_THREADS_VARS, *before)
            options = options | {"initializer": _limit, "initargs": limited}
        return ProcessPoolExecutor(self._count, **options)

    def start_call(self) -> None:
        """Begin a call: what an earlier one, that failed, had cut and not submitted is not its.

        joblib (1.6) keeps such batches in the object, and would do them in the next call.
        """
        left = getattr(self.parallel, "_ready_batches", None)
        while left is not None and not left.empty():
            left.get()

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None
    ) -> Any:
        """Have a worker do a batch.

        Args:
            func: the batch.
            callback: called with the future when it is done.
        """
        assert self._workers is not None  # joblib configures first
        future = self._workers.submit(func)
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
        if self._workers is not None:
            self._workers.kill_workers()
            self._workers = self._make() if ensure_ready else None

    def terminate(self) -> None:
        """Let the workers go; the next call finds them again, if it comes soon."""
        if self._workers is not None:
            self._workers.shutdown()
            self._workers = None
        self.reset_batch_stats()

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Return the backend of calls inside of a call."""
        level = (self.nesting_level or 0) + 1
        if level > _DEEPEST:
            return SequentialBackend(nesting_level=level), None
        return _again(level, self.inner_max_num_threads, self._given), None


def _check(options: dict[str, Any], known: set[str]) -> None:
    for name in options:
        if name not in known:
            raise TypeError(
                f"the backend allcores has no option {name!r}; it has {', '.join(sorted(_OPTIONS))}"
            )


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


register()  # where this module was imported before joblib
