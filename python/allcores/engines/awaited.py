"""A map whose result an event loop waits for."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from allcores.engines.plan import Plan, ending
from allcores.errors import TaskCancelled

if TYPE_CHECKING:
    from allcores.pool import Pool


class Awaited:
    """A map that a thread looks after while an event loop waits for the result.

    Args:
        plan: the map.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._cancelled = False
        self._pool: Pool | None = None
        self._values: list[Any] = []
        self._error: BaseException | None = None

    async def run(self) -> list[Any]:
        """Return the results."""
        # Under fork the workers must not be copies of a process with this thread.
        pool = self._plan.open() if self._plan.forks() else None
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._serve, pool), name="allcores-amap", daemon=True
        )
        thread.start()
        try:
            # Shielded: who cancels wants the workers gone, and that is what it says.
            await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            self._cancel()
            await self._ended
            raise
        finally:
            # (Who cancels twice doesn't wait for it.)
            if self._ended.done() and not self._ended.cancelled():
                thread.join()  # it is on its last line
        error, self._error = self._error, None
        if error is None:
            return self._values
        if isinstance(error, StopIteration):
            raise RuntimeError("a call raised StopIteration") from error
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame

    def _cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            pool = self._pool
        if pool is not None:
            # The map, if it has begun. (While its input is read, nobody holds it yet.)
            for job in list(pool._line.jobs.values()):
                job.cancel()

    def _serve(self, pool: Pool | None) -> None:
        try:
            pool = pool or self._plan.open()
            with self._lock:
                self._pool = pool
            with ending(pool):
                result = self._plan.map(pool, self._watch)
                with self._lock:
                    cancelled = self._cancelled
                if cancelled:
                    result.cancel()
                self._values = result.get()
        except BaseException as error:
            self._error = error
        finally:
            self._pool = None
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self._tell)

    def _watch(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if self._cancelled:
                raise TaskCancelled("the call was cancelled while its input was read")
            yield item

    def _tell(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
