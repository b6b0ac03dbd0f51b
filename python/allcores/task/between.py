"""A worker between two pools: whether it may serve another one, and how it comes to that.

What tasks leave behind must neither stay in memory nor change what the next pool's tasks find. So
a worker forgets what it got by value and drops the program's own modules, which are imported anew
as in a fresh process; libraries stay loaded, which is the gain. Then it looks whether all that is
really gone, and whether the process is otherwise as it was at its start: folder, environment,
signals, limits, threads, children, open files, size. If anything differs, it leaves. A fresh
process costs some milliseconds; a worker that is different from a fresh one may cost somebody a
day.

reserve.py is the side of the pool's process.
"""

from __future__ import annotations

import contextvars
import gc
import os
import select
import signal
import socket
import sys
import sysconfig
import threading
import typing
import warnings
import weakref
from itertools import count
from multiprocessing import process as _process
from multiprocessing import util
from types import FunctionType, ModuleType
from typing import Any

from allcores import context
from allcores.cpus import affinity
from allcores.launch import learn, main_module, payload, rebuild
from allcores.task.work import IDLE_S

# Bytes of its own by which a worker may have grown: the libraries that tasks imported.
_GROWTH = 128 << 20
# 32 and 33, which the C library keeps for its threads.
_INTERNAL_SIGNALS = 3 << 31
_MAIN = ("__main__", "__mp_main__")
# Modules without a file, which extensions written in Cython (NumPy's among them) share.
_CYTHONS = ("cython_runtime", "_cython_")


class Between:
    """What a worker has to be like again to serve another pool; made before its first task."""

    def __init__(self) -> None:
        gc.freeze()  # what is here now stays: collections need not look at it
        main_module.renew()  # this does not
        self._modules = set(sys.modules)
        self._filters = list(warnings.filters)
        self._size = _memory()
        self._state = _state()

    def next(self) -> Any:
        """Wait for the next pool; return the process object to be from now on, None to leave.

        The worker holds nothing of its last pool any more, and no signal is due to it when its
        parent ends: it sees that itself, as the end of its pipe.
        """
        try:
            self._tidy()
            self._compare()
        except Exception as error:  # what a task left may make even looking fail
            util.debug(f"worker serves no other pool: {error}")
            return None
        parent: Any = _process.parent_process()
        data = parent._sentinel
        poll = select.poll()
        poll.register(data, select.POLLIN)
        me: Any = ()
        while me == ():
            if not poll.poll(IDLE_S * 1000):
                return None
            try:
                me = payload.unpack(data)
            except EOFError:
                return None
            if me == ():  # it was libraries to be imported
                self._size = max(self._size, _memory())
        if me is not None:
            parent._name = me._parent_name
            _become(me)
            self._state = _state()
        return me

    def _tidy(self) -> None:
        """Drop what tasks brought and made."""
        traces = [weakref.ref(obj) for obj in rebuild.forget()]
        traces += _traces(sys.modules["__main__"], None)
        main_module.renew()
        for name in list(sys.modules):
            if name in _MAIN or _is_library(name, sys.modules[name]):
                continue
            if name in self._modules:
                raise _ChangedError(f"module {name} was preloaded, and tasks may have filled it")
            if not _is_plain(sys.modules[name]):
                raise _ChangedError(f"module {name} can't be imported again")
            traces += _traces(sys.modules.pop(name), name)
        sys.last_type = sys.last_value = sys.last_traceback = None
        # Generic types remember what they were made of.
        for clear in getattr(typing, "_cleanups", ()):
            clear()
        gc.collect()
        for trace in traces:
            if trace() is not None:
                raise _ChangedError(f"something holds {trace()!r}")

    def _compare(self) -> None:
        """Look whether the process is as it was at its start."""
        if threading.active_count() > 1:
            raise _ChangedError("it has threads")
        if _process._children or _has_children():  # type: ignore[attr-defined]
            raise _ChangedError("it has children")
        growth = _memory() - self._size
        if growth > _GROWTH:
            raise _ChangedError(f"it has grown by {growth >> 20} MiB")
        for name, value in _state().items():
            if name in self._state and value != self._state[name]:
                raise _ChangedError(f"{name}: {value}, not {self._state[name]}")
        # A library may add filters for its own messages and kinds of warnings as it is imported.
        # One for all warnings of a kind that everybody has is somebody's choice.
        before = set(self._filters)
        for entry in warnings.filters:
            _, message, category, module, _ = entry
            if entry not in before and message is module is None and _is_builtin(category):
                raise _ChangedError(f"there is a new filter of warnings: {entry}")
        if not before.issubset(warnings.filters):
            raise _ChangedError("filters of warnings were taken away")


class _ChangedError(Exception):
    """The process is not like a fresh one."""


def _is_builtin(kind: Any) -> bool:
    return bool(kind.__module__ == "builtins")


