"""Everything that `multiprocessing` has is here, and is called the same way."""

from __future__ import annotations

import concurrent.futures
import importlib
import inspect
import subprocess
import sys
import types
from inspect import Signature
from typing import Any

import allcores
import pytest
from documented import DOCUMENTED
from signatures import missing, parse, signature_of

MODULES = [
    "", "connection", "context", "dummy", "dummy.connection", "forkserver", "heap", "managers",
    "pool", "popen_fork", "popen_forkserver", "popen_spawn_posix", "process", "queues",
    "reduction", "resource_sharer", "resource_tracker", "shared_memory", "sharedctypes", "spawn",
    "synchronize", "util",
]  # fmt: skip

# What is another way on purpose, and why nobody misses it.
OTHERWISE = {
    # Made by a pool, never by its users.
    "pool.IMapIterator",
    "pool.IMapUnorderedIterator",
    "pool.MapResult",
    # Says what it takes; the standard library's passes anything on.
    "managers.SharedMemoryManager",
    # Called by a process's reducers, by position.
    "popen_forkserver.Popen.DupFd",
}

LINES = [line for line in DOCUMENTED.splitlines() if line]


def resolve(path: str) -> Any:
    """Return what `allcores` has under a dotted name."""
    found: Any = allcores
    name = "allcores"
    for part in path.split("."):
        name += f".{part}"
        if isinstance(found, types.ModuleType) and not hasattr(found, part):
            found = importlib.import_module(name)
        else:
            found = getattr(found, part)
    return found


def without_self(signature: Signature) -> Signature:
    """Return the signature as it is when called on an object."""
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name == "self":
        return signature.replace(parameters=parameters[1:])
    return signature


@pytest.mark.parametrize("line", LINES)
def test_documented(line: str) -> None:
    """A documented name is there and takes the documented arguments, with their defaults."""
    path, bracket, rest = line.partition("(")
    found = resolve(path)
    if not bracket:
        return
    signature = signature_of(found)
    assert signature is not None, f"{path} doesn't tell its signature"
    wanted = parse(f"({rest}")
    assert missing(wanted, without_self(signature)) == []


def standard(module: str) -> tuple[Any, Any]:
    name = f".{module}" if module else ""
    theirs = importlib.import_module(f"multiprocessing{name}")
    return theirs, importlib.import_module(f"allcores{name}")


def public(module: Any) -> list[str]:
    """Return a module's names that don't begin with an underscore, its imported modules apart."""
    return [
        name
        for name in dir(module)
        if not name.startswith("_") and not isinstance(getattr(module, name), types.ModuleType)
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_name(module: str) -> None:
    """What this Python's module has is in ours; also what it has for itself alone."""
    theirs, ours = standard(module)
    assert [name for name in public(theirs) if not hasattr(ours, name)] == []
    exported = [name for name in getattr(theirs, "__all__", []) if not name.startswith("_")]
    assert [name for name in exported if name not in getattr(ours, "__all__", exported)] == []


def complaints(path: str, theirs: Any, ours: Any) -> list[str]:
    if theirs is ours or path in OTHERWISE:
        return []
    if getattr(theirs, "__qualname__", "").startswith("BaseManager.register."):
        # It passes on whatever it is given; what it takes is documented, and looked at above.
        return []
    wanted = signature_of(theirs)
    if wanted is None:
        return []
    got = signature_of(ours)
    if got is None:
        return [f"{path} doesn't tell its signature"]
    found = missing(without_self(wanted), without_self(got))
    return [f"{path}: {what}" for what in found]


@pytest.mark.parametrize("module", MODULES)
def test_every_signature(module: str) -> None:
    """Functions, classes and their methods take what those of this Python's module take."""
    theirs, ours = standard(module)
    found: list[str] = []
    for name in public(theirs):
        one, other = getattr(theirs, name), getattr(ours, name)
        path = f"{module}.{name}" if module else name
        if not callable(one) or one is other:
            continue
        found += complaints(path, one, other)
        if not inspect.isclass(one):
            continue
        for member in dir(one):
            if member.startswith("_"):
                continue
            if not hasattr(other, member):
                found.append(f"{path} has no {member}")
            elif callable(getattr(one, member)):
                found += complaints(
                    f"{path}.{member}", getattr(one, member), getattr(other, member)
                )
    assert found == []


def test_modules_need_no_import() -> None:
    """Each module is an attribute of the package, whether somebody has imported it or not."""
    names = [name for name in MODULES if name and "." not in name]
    program = f"import allcores\nfor name in {names}: assert getattr(allcores, name).__name__"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)


def test_executor_signatures() -> None:
    """The executor takes what this Python's takes, and is one."""
    theirs, ours = concurrent.futures.ProcessPoolExecutor, allcores.ProcessPoolExecutor
    found = complaints("ProcessPoolExecutor", theirs, ours)
    for member in dir(theirs):
        if not member.startswith("_"):
            found += complaints(member, getattr(theirs, member), getattr(ours, member))
    assert found == []
    assert issubclass(ours, concurrent.futures.Executor)


def test_isinstance() -> None:
    """What other libraries check with isinstance is what they check for."""
    import multiprocessing.connection
    import multiprocessing.context
    import multiprocessing.managers
    import multiprocessing.pool
    import multiprocessing.process
    import multiprocessing.queues

    std = multiprocessing
    for method, kind in [
        ("fork", std.context.ForkContext),
        ("spawn", std.context.SpawnContext),
        ("forkserver", std.context.ForkServerContext),
    ]:
        context = allcores.get_context(method)
        assert isinstance(context, kind)
        assert issubclass(context.Process, std.process.BaseProcess)
    assert issubclass(allcores.Process, std.context.Process)
    assert issubclass(allcores.pool.Pool, std.pool.Pool)
    assert issubclass(allcores.pool.ThreadPool, std.pool.ThreadPool)
    assert issubclass(allcores.pool.AsyncResult, std.pool.AsyncResult)
    assert issubclass(allcores.queues.Queue, std.queues.Queue)
    assert issubclass(allcores.queues.JoinableQueue, std.queues.JoinableQueue)
    assert issubclass(allcores.queues.SimpleQueue, std.queues.SimpleQueue)
    assert issubclass(allcores.connection.Connection, std.connection.Connection)
    assert issubclass(allcores.managers.SyncManager, std.managers.SyncManager)
    for name in ("ProcessError", "BufferTooShort", "AuthenticationError", "TimeoutError"):
        assert getattr(allcores, name) is getattr(std, name)


def test_the_comparison_finds_what_is_missing() -> None:
    """A parameter that is missing, misplaced, of another default or to be given is found."""
    wanted = parse("(a, b=1, *, c=2)")
    assert missing(wanted, parse("(a, b=1, *, c=2, d=3, **more)")) == []
    assert missing(wanted, parse("(a, *, c=2)")) == ["no parameter b"]
    assert missing(wanted, parse("(b=1, a=0, *, c=2)")) == [
        "a is not parameter number 1",
        "b is not parameter number 2",
    ]
    assert missing(wanted, parse("(a, b=2, *, c=2)")) == ["the default of b is 2, not 1"]
    assert missing(wanted, parse("(a, b=1, d=0, *, c=2, e)")) == ["e has to be given"]
    assert missing(wanted, parse("(a, /, b=1, *, c=2)")) == ["a can't be given by name"]
    assert missing(parse("(*args, **kw)"), parse("(a=1)")) == ["no *args", "no **kw"]
