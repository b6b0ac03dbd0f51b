"""How objects travel between the processes of a program.

Plain C pickle first. What it can't do, and what refers to `__main__`, which no other process has,
goes through launch/by_value.py: functions and classes of `__main__`, closures and lambdas travel
by value, everything importable by name.

Shared objects travel as small handles. Their ``__reduce__`` calls `note_sent`, so that whoever
sends the bytes can hold the memory until they have arrived. Large buffers travel in the same way
(buffers.py), where somebody holds it.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any

from allcores import _core, buffers, tensors
from allcores.buffers import Known, Refs
from allcores.errors import NotPicklable

__all__ = ["Refs", "collects", "dumps", "explain", "loads", "note_sent", "pack", "sending"]


# Nobody can change how these are pickled, and they hold no handles.
_PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))


class _Collector(threading.local):
    refs: Refs | None = None


_collector = _Collector()
_NONE = Refs()  # nobody adds to it


class _OnePassOnly(Exception):
    """What was met duplicates a descriptor: it must not be pickled twice."""


def _once(obj: Any) -> Any:
    raise _OnePassOnly


# The reducers that were registered with the standard library, as the first, plain pass has them,
# after what they were made from. In one, and put there when they are complete: other threads pickle
# meanwhile, and a shared object without its reducer would travel as a copy.
_reducers: tuple[tuple[int, int, int], dict[Any, Any]] = ((-1, -1, -1), {})


def _plain_reducers() -> dict[Any, Any]:
    global _reducers
    registered: dict[Any, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    # Types are registered, but hardly ever taken out or given another reducer.
    ours = buffers.reducers()
    seen = (len(registered), len(copyreg.dispatch_table), len(ours))
    made_from, found = _reducers
    if seen != made_from:
        found = {**ours, **copyreg.dispatch_table}
        found |= {
            kind: reduce
            if reduce.__module__ in ("multiprocessing.reduction", "multiprocessing.managers")
            and reduce.__name__ != "_reduce_socket"
            else _once
            for kind, reduce in list(buffers.registered().items())
        }
        tensor = tensors.tensor_type()
        if tensor in found:
            found[tensor] = lambda obj: tensors.reduce(obj) or _once(obj)
        _reducers = seen, found
    return found


def dumps(obj: Any, what: str = "the object") -> bytes:
    """Return `obj` as bytes that `loads` turns back into it in any process of the program.

    Args:
        obj: what to send.
        what: what it is to the user; opens the message of an error.

    Raises:
        NotPicklable: it can't travel; the message says which part of it, why, and what to do.
    """
    refs = _collector.refs
    mark = 0 if refs is None else len(refs)
    large: list[pickle.PickleBuffer] = []
    try:
        stream = io.BytesIO()
        aside = None if refs is None else buffers.aside(large)
        pickler = pickle.Pickler(stream, 5, buffer_callback=aside)
        pickler.dispatch_table = _plain_reducers()
        pickler.dump(obj)
        data = stream.getvalue()
        if b"_main__" not in data:  # nor "__mp_main__", see launch/reduce.py
            if refs is None or not (large or len(data) >= buffers.LARGE_PICKLE):
                return data
            return buffers.enclose(data, large, refs, all_beside=True)
    except MemoryError:
        raise
    except Exception:
        pass  # the other pickler does all that this one does, and says why when it can't
    # An error keeps this frame, and nobody can resize what a buffer is of.
    large.clear()
    pickler = None  # type: ignore[assignment]
    if refs is not None:
        del refs[mark:]
    return _dumps_by_value(obj, what, refs)


def _dumps_by_value(obj: Any, what: str, refs: Refs | None) -> bytes:
    from allcores.launch import by_value

    try:
        return by_value.dumps(obj, refs)
    except (MemoryError, NotPicklable):
        raise
    except Exception as error:
        from allcores.launch import culprit

        raise culprit.explain(obj, what, error) from error


def loads(data: bytes | bytearray | memoryview) -> Any:
    """Return the object that `dumps` turned into `data`."""
    return pickle.loads(data)


def explain(error: BaseException) -> BaseException:
    """Return `error`, with a note when it comes from a global that couldn't travel.

    For whoever runs functions that were sent: a global of `__main__` that can't be pickled is
    left out, and missed only where it is used.
    """
    if isinstance(error, NameError):
        from allcores.launch import rebuild

        rebuild.explain(error)
    return error


@contextmanager
def sending() -> Iterator[Refs]:
    """Collect the arena offsets of the handles that this thread pickles in the block.

    The sender has to keep the memory behind them until the receiver has unpickled them, and what
    is yielded for as long: it keeps the large buffers.
    """
    previous = _collector.refs
    refs = Refs()
    _collector.refs = refs
    try:
        yield refs
    finally:
        _collector.refs = previous


def collects() -> bool:
    """Return whether what this thread pickles is on its way to a process of the program."""
    return _collector.refs is not None


def note_sent(offset: int) -> None:
    """Say, from a handle's ``__reduce__``, that a handle to this offset is about to travel.

    Where nobody collects it, nobody knows when it arrives: then the memory stays for as long as
    this process lives.
    """
    if _collector.refs is None:
        _core.pin(offset)
    else:
        _collector.refs.append(offset)


def pack(
    obj: Any,
    what: str = "the object",
    known: Known | None = None,
    shared: bool = False,
) -> tuple[bytes, Refs]:
    """Return `obj` as bytes, and the arena offsets of the handles in it.

    Large buffers are kept by the second until both have been sent.

    Args:
        obj: what to send.
        what: what it is to the user; opens the message of an error.
        known: where several objects are sent that don't change meanwhile, the same for each: what
            they have in common is copied once.
        shared: many will get it.

    Raises:
        NotPicklable: it can't travel; the message says which part of it, why, and what to do.
    """
    if type(obj) in _PLAIN:
        return pickle.dumps(obj, 5), _NONE
    # What `sending` does, without a context manager's cost: this is the way of every queue item
    # and every task.
    previous = _collector.refs
    refs = Refs()
    if known is not None:
        refs.known, refs.content = known, obj
    if shared:
        refs.shared = True
    _collector.refs = refs
    try:
        return dumps(obj, what), refs
    finally:
        _collector.refs = previous


def is_plain(obj: Any) -> bool:
    """Tell whether `obj` can be pickled without anything being made for its journey.

    Args:
        obj: the object; what it holds of shared memory is not sent by this.
    """
    previous = _collector.refs
    _collector.refs = Refs()
    try:
        pickler = pickle.Pickler(io.BytesIO(), 5)
        pickler.dispatch_table = _plain_reducers()
        pickler.dump(obj)
    except Exception:
        return False
    finally:
        _collector.refs = previous
    return True
