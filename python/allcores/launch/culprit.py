"""Finding out, once something couldn't be pickled, which part of it was to blame and why."""

from __future__ import annotations

import functools
import io
import types
from collections.abc import Iterator
from multiprocessing.process import AuthenticationString  # type: ignore[attr-defined]
from typing import Any

from allcores.errors import NotPicklable

_MAX_DEPTH = 12
# What is in the way, by the type's name, and what to do instead.
_ADVICE = {
    "_thread.lock": "a threading lock works within one process; use allcores.Lock()",
    "_thread.RLock": "a threading lock works within one process; use allcores.RLock()",
    "threading.Condition": "it works within one process; use allcores.Condition()",
    "threading.Event": "it works within one process; use allcores.Event()",
    "_thread._local": "it belongs to one thread; make it in the function that runs there",
    "generator": "a generator is in the middle of its work; pass a list, or make it over there",
    "coroutine": "a coroutine is in the middle of its work; make it over there",
    "frame": "it belongs to a running call",
    "traceback": "it belongs to a running call; pass traceback.format_exception()'s text",
    "sqlite3.Connection": "a connection belongs to one process; open it over there",
    "multiprocessing.process.AuthenticationString": "a process object belongs to the process "
    "that made it; pass its pid or its name",
    "_contextvars.Token": "it belongs to one context",
    "select.epoll": "it belongs to one process; make it over there",
    "multiprocessing.pool.Pool": "a pool belongs to the process that made it; pass what it "
    "computes, or make a pool over there",
}


def explain(obj: Any, what: str, error: Exception) -> NotPicklable:
    """Return the error to raise for an object that couldn't be pickled.

    Args:
        obj: the object.
        what: what it is to the user, such as "argument 2 of target 'f'".
        error: what pickling it raised.
    """
    path, leaf, cause = _search(obj, error)
    where = "".join(f", {part}" for part in path)
    answer = NotPicklable(f"can't send {what}{where} to another process: {reason(leaf, cause)}")
    answer.__cause__ = cause
    return answer


def reason(leaf: Any, error: Exception) -> str:
    """Return, in a line, what `leaf` is, why it can't travel, and what to do."""
    kind = type(leaf)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    advice = _ADVICE.get(name)
    if isinstance(leaf, io.IOBase):
        advice = "an open file belongs to one process; pass its path and open it over there"
    if advice is not None:
        return f"{shorten(leaf)} is a {name}; {advice}"
    text = str(error) or type(error).__name__
    return (
        f"{shorten(leaf)} is a {name}, which can't be pickled ({type(error).__name__}: {text}); "
        "pass what it is made from instead, or give its class a __reduce__ method"
    )


def shorten(obj: Any, limit: int = 60) -> str:
    """Return the repr of anything, cut to one short line."""
    if isinstance(obj, AuthenticationString):
        return "the key"  # a secret: messages end up in logs
    try:
        text = " ".join(repr(obj).split())
    except Exception:
        text = f"<{type(obj).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _search(obj: Any, error: Exception) -> tuple[list[str], Any, Exception]:
    path: list[str] = []
    seen = {id(obj)}
    for _ in range(_MAX_DEPTH):
        for label, part in _parts(obj):
            if id(part) in seen:
                continue
            failed = _try(part)
            if failed is not None:
                seen.add(id(part))
                path.append(label)
                obj, error = part, failed
                break
        else:
            break
    return path, obj, error


def _try(obj: Any) -> Exception | None:
    from allcores.launch import by_value

    try:
        by_value.dumps(obj)
    except Exception as error:
        return error
    return None


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """Yield what `obj` is made of, with a name for each part."""
    if isinstance(obj, (list, tuple, set, frozenset)):
        kind = type(obj).__name__
        for index, item in enumerate(obj):
            yield f"{kind} index {index}", item
    elif isinstance(obj, dict):
        for key, value in obj.items():
            yield f"key {shorten(key)}", key
            yield f"value of {shorten(key)}", value
    elif isinstance(obj, functools.partial):
        yield "partial's function", obj.func
        for index, item in enumerate(obj.args):
            yield f"partial's argument {index}", item
        for key, value in obj.keywords.items():
            yield f"partial's keyword {key!r}", value
    elif isinstance(obj, types.MethodType):
        yield "bound object", obj.__self__
        yield "method", obj.__func__
    elif isinstance(obj, types.FunctionType):
        yield from _function_parts(obj)
    elif isinstance(obj, type):
        for name, value in vars(obj).items():
            if not name.startswith("__"):
                yield f"class attribute {name!r}", value
    if not isinstance(obj, (type, types.FunctionType)):
        for name, value in dict(getattr(obj, "__dict__", None) or {}).items():
            yield f"attribute {name!r}", value
        for cls in type(obj).__mro__:
            for name in _slots(cls):
                if hasattr(obj, name):
                    yield f"attribute {name!r}", getattr(obj, name)


def _slots(cls: type) -> list[str]:
    slots = vars(cls).get("__slots__", ())
    return [slots] if isinstance(slots, str) else [str(name) for name in slots]


def _function_parts(func: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=False):
        try:
            yield f"closure variable {name!r} of {func.__qualname__!r}", cell.cell_contents
        except ValueError:
            continue
    for index, value in enumerate(func.__defaults__ or ()):
        yield f"default {index} of {func.__qualname__!r}", value
    for name, value in (func.__kwdefaults__ or {}).items():
        yield f"default of {name!r} of {func.__qualname__!r}", value
    for name, value in func.__dict__.items():
        yield f"attribute {name!r} of {func.__qualname__!r}", value