class _Trace:
    """Lives in the globals of a module, and so as long as anything that uses them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"the globals of {self._name}"


def _traces(module: ModuleType, name: str | None) -> list[weakref.ref[Any]]:
    """Return references to what has to be gone before all of a module is."""
    trace = vars(module)["__trace__"] = _Trace(module.__name__)
    return [weakref.ref(trace)] + [
        weakref.ref(value)
        for value in vars(module).values()
        if isinstance(value, (FunctionType, type))
        and (name is None or getattr(value, "__module__", None) == name)
    ]


def _library_folders() -> tuple[str, ...]:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_path(kind) for kind in kinds}
    site = sys.modules.get("site")
    user = getattr(site, "USER_SITE", None)
    if isinstance(user, str):
        folders.add(user)
    # Distributions have packages outside of these, and this package may be a checkout.
    folders.add(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folders.update(entry for entry in sys.path if os.path.basename(entry).endswith("-packages"))
    return tuple(os.path.join(folder, "") for folder in folders if folder)


_folders: tuple[str, ...] = ()


def _is_library(name: str, module: Any) -> bool:
    """Tell whether a module belongs to an installed package, or to Python."""
    global _folders
    if not _folders:
        _folders = _library_folders()
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None) or getattr(module, "__file__", None)
    if origin in ("built-in", "frozen"):
        return True
    if origin is None and name.startswith(_CYTHONS):
        return True
    if origin is None:
        paths = list(getattr(module, "__path__", ()))
        if not paths and "." in name:  # made by its package
            parent = name.rpartition(".")[0]
            return parent in sys.modules and _is_library(parent, sys.modules[parent])
        return bool(paths) and all(f"{path}{os.sep}".startswith(_folders) for path in paths)
    return str(origin).startswith(_folders)


def libraries(names: list[str]) -> list[learn.Module]:
    """Return those of the modules that belong to installed packages, and their files."""
    found = []
    for name in names:
        module = sys.modules.get(name)
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if isinstance(origin, str) and os.path.isabs(origin) and _is_library(name, module):
            found.append((name, origin))
    return found


def _is_plain(module: Any) -> bool:
    """Tell whether a module can be imported again: it has nothing but Python in it."""
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    return type(loader).__name__ in ("SourceFileLoader", "SourcelessFileLoader", "NamespaceLoader")


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _status() -> dict[str, str]:
    try:
        with open("/proc/self/status") as file:
            parts = (line.partition(":") for line in file)
            return {name: value.strip() for name, _, value in parts}
    except OSError:
        return {}


def _memory() -> int:
    """Return the bytes of memory that are this process's own."""
    return int(_status().get("RssAnon", "0").split()[0]) << 10


def _state() -> dict[str, Any]:
    """Return what tasks commonly change of a process, to be compared."""
    status = _status()
    state: dict[str, Any] = {
        name: status.get(name) for name in ("Umask", "Uid", "Gid", "NoNewPrivs")
    }
    for name in ("SigBlk", "SigIgn", "SigCgt"):
        state[name] = int(status.get(name, "0"), 16) & ~_INTERNAL_SIGNALS
    try:
        state["folder"] = os.getcwd()
    except OSError:
        state["folder"] = None
    state["environ"] = os.environ.copy()
    state["files"] = len(os.listdir("/proc/self/fd")) if status else 0
    state["handlers"] = [
        signal.getsignal(number) for number in sorted(signal.valid_signals() - {signal.SIGINT})
    ]
    state["timers"] = [
        signal.getitimer(which)
        for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    ]
    state["cores"] = affinity()
    state["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
    state["limits"] = _limits()
    state["python"] = (
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        sys.gettrace(),
        sys.getprofile(),
        sys.excepthook,
        sys.displayhook,
        sys.stdin,
        sys.stdout,
        sys.stderr,
        list(sys.meta_path),
        list(sys.path_hooks),
        threading.excepthook,
        threading.stack_size(),
        gc.isenabled(),
        gc.get_threshold(),
        list(gc.callbacks),
        socket.getdefaulttimeout(),
    )
    state["path"] = list(sys.path)
    state["finalizers"] = set(util._finalizer_registry)  # type: ignore[attr-defined]
    context = contextvars.copy_context()
    state["context"] = {
        var.name: id(value) for var, value in context.items() if var.name != "decimal_context"
    }
    # (That one is set by just looking at it.)
    state["logging"] = _logging()
    decimal = sys.modules.get("decimal")
    state["decimal"] = decimal is None or arithmetic(decimal.getcontext()) == arithmetic(
        decimal.DefaultContext
    )
    if "_locale" in sys.modules:
        import _locale

        state["locale"] = _locale.setlocale(_locale.LC_ALL, None)
    return state


def _logging() -> list[Any]:
    """Return what loggers have that a new one doesn't."""
    logging = sys.modules.get("logging")
    if logging is None:
        return []
    root = logging.root
    found: list[Any] = [root.manager.disable] if root.manager.disable else []
    for logger in (root, *list(root.manager.loggerDict.values())):
        if not isinstance(logger, logging.Logger):
            continue
        handlers = [each for each in logger.handlers if type(each) is not logging.NullHandler]
        facts = (logger.level, logger.disabled, logger.propagate, handlers, logger.filters)
        if facts != (logging.WARNING if logger is root else 0, False, True, [], []):
            found.append((logger.name, *facts[:3], *map(id, handlers), *map(id, logger.filters)))
    return found


def arithmetic(context: Any) -> list[Any]:
    """Return what a context of `decimal` says about calculations."""
    names = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")
    return [getattr(context, name) for name in names]


def _limits() -> list[tuple[int, int]]:
    import resource

    kinds = (value for name, value in vars(resource).items() if name.startswith("RLIMIT_"))
    return [resource.getrlimit(kind) for kind in sorted(set(kinds))]


def _become(me: Any) -> None:
    """Be the process that `me` says, as a fresh child would from the start."""
    std: Any = _process
    std._current_process = me
    std._process_counter = count(1)
    std._children = set()
    context.force_start_method(me._method)
