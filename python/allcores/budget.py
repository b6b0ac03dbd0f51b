"""A worker's share of the cores, and what keeps its libraries within it.

A pool of n workers in a process that may use c cores gives each worker ``max(1, c // n)`` of them.
That number is noted in the worker's configuration, which all processes that it starts inherit, and
which `allcores.cpus.cpu_count` respects: so a pool inside a pool has as many workers as its share.

Numeric libraries start a thread for each core of the machine, in every worker. They read the
number from environment variables when they are loaded, so a worker gets these before anything of
the user's is. Libraries that a worker has from the start, since it was forked with them, are asked
by threadpoolctl. What the user has set himself stays.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import process
from typing import Any

from allcores import cpus

# In the configuration of a process: the names of the variables that were set for it.
_SET = "allcores_threads"
# Which variable each library looks at first, and what it looks at when there is no such: a value
# there is the user's word, too.
_VARIABLES = {
    "OMP_NUM_THREADS": (),
    "OPENBLAS_NUM_THREADS": ("GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "MKL_NUM_THREADS": ("OMP_NUM_THREADS",),
    "BLIS_NUM_THREADS": ("OMP_NUM_THREADS",),
    "NUMEXPR_NUM_THREADS": ("OMP_NUM_THREADS",),
    "NUMBA_NUM_THREADS": (),
    "VECLIB_MAXIMUM_THREADS": (),
}
# The same by threadpoolctl's names, for libraries that are loaded.
_LOADED = {
    "openmp": "OMP_NUM_THREADS",
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
    "flexiblas": "OMP_NUM_THREADS",
}
# Without any of these there is no such library.
_PACKAGES = ("numpy", "torch", "mkl", "faiss", "tensorflow", "jax")


def share(workers: int) -> int:
    """Return how many of this process's cores each of so many workers may use."""
    return max(1, cpus.cpu_count() // workers)


def share_out(config: dict[str, Any], count: int) -> None:
    """Note in the configuration of a worker that is about to start what it may use.

    Args:
        config: of the process object.
        count: cores.
    """
    mine = _ours(process.current_process())
    config[cpus.SHARE] = count
    config[_SET] = [
        name
        for name, others in _VARIABLES.items()
        if not any(other in os.environ and other not in mine for other in (name, *others))
    ]


def variables(process_obj: Any) -> dict[str, str]:
    """Return the environment variables that a child of this process is to have.

    Args:
        process_obj: the child, or this process.
    """
    config = process_obj._config
    mine = _ours(process.current_process())
    return {
        name: str(config[cpus.SHARE])
        for name in config.get(_SET, ())
        if name not in os.environ or name in mine
    }


def settle() -> None:
    """Keep this process, a worker that has just started, within its share."""
    me: Any = process.current_process()
    count: int | None = me._config.get(cpus.SHARE)
    if count is None:
        return
    names = me._config[_SET]
    for name in names:
        os.environ[name] = str(count)
    if is_numeric():
        for library in libraries():
            if _LOADED.get(library.internal_api) in names and library.num_threads > count:
                library.set_num_threads(count)


_found: tuple[int, list[Any]] = (0, [])


def libraries() -> list[Any]:
    """Return threadpoolctl's controllers of the libraries that are loaded.

    Looking for them takes some milliseconds, so whoever forks workers looks before: they find it
    done, unless they have imported something since.
    """
    global _found
    seen = len(sys.modules)
    if _found[0] != seen:
        from threadpoolctl import ThreadpoolController

        controllers = ThreadpoolController().lib_controllers
        _found = len(sys.modules), controllers
    return _found[1]


def is_numeric() -> bool:
    """Tell whether a package is loaded that has threads of its own."""
    return any(name in sys.modules for name in _PACKAGES)


def reseed() -> None:
    """Give this process streams of random numbers of its own.

    Those that a module has when it is imported are; a fork's are its parent's, though, and those of
    modules that seed at their import are the same in every worker.
    """
    for name in ("random", "numpy.random"):
        module: Any = sys.modules.get(name)
        if module is not None:
            module.seed()


def _ours(process_obj: Any) -> set[str]:
    """Return the variables of this process that were set for it, and not changed since."""
    config = process_obj._config
    value = str(config.get(cpus.SHARE))
    return {name for name in config.get(_SET, ()) if os.environ.get(name) == value}
