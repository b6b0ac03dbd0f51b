"""Bringing a call to the ring: pack its function and arguments, or say what can't travel."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from allcores import _core, pickling
from allcores.buffers import Known, Refs
from allcores.engines.contract import TERMINATE
from allcores.errors import NotPicklable
from allcores.task.function import Function
from allcores.task.records import CALL, ONE, STAR_ONE, kind

if TYPE_CHECKING:
    from allcores.task.line import Line

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
    hearing = line.hearing
    sent = func if hearing is None or hearing.same() else hearing.surround(job, func)
    try:
        job._kept = packed = line.functions.get(sent, often)
    except NotPicklable as error:
        raise _own(error)  # noqa: B904  # it has its cause
    if line.watch is not None:
        line.watch.coming(job, func)
    return packed


def call(line: Line, function: Function, job: Any, args: tuple[Any, ...], kwargs: Any) -> None:
    """Put one call on the ring; one whose arguments can't travel fails at once.

    Args:
        line: the pool's rings.
        function: what to call.
        job: takes the result, as its part 0.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    try:
        put_call(line, function, job._job << 32, args, kwargs)
    except Exception as error:
        _fail(line, job, 0, error)


def put_call(line: Line, function: Function, tag: int, args: tuple[Any, ...], kwargs: Any) -> None:
    """As `call`, but raise what keeps it from travelling.

    Args:
        line: the pool's rings.
        function: what to call.
        tag: of the task.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    nbytes = 0
    if not kwargs and not function.refs:
        nbytes = _core.post(line.tasks, tag, function.head, CALL, args)
    line.note(1, nbytes or _post(line, function, tag, CALL, (args, kwargs), 0))


def each(
    line: Line,
    function: Function,
    job: Any,
    what: int,
    items: Sequence[Any],
    start: int,
    stop: int,
    shift: int = 0,
) -> int:
    """Put a task for each of some items on the ring; part `i + shift` of the job is item `i`.

    Args:
        line: the pool's rings.
        function: what to call.
        job: takes the results.
        what: ONE or STAR_ONE.
        items: what they are some of.
        start: index of the first.
        stop: index behind the last.
        shift: part minus index.

    Returns:
        The index behind the last; less than `stop` when they are so large that it is enough.
    """
    first = job._job << 32
    begin = start
    while start < stop and (start == begin or line.has_room()):
        part = start + shift
        try:
            if what == ONE and not function.refs:
                count, nbytes = _core.post_each(
                    line.tasks, first + part, function.head, ONE, items, start, stop
                )
                line.note(count, nbytes)
                start += count
                if start == stop or (count and not line.has_room()):
                    break
                part = start + shift
            payload = items[start]
            line.note(1, _post(line, function, first + part, what, payload, part, job._known))
        except Exception as error:
            _fail(line, job, part, error)
        start += 1
    return start


def several(
    line: Line,
    function: Function,
    job: Any,
    part: int,
    what: int,
    items: Sequence[Any],
    start: int,
    stop: int,
) -> None:
    """Put one task with some items on the ring.

    Args:
        line: the pool's rings.
        function: what to call.
        job: takes the list of results, as `part`.
        part: which part of the job it is.
        what: MAP or STARMAP.
        items: what they are some of; can be sliced.
        start: index of the first.
        stop: index behind the last.
    """
    tag = job._job << 32 | part
    try:
        put_items(line, function, tag, what, items, start, stop, job._first(part), job._known)
    except Exception as error:
        _fail(line, job, part, error)


def put_items(
    line: Line,
    function: Function,
    tag: int,
    what: int,
    items: Sequence[Any],
    start: int,
    stop: int,
    first: int,
    known: Known | None = None,
) -> None:
    """As `several`, but raise what keeps an item from travelling.

    Args:
        line: the pool's rings.
        function: what to call.
        tag: of the task.
        what: MAP or STARMAP.
        items: what they are some of; can be sliced.
        start: index of the first.
        stop: index behind the last.
        first: index, in the whole input, of the first.
        known: large buffers of other tasks of the job, when none of its input changes.
    """
    nbytes = 0
    if not function.refs:
        nbytes = _core.post_items(line.tasks, tag, function.head, what, items, start, stop)
    line.note(1, nbytes or _post(line, function, tag, what, items[start:stop], first, known))


def _fail(line: Line, job: Any, part: int, error: Exception) -> None:
    if line.state == TERMINATE:
        job._abort(line.why_over())  # the ring was taken away under this thread
    else:
        job._failed(part, error)
        line.poke()  # its callback may be put by


def _post(
    line: Line,
    function: Function,
    tag: int,
    what: int,
    payload: Any,
    first: int,
    known: Known | None = None,
) -> int:
    data, refs = _pack(function, what, payload, first, known)
    # (What is in `refs` is kept by it until the task has it.)
    all_refs = [*refs, *function.refs] if function.refs else refs
    line.tasks.put(function.head + data, all_refs, tag, None, kind(what))
    if refs.nbytes:
        line.viewed += refs.nbytes
    return len(data) + refs.nbytes


def _pack(
    function: Function, what: int, payload: Any, first: int, known: Known | None
) -> tuple[bytes, Refs]:
    name = function.name
    try:
        return pickling.pack(payload, f"the arguments of {name!r}", known)
    except NotPicklable as error:
        if function.numbered and what != CALL:  # the index is not the user's
            payload = payload[1] if what in (ONE, STAR_ONE) else [item for _, item in payload]
        for label, part in _parts(name, what, payload, first):
            try:
                pickling.pack(part, label)
            except NotPicklable as exact:
                raise _own(exact)  # noqa: B904
        raise _own(error)  # noqa: B904  # it has its cause


def _parts(name: str, what: int, payload: Any, first: int) -> list[tuple[str, Any]]:
    if what in (ONE, STAR_ONE):
        return [(f"item {first} of the input of {name!r}", payload)]
    if what != CALL:
        return [
            (f"item {first + position} of the input of {name!r}", item)
            for position, item in enumerate(payload)
        ]
    args, kwargs = payload
    parts = [(f"argument {i + 1} of {name!r} (args[{i}])", arg) for i, arg in enumerate(args)]
    return parts + [(f"argument {key!r} of {name!r}", value) for key, value in kwargs.items()]


def _own(error: NotPicklable) -> Exception:
    """Return the error to report: the object's own where it raised one."""
    cause = error.__cause__
    if isinstance(cause, Exception) and not isinstance(cause, _REFUSALS):
        cause.add_note(str(error))
        return cause
    return error
