"""The Python that runs: version, lock, start methods, and the packages that play along."""

import importlib
import platform
import sys
import sysconfig
from importlib import metadata

import allcores as mp
from allcores.doctor.finding import Finding

__all__ = ["packages", "python"]

# (distribution, what is missed without it)
_PACKAGES = (
    ("allcores", "this copy runs from a source tree without being installed"),
    ("cloudpickle", "functions of __main__, lambdas and closures can't travel to workers"),
    ("numpy", ""),
    ("tqdm", "progress=True shows nothing, and the demo has lines instead of bars"),
    ("psutil", ""),
    ("matplotlib", ""),
)


def python() -> list[Finding]:
    """Look at the interpreter."""
    return [
        _version(),
        Finding("executable", sys.executable or "(unknown)"),
        _gil(),
        _core(),
        Finding("start methods", ", ".join(mp.get_all_start_methods())),
        _default_method(),
    ]


def packages() -> list[Finding]:
    """Look up versions of packages, without importing any."""
    found = []
    for name, missed in _PACKAGES:
        try:
            found.append(Finding(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            advice = f"Without it, {missed}: pip install {name}" if missed else ""
            if name == "allcores":
                advice = missed.capitalize() + "."
            found.append(Finding(name, "not installed", "note" if advice else "ok", advice))
    return found


def _version() -> Finding:
    value = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.implementation.name != "cpython":
        return Finding("version", value, "bad", "allcores is built for CPython only; use that.")
    return Finding("version", value)


def _gil() -> Finding:
    free_threaded_build = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    check = getattr(sys, "_is_gil_enabled", None)
    enabled = True if check is None else bool(check())
    if not enabled:
        return Finding("GIL", "off: threads run Python code side by side", data=False)
    if free_threaded_build:
        return Finding(
            "GIL",
            "on, though this is a free-threaded build",
            "note",
            "PYTHON_GIL=1, -X gil=1 or an extension module not made for free threading turned it "
            "on; python -X gil=0 turns it off.",
            data=True,
        )
    return Finding("GIL", "on: threads take turns, processes don't", data=True)


def _core() -> Finding:
    try:
        core = importlib.import_module("allcores._core")
    except ImportError as error:
        return Finding(
            "Rust core",
            "does not load",
            "bad",
            f"{error}. The package is not built for this Python: pip install allcores, or "
            "`make demo` in a checkout.",
        )
    try:
        core.Block(64)
    except (OSError, MemoryError) as error:
        return Finding(
            "Rust core",
            f"can't make shared memory: {error}",
            "bad",
            "See the limits on address space and file size, and memfd, below.",
        )
    return Finding("Rust core", "works: shared memory can be made")


def _default_method() -> Finding:
    # allow_none: asking must not fix the choice for the rest of a program that calls examine().
    method = mp.get_start_method(allow_none=True) or mp.get_all_start_methods()[0]
    return Finding("default start method", method)
