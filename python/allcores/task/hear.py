"""The pool's side of what is around a task: what goes there with it, and what comes from there.

A worker prints to where this process does as long as both write to the same file, that is, to
descriptors 1 and 2. Where this process writes to something else, a notebook's cell, say, or a
`redirect_stdout`, the worker is told to send what it prints. Records of `logging` and warnings
always come here, to what handles them here; so does each text to the stream that there was, and in
the context, when the call was made. tell.py is the worker's side, carry.py what goes there.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import Any, NamedTuple

from allcores import _core, pickling
from allcores.task import carry
from allcores.task.carry import Filter, Load

__all__ = ["Hearing"]

# How often the pool's thread looks whether idle workers have something to say, once any has had.
LISTEN_S = 0.25


class _Around(NamedTuple):
    """What was around a call.

    Attributes:
        context: of the caller.
        out: ``sys.stdout``.
        err: ``sys.stderr``.
    """

    context: Context
    out: Any
    err: Any


class Hearing:
    """What a pool knows of the surroundings of its calls.

    Args:
        leases: those of its workers, which are told through them to send what they print.

    Attributes:
        same: tells whether all is as usual around a call, so that there is nothing to do.
        diverted: whether workers send what they print.
        listens: whether any worker has had something to say, or will have.
    """

    def __init__(self, leases: Callable[[], Iterable[Any]]) -> None:
        self._leases = leases
        self._out, self._err = _plain("stdout", 1), _plain("stderr", 2)
        self.diverted = self.listens = False
        self._last: tuple[Any, Any] = (None, None)  # the last wrapper, and what it was made of
        self._load: tuple[Context | None, Load] = (None, Load())
        self._base: tuple[Filter, ...] = tuple(carry.filters())
        self._usual = _core.Surroundings(self._out, self._err)
        self.same = self._usual.same
        if sys.stdout is not self._out or sys.stderr is not self._err:
            self._divert()

    def manner(self) -> bytes:
        """Return what a worker is told as it starts, for `tell.Teller`."""
        levels: dict[str, int] | None = None
        disabled = 0
        logging = sys.modules.get("logging")
        if logging is not None and hasattr(logging, "root"):
            levels = {
                name: logger.level
                for name, logger in list(logging.root.manager.loggerDict.items())
                if getattr(logger, "level", 0)
            }
            levels[""] = logging.root.level
            disabled = logging.root.manager.disable
        filters = [_by_name(entry) for entry in self._base]
        return pickle.dumps((levels, disabled, filters))

    # There.

    def surround(self, job: Any, func: Callable[..., Any]) -> Any:
        """Note what is around a call where it is not as usual; return the function to send.

        Args:
            job: of the call.
            func: its function.
        """
        context = copy_context()
        same = self._usual.same_warnings()
        job._around = _Around(context, sys.stdout, sys.stderr)
        if not self.diverted and (sys.stdout is not self._out or sys.stderr is not self._err):
            self._divert()
        load = self._load_of(context)
        if not same and (found := tuple(carry.filters())) != self._base:
            load = load._replace(filters=found)
        if load == ((), None, None):
            return func
        made_of = (func, load)
        wrapper, before = self._last
        if before is None or before[0] is not func or before[1] is not load:
            wrapper = carry.wrap(func, load)
            self._last = wrapper, made_of
        return wrapper

    def _load_of(self, context: Context) -> Load:
        before, load = self._load
        if before is not None and len(before) == len(context):
            nothing = object()
            if all(before.get(variable, nothing) is value for variable, value in context.items()):
                return load
        variables, decimal, constant = carry.context_entries(context)
        load = Load(variables, decimal)
        self._load = (context if constant else None), load
        return load

    def _divert(self) -> None:
        self.diverted = self.listens = True
        for lease in self._leases():
            lease.divert()

    # Here.

    def hear(self, data: Any, jobs: dict[int, Any]) -> None:
        """Do what a worker would have done, here.

        Args:
            data: what it sent.
            jobs: those under way, by number.
        """
        self.listens = True
        try:
            tag, what, content = pickling.loads(data)
            around = getattr(jobs.get(tag >> 32), "_around", None)
            if what == "text":
                self._write(around, *content)
                return
            handle = _log if what == "log" else _warn
            if around is None:
                handle(*content)
            else:
                around.context.copy().run(handle, *content)
        except Exception:
            # Whoever prints, logs or warns is not to fail for it, and who waits for a result even
            # less.
            stream = sys.__stderr__
            if stream is not None:
                with contextlib.suppress(Exception):
                    traceback.print_exc(file=stream)

    def _write(self, around: _Around | None, name: str, text: str) -> None:
        stream = None if around is None else (around.out if name == "stdout" else around.err)
        if stream is None:
            stream = getattr(sys, name)
        if stream is None:
            return
        try:
            if around is None:
                stream.write(text)
            else:
                around.context.copy().run(stream.write, text)
        except ValueError:  # closed since
            stream = getattr(sys, name)
            if stream is not None:
                stream.write(text)


def _plain(name: str, fd: int) -> Any:
    """Return the standard stream that writes to that descriptor, which workers have as well."""
    stream = getattr(sys, f"__{name}__")
    try:
        return stream if stream.fileno() == fd else None
    except (AttributeError, OSError, ValueError):
        return None


def _by_name(entry: Filter) -> tuple[Any, ...]:
    """Return a filter without its category, and where that is found: to import it costs time."""
    action, message, category, module, line = entry
    return (action, message, module, line), (category.__module__, category.__qualname__)


def _log(fields: dict[str, Any]) -> None:
    import logging

    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def _warn(message: Any, category: Any, filename: str, line_number: int, line: Any) -> None:
    warnings.showwarning(message, category, filename, line_number, None, line)
