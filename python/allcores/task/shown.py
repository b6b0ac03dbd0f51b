"""The workers of an executor as `executor._processes` shows them to who looks there.

Before Python 3.14 had `terminate_workers`, programs ended an executor by terminating its processes,
and it counted as broken from then on. Here a worker that dies is replaced; but who asks one to end
wants no other in its place. So that ends the executor, as `terminate_workers` does. `kill`
is what it says: a death like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

__all__ = ["ShownWorker"]


class ShownWorker:
    """A worker's process object; its orderly end is that of its executor.

    Args:
        worker: the process object.
        end: ends the executor. It isn't kept: an executor that is forgotten ends although
            somebody has its workers.
    """

    def __init__(self, worker: Any, end: Callable[[], None]) -> None:
        self._worker = worker
        self._end = WeakMethod(end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def __repr__(self) -> str:
        return repr(self._worker)

    def terminate(self) -> None:
        """End the worker and its executor: all calls that have not ended fail."""
        end = self._end()
        if end is None:
            self._worker.terminate()
        else:
            end()
