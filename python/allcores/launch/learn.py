"""What workers had to import, others are to find loaded: names on their way, and the import itself.

A worker says which modules of installed packages its tasks imported. Parked workers import them
while they wait, and so does the fork server: then what it forks has them. As a fork copies no
threads, the server takes only what leaves none behind; a fork of it tries that first, and tries as
well that the import opens no file, and changes no signal handler, folder or environment.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

# A module's name, and the file that it came from.
Module = tuple[str, str]
# So much of them goes in one message to the fork server, which takes 4096 bytes.
_MESSAGE_BYTES = 3000


def batches(modules: Iterable[Module]) -> list[list[Module]]:
    """Return the modules in messages for the fork server, those of a package together."""
    found: list[list[Module]] = []
    size, package = 0, ""
    for name, origin in modules:
        first = name.partition(".")[0]
        more = len(name) + len(origin) + 16
        if first != package or size + more > _MESSAGE_BYTES:
            found.append([])
            size, package = 0, first
        found[-1].append((name, origin))
        size += more
    return found


def load(modules: Iterable[Module]) -> bool:
    """Import modules, quietly; return whether each came from the file that was named."""
    same = True
    with _Quiet():
        for name, origin in modules:
            try:
                module = importlib.import_module(name)
            except Exception:
                continue  # made by its package in another way
            same = same and getattr(getattr(module, "__spec__", None), "origin", None) == origin
    return same


def is_harmless(modules: Iterable[Module]) -> bool:
    """Import modules, and tell whether a process that has them can be forked for anybody."""
    before = _facts()
    if not load(modules) or _facts() != before:
        return False
    # Libraries may end their threads before a fork, and so be safe to fork. Try it.
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return len(os.listdir("/proc/self/task")) == 1


def _facts() -> list[Any]:
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    files = len(os.listdir("/proc/self/fd"))
    return [handlers, files, os.environ.copy(), os.getcwd(), list(sys.path)]


class _Quiet:
    """What an import prints has been printed in the worker that had to import it."""

    def __enter__(self) -> None:
        self._saved = [(fd, os.dup(fd)) for fd in (1, 2)]
        nothing = os.open(os.devnull, os.O_WRONLY)
        for fd, _ in self._saved:
            os.dup2(nothing, fd)
        os.close(nothing)
        self._collects = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        for fd, saved in self._saved:
            os.dup2(saved, fd)
            os.close(saved)
        if self._collects:
            gc.enable()
