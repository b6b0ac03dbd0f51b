"""How what went wrong in a worker gets home: always an error with a name, a message, a traceback.

An exception may fail to pickle, to unpickle, or to tell its own message. So its name, message and
traceback travel as text beside it, and stand in for it where it doesn't arrive.
"""

from __future__ import annotations

import pickle
import traceback
from multiprocessing.pool import (  # type: ignore[attr-defined]
    MaybeEncodingError,
    RemoteTraceback,
)
from typing import Any

from allcores import pickling
from allcores.errors import AllcoresError, TaskExited


class TaskFailed(AllcoresError, MaybeEncodingError):  # type: ignore[misc]
    """A task failed with an exception, or returned an object, that can't be brought back here.

    Attributes:
        type_name: the exception's class, with its module.
        message: the exception's message.
        exc: why it didn't arrive.
        value: the exception as text.
    """

    def __init__(self, type_name: str, message: str, reason: str) -> None:
        Exception.__init__(self, type_name, message, reason)
        self.type_name = type_name
        self.message = message
        self.exc = reason
        self.value = f"{type_name}: {message}" if message else type_name

    def __str__(self) -> str:
        return (
            f"{self.value}\n(the exception itself did not arrive: {self.exc}; "
            "the traceback from the worker is this one's __cause__)"
        )


TaskFailed.__module__ = "allcores.errors"


def _text(function: Any, obj: object) -> str:
    try:
        return str(function(obj))
    except Exception as error:
        return f"<{type(obj).__name__}, whose {function.__name__}() raises {error!r}>"


def _name(kind: type) -> str:
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def pack(error: BaseException, skip: int = 0) -> tuple[bytes, list[int]]:
    """Return an exception as bytes for `unpack`, and the arena offsets of the handles in it.

    Args:
        error: what was raised.
        skip: how many frames of ours to leave out of its traceback.
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
    try:
        data, refs = pickling.pack(error, f"the exception {type(error).__name__}")
        reason = ""
    except Exception as problem:
        data, reason = b"", _text(str, problem)
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
        error = TaskFailed(name, message, reason)
    else:
        try:
            error = pickling.loads(pickled)
            if not isinstance(error, BaseException):
                raise TypeError(f"unpickling it gave {type(error).__name__}")
        except Exception as problem:
            error = TaskFailed(name, message, f"unpickling it raised {problem!r}")
    if isinstance(error, SystemExit):
        # As it is, it would quietly end the program that asks for the result.
        error = TaskExited(f"{where} called sys.exit({error.code!r})", code=error.code)
    error.__cause__ = cause
    return error


def unsendable(data: Any) -> MaybeEncodingError:
    """Return the exception for a result that couldn't be sent.

    Args:
        data: what the worker sent in its place.
    """
    reason, value, text = pickle.loads(data)
    error = MaybeEncodingError(None, None)
    error.exc, error.value = reason, value
    error.args = (reason, value)
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
