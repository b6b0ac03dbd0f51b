"""What a fresh child gets through its pipe: facts about the parent, then the process object."""

from __future__ import annotations

import pickle
import struct
from multiprocessing.context import set_spawning_popen
from typing import Any

from allcores import budget, pickling
from allcores.errors import NotPicklable
from allcores.launch import learn
from allcores.launch.pipes import read
from allcores.launch.prepare import get_preparation_data, prepare
from allcores.process import current_process

_LENGTH = struct.Struct("=Q")
# In the place of a payload, for a process that waits for another one: there is none.
LEAVE = _LENGTH.pack(0) * 2


def lesson(modules: list[learn.Module]) -> bytes:
    """Return what has a process that waits for a payload import modules meanwhile."""
    data = pickle.dumps(modules)
    return _LENGTH.pack(len(data)) + _LENGTH.pack(0) + data


def pack(popen: Any, process_obj: Any, **more: Any) -> bytes:
    """Return everything that the child reads before it runs.

    Args:
        popen: takes the descriptors that the objects hold (``duplicate_for_child``).
        process_obj: the process object.
        more: further facts for `prepare`.

    Raises:
        NotPicklable: an argument or the target can't travel; says which and why.
    """
    facts = pickle.dumps(
        {
            **get_preparation_data(process_obj._name),
            "threads": budget.variables(process_obj),
            **more,
        }
    )
    set_spawning_popen(popen)
    try:
        with pickling.sending() as refs:
            body = _dump(process_obj)
    finally:
        set_spawning_popen(None)
    # The child holds nothing of the arena before it has unpickled this: until then it must live
    # here. `poll` lets go of it.
    popen._kept = (refs, process_obj._target, process_obj._args, process_obj._kwargs)
    return b"".join((_LENGTH.pack(len(facts)), _LENGTH.pack(len(body)), facts, body))


def _dump(process_obj: Any) -> bytes:
    target = process_obj._target
    called = getattr(target, "__qualname__", None) or repr(target)
    try:
        return pickling.dumps(process_obj, f"process {process_obj._name!r}")
    except NotPicklable:
        # Which of them is it? Each raises its own, better named error.
        pickling.dumps(target, f"target {called!r}")
        for index, value in enumerate(process_obj._args):
            pickling.dumps(value, f"argument {index + 1} of target {called!r} (args[{index}])")
        for name, value in process_obj._kwargs.items():
            pickling.dumps(value, f"keyword argument {name!r} of target {called!r}")
        raise


def unpack(fd: int) -> Any:
    """Prepare this process with what `pack` wrote, and return the process object.

    None says that this process is to leave, an empty tuple that it has got something else to do.

    Args:
        fd: where to read it from; left open, as its end of file tells that the parent ended.

    Raises:
        EOFError: the parent died before it had written all of it.
    """
    facts, body = _LENGTH.unpack(read(fd, _LENGTH.size)), _LENGTH.unpack(read(fd, _LENGTH.size))
    if facts[0] == 0:
        return None
    if body[0] == 0:
        learn.load(pickle.loads(read(fd, facts[0])))
        return ()
    prepare(pickle.loads(read(fd, facts[0])))
    # A manager's proxies that are read here wait with counting themselves in the server until
    # `_bootstrap` has them do it: before, it forgets all finalizers, theirs included.
    me: Any = current_process()
    me._inheriting = True
    try:
        return pickling.loads(read(fd, body[0]))
    finally:
        del me._inheriting
