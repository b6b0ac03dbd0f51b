"""How what went wrong in a worker gets home: always an error with a name, a message, a traceback.

An exception may fail to pickle, to unpickle, or to tell its own message. So its name, message and
traceback travel as text beside it, and stand in for it where it doesn't arrive.
"""

from __future__ import annotations

import pickle
import signal
import traceback
from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]
from typing import Any

from allcores import pickling
from allcores.errors import TaskExited


def _text(function: Any, obj: object) -> str:
    try:
        return str(function(obj))
    except Exception as error:
        return f"<{type(obj).__name__}, whose {function.__name__}() raises {error!r}>"


def _name(kind: type) -> str:
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def pack(error: BaseException, skip: int = 0, lost: str = "") -> tuple[bytes, list[int]]:
    """Return an exception as bytes for `unpack`, and the arena offsets of the handles in it.

    Args:
        error: what was raised.
        skip: how many frames of ours to leave out of its traceback.
        lost: why it is to arrive as text only, if so.
    """
    start = error.__traceback__
    for _ in range(skip):
        if start is not None and start.tb_next is not None:
            start = start.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, start))
    except Exception as broken:
        text = f"{type(error).__name__} (its traceback can't be shown: {broken!r})\n"
    refs: list[int] = []
    data, reason = b"", lost
    if not lost:
        try:
            data, refs = pickling.pack(error, f"the exception {type(error).__name__}")
        except Exception as problem:
            reason = _text(str, problem)
    parts = (_name(type(error)), _text(str, error), text, reason, data)
    return pickle.dumps(parts, 5), refs


def unpack(data: Any, where: str) -> BaseException:
    """Return the exception to raise for what `pack` packed.

    Args:
        data: the bytes.
        where: names the task, for an exit.
    """
    name, message, text, reason, pickled = pickle.loads(data)
    cause = RemoteTraceback(f'\n"""\n{text}"""')
    error: BaseException
    if reason:
        error = _failed(name, message, reason)
    else:
        try:
            error = pickling.loads(pickled)
            if not isinstance(error, BaseException):
                raise TypeError(f"unpickling it gave {type(error).__name__}")
        except Exception as problem:
            error = _failed(name, message, f"unpickling it raised {problem!r}")
    if isinstance(error, SystemExit):
        # As it is, it would quietly end the program that asks for the result.
        error = TaskExited(f"{where} called sys.exit({error.code!r})", code=error.code)
    error.__cause__ = cause
    return error


def is_a_signals(error: BaseException) -> bool:
    """Return whether a signal handler raised `error`: then it is for the whole program.

    Args:
        error: has its traceback.
    """
    codes = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        # A function or a method; or an object with a method of that name.
        for called in (handler, vars(type(handler)).get("__call__")):
            codes.add(getattr(called, "__code__", None))
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def unreadable(error: BaseException) -> Exception:
    """Return the exception for a result that can't be unpickled here.

    Args:
        error: what unpickling it raised.
    """
    lost = _failed(type(error).__name__, _text(str, error), "the result can't be unpickled here")
    lost.__cause__ = error
    return lost


def _failed(name: str, message: str, reason: str) -> Exception:
    from allcores.errors import TaskFailed

    return TaskFailed(name, message, reason)


def unsendable(data: Any) -> Exception:
    """Return the exception for a result that couldn't be sent.

    Args:
        data: what the worker sent in its place.
    """
    from allcores.errors import ResultNotPicklable

    reason, value, text = pickle.loads(data)
    error = ResultNotPicklable(reason, value)
    error.__cause__ = RemoteTraceback(f'\n"""\n{text}"""')
    return error


def pack_unsendable(value: object, error: BaseException) -> bytes:
    """Return what to send in place of a result that can't travel.

    Args:
        value: the result.
        error: what pickling it raised.
    """
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return pickle.dumps((_text(str, error), _text(repr, value)[:1000], text), 5)
