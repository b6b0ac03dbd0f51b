"""What the engines in this process share: tasks are tuples, values go as they are.

Nothing is pickled: a task gets the caller's own objects, and the caller the task's. An exception
keeps its traceback.
"""

from __future__ import annotations

import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any

from allcores.engines.contract import TERMINATE, Engine, initializer_failed
from allcores.errors import TaskExited
from allcores.task.records import CALL, MAP, ONE, STAR_ONE, STARMAP

# (job's number, part, kind, function, payload); of several items the payload is (items, start,
# stop).
Task = tuple[int, int, int, Callable[..., Any], Any]


class Local(Engine):
    """An engine without other processes.

    Attributes:
        delivering: held by who hands news to a job.
    """

    def __init__(self) -> None:
        super().__init__()
        # Reentrant: a callback may make the next call.
        self.delivering = threading.RLock()

    @abstractmethod
    def put(self, task: Task) -> None:
        """Have a task done.

        Args:
            task: the task.
        """

    def function(self, job: Any, func: Callable[..., Any], often: bool) -> Any:
        """Return the function as it is, or one that calls it in the caller's context.

        Args:
            job: keeps it, to make calls again that failed.
            func: the function.
            often: not needed.
        """
        put = sys.modules.get("allcores.shared.put")
        if put is not None:
            func = _with_objects(func, put.Ref)
        if not self.lazy and (context := copy_context()):
            func = _InContext(context, func)
        job._kept = func
        return func

    def call(self, function: Any, job: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        """Have one call made.

        Args:
            function: what to call.
            job: takes the result, as its part 0.
            args: positional arguments.
            kwargs: keyword arguments.
        """
        self.put((job._job, 0, CALL, function, (args, kwargs)))

    def each(
        self,
        function: Any,
        job: Any,
        what: int,
        items: Sequence[Any],
        start: int,
        stop: int,
        shift: int = 0,
    ) -> int:
        """Have a call made with each of some items.

        Args:
            function: what to call.
            job: takes the results.
            what: ONE or STAR_ONE.
            items: what they are some of.
            start: index of the first.
            stop: index behind the last.
            shift: part minus index.

        Returns:
            `stop`: tasks refer to the items as they are.
        """
        number, put = job._job, self.put
        for index in range(start, stop):
            put((number, index + shift, what, function, items[index]))
        return stop

    def several(
        self,
        function: Any,
        job: Any,
        part: int,
        what: int,
        items: Sequence[Any],
        start: int,
        stop: int,
    ) -> None:
        """Have calls made with some items, as one task.

        Args:
            function: what to call.
            job: takes the list of results, as `part`.
            part: which part of the job it is.
            what: MAP or STARMAP.
            items: what they are some of.
            start: index of the first.
            stop: index behind the last.
        """
        self.put((job._job, part, what, function, (items, start, stop)))

    def welcome(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> bool:
        """Run the initializer, in the thread that will do tasks; return whether it may.

        Args:
            initializer: what to call, if there is anything.
            initargs: its arguments.
        """
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException as error:
                self.give_up(initializer_failed(error))
                return False
        return True

    def deliver(self, task: Task, value: Any, began: int) -> None:
        """Hand a task's value to its job.

        Args:
            task: the task.
            value: what the call returned; of several, the list.
            began: when the task did, by `time.monotonic_ns`.
        """
        with self.delivering:
            job = self.jobs.get(task[0])
            if job is None:
                return
            if task[2] in (MAP, STARMAP):
                job._got_list(task[1], value, time.monotonic_ns() - began)
            else:
                job._got(task[1], value)

    def lose(self, task: Task, error: BaseException) -> None:
        """Tell a task's job what the task raised.

        Args:
            task: the task.
            error: what it raised.
        """
        _forget_engine(error)
        with self.delivering:
            job = self.jobs.get(task[0])
            if job is not None:
                job._lost(task[1], own_exit(error, f"task {job._first(task[1])}"))

    # The end.

    def cancel(self) -> None:
        """Fail everything under way."""
        with self.delivering:
            super().cancel()

    def terminate(self) -> None:
        """Fail what is under way; what runs goes on to its end, and nobody hears of it."""
        self.shut(TERMINATE)
        self.cancel()

    @abstractmethod
    def join(self) -> None:
        """Wait until everything is done."""


class _InContext:
    """A function that is called in a copy of a context each time.

    Args:
        context: of whoever makes the call.
        func: the function.
    """

    def __init__(self, context: Context, func: Callable[..., Any]) -> None:
        self._context = context
        self._func = func
        self.__qualname__: str = getattr(func, "__qualname__", None) or repr(func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._context.copy().run(self._func, *args, **kwargs)


def perform(what: int, func: Callable[..., Any], payload: Any) -> Any:
    """Do a task, and return its value.

    Args:
        what: the kind of task.
        func: what to call.
        payload: the kind's.
    """
    if what == ONE:
        return func(payload)
    if what == STAR_ONE:
        return func(*payload)
    if what == CALL:
        args, kwargs = payload
        return func(*args, **kwargs)
    items, start, stop = payload
    if what == MAP:
        return [func(item) for item in items[start:stop]]
    return [func(*item) for item in items[start:stop]]


def _with_objects(func: Callable[..., Any], ref: type[Any]) -> Callable[..., Any]:
    """Return what calls `func` with the objects of arguments that are a `Ref`.

    In another process they would have arrived as these, wherever in an argument they are; nobody
    looks into the arguments here.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        args = tuple(arg.get() if isinstance(arg, ref) else arg for arg in args)
        for name, arg in kwargs.items():
            if isinstance(arg, ref):
                kwargs[name] = arg.get()
        return func(*args, **kwargs)

    return call


def _forget_engine(error: BaseException) -> None:
    """Have an exception's traceback begin with what was called."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_globals.get("__package__") == __package__:
        at = at.tb_next
    if at is not None:
        error.__traceback__ = at


def own_exit(error: BaseException, where: str) -> BaseException:
    """Return what to raise for what a task raised: it doesn't end the caller's thread.

    Args:
        error: what it raised.
        where: names the task.
    """
    if not isinstance(error, SystemExit):
        return error
    code = error.code
    thread = threading.current_thread().name
    exited = TaskExited(f"{where} (in thread {thread}) called sys.exit({code!r})", code=code)
    exited.__cause__ = error
    return exited
