"""multiprocessing without the catches: the names you know, on every core.

::

    import allcores as mp

    with mp.Pool() as pool:
        print(pool.map(lambda x: x * x, range(10)))

The package from the outside in: ``context`` (start methods), ``process``, ``calls`` (`map` and its
like), ``pool``, ``executor``, ``queues``, ``synchronize``, ``sharedctypes`` and ``managers``,
``connection``; ``task`` and ``engines`` get calls made; ``pickling`` and ``launch`` bring code and
data to the children; ``errors`` has the exceptions. Below them is
``_core``, the shared memory of a program and all its processes.
"""

import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from allcores import context as context
from allcores import joblib as _joblib
from allcores import process as process
from allcores.context import (
    AuthenticationError,
    BufferTooShort,
    Process,
    ProcessError,
    TimeoutError,
)
from allcores.context import (
    default_context as _default,
)
from allcores.process import active_children, current_process, parent_process

if _TYPE_CHECKING:
    from allcores import errors as errors
    from allcores import shared as shared
    from allcores.calls import amap as amap
    from allcores.calls import imap as imap
    from allcores.calls import map as map
    from allcores.executor import ProcessPoolExecutor as ProcessPoolExecutor
    from allcores.shared.array import shared_array as shared_array
    from allcores.shared.put import Ref as Ref
    from allcores.shared.put import put as put
    from allcores.task.seeds import task_seed as task_seed

# Not `map`: after `from allcores import *` the builtin has to be what it was.
__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "ProcessPoolExecutor",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Ref",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "Value",
    "active_children",
    "allow_connection_pickling",
    "amap",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "imap",
    "log_to_stderr",
    "parent_process",
    "put",
    "reducer",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
    "shared_array",
    "task_seed",
]

Array = _default.Array
Barrier = _default.Barrier
BoundedSemaphore = _default.BoundedSemaphore
Condition = _default.Condition
Event = _default.Event
JoinableQueue = _default.JoinableQueue
Lock = _default.Lock
Manager = _default.Manager
Pipe = _default.Pipe
Pool = _default.Pool
Queue = _default.Queue
RLock = _default.RLock
RawArray = _default.RawArray
RawValue = _default.RawValue
Semaphore = _default.Semaphore
SimpleQueue = _default.SimpleQueue
Value = _default.Value
allow_connection_pickling = _default.allow_connection_pickling
cpu_count = _default.cpu_count
freeze_support = _default.freeze_support
get_all_start_methods = _default.get_all_start_methods
get_context = _default.get_context
get_logger = _default.get_logger
get_start_method = _default.get_start_method
log_to_stderr = _default.log_to_stderr
reducer = _default.reducer
set_executable = _default.set_executable
set_forkserver_preload = _default.set_forkserver_preload
set_start_method = _default.set_start_method

# Numbers of the standard library's package that people use although they aren't documented.
SUBDEBUG = 5
SUBWARNING = 25

# Pickles of programs that ran under the standard library name their main module like this.
if "__main__" in _sys.modules:
    _sys.modules.setdefault("__mp_main__", _sys.modules["__main__"])

_joblib.announce()


# There without an import of their own: in the standard library, something or other has imported
# them by the time that they are used.
_MODULES = frozenset(
    {
        "connection",
        "dummy",
        "errors",
        "forkserver",
        "heap",
        "managers",
        "pool",
        "popen_fork",
        "popen_forkserver",
        "popen_spawn_posix",
        "queues",
        "reduction",
        "resource_sharer",
        "resource_tracker",
        "shared",
        "shared_memory",
        "sharedctypes",
        "spawn",
        "synchronize",
        "util",
    }
)


def __getattr__(name: str) -> _Any:
    if name in _MODULES:
        import importlib

        return importlib.import_module(f"allcores.{name}")
    if name == "ProcessPoolExecutor":
        # Not before somebody wants it: concurrent.futures takes its time to import.
        from allcores.executor import ProcessPoolExecutor

        globals()[name] = ProcessPoolExecutor
        return ProcessPoolExecutor
    if name == "task_seed":
        from allcores.task.seeds import task_seed

        globals()[name] = task_seed
        return task_seed
    if name in ("amap", "imap", "map"):
        from allcores import calls

        globals()[name] = found = getattr(calls, name)
        return found
    if name in ("Ref", "put"):
        from allcores.shared import put as module

        globals().update(Ref=module.Ref, put=module.put)
        return getattr(module, name)
    if name == "shared_array":
        from allcores.shared.array import shared_array

        globals()[name] = shared_array
        return shared_array
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
