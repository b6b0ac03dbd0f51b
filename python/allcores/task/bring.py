"""Bringing a call to the ring: pack its function and arguments, or say what can't travel."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from allcores import pickling
from allcores.errors import NotPicklable
from allcores.task.function import Function
from allcores.task.line import TERMINATE, Line
from allcores.task.records import CALL, Ticket

# Errors that mean "can't be pickled". Any other one is the object's own, raised by its
# __reduce__ or __getstate__, and means what it says.
_REFUSALS = (pickle.PicklingError, TypeError, AttributeError, RecursionError, OSError)


def function(line: Line, job: Any, func: Callable[..., Any], often: bool) -> Function:
    """Pack the function of a call.

    Args:
        line: the pool's rings.
        job: the result object; it keeps what the function needs until it is complete.
        func: the function.
        often: whether several tasks will carry it.

    Raises:
        NotPicklable: it can't travel.
    """
    try:
        job._kept = packed = line.functions.get(func, often)
        return packed
    except NotPicklable as error:
        raise _own(error)  # noqa: B904  # it has its cause


def bring(line: Line, function: Function, ticket: Ticket) -> None:
    """Put one task on the ring; one whose arguments can't travel fails at once.

    Args:
        line: the pool's rings.
        function: what to call.
        ticket: the task.
    """
    try:
        data, refs = _pack(function.name, ticket)
        line.post(ticket, function, data, refs)
    except Exception as error:
        if line.state == TERMINATE:
            ticket.job._abort(line.why_over())  # the ring was taken away under this thread
        else:
            ticket.job._set(ticket.part, (False, error))


def _pack(name: str, ticket: Ticket) -> tuple[bytes, list[int]]:
    try:
        return pickling.pack(ticket.payload, f"the arguments of {name!r}")
    except NotPicklable as error:
        for what, part in _parts(name, ticket):
            try:
                pickling.pack(part, what)
            except NotPicklable as exact:
                raise _own(exact)  # noqa: B904
        raise _own(error)  # noqa: B904  # it has its cause


def _parts(name: str, ticket: Ticket) -> list[tuple[str, Any]]:
    if ticket.kind != CALL:
        return [
            (f"item {ticket.first + position} of the input of {name!r}", item)
            for position, item in enumerate(ticket.payload)
        ]
    args, kwargs = ticket.payload
    parts = [(f"argument {i + 1} of {name!r} (args[{i}])", arg) for i, arg in enumerate(args)]
    return parts + [(f"argument {key!r} of {name!r}", value) for key, value in kwargs.items()]


def _own(error: NotPicklable) -> Exception:
    """Return the error to report: the object's own where it raised one."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, Exception) and not isinstance(cause, _REFUSALS):
        cause.add_note(str(error))
        return cause
    error.__cause__ = cause
    return error
