"""A PyTorch without CUDA, where there is only the wheel with it.

The usual wheel for Linux links to CUDA's libraries, several GB of which nothing here calls. In
their place it gets one with their functions, which all answer "unknown error", under their names.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

# What torch needs beside those.
NEEDED = ("filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions")
LIBRARY = re.compile("lib(cu|nv|nccl)")
FUNCTION = re.compile("_*(cu|nv|nccl)")
STAND_IN = "libnocuda.so"


def provide(environment: Path) -> None:
    """Put it into the environment's torch, unless nothing is missing there."""
    if sys.platform != "linux":
        return
    (folder,) = environment.glob("lib/python*/site-packages/torch/lib")
    libraries = sorted(folder.glob("*.so*"))
    names = {name for library in libraries for name in _needed(library)}
    missing = {name for name in names if LIBRARY.match(name)} - {path.name for path in libraries}
    if missing:
        _build(folder / STAND_IN, {name for library in libraries for name in _taken(library)})
    for name in missing:
        (folder / name).symlink_to(STAND_IN)


def _needed(library: Path) -> list[str]:
    return re.findall(r"NEEDED.*\[(.*)\]", _run("readelf", "-d", str(library)))


def _taken(library: Path) -> list[str]:
    """The functions that it takes from CUDA's libraries, with their versions."""
    lines = _run("nm", "-D", "--undefined-only", str(library)).splitlines()
    return [name for line in lines if FUNCTION.match(name := line.split()[-1])]


def _build(target: Path, functions: set[str]) -> None:
    source, by_version = "", defaultdict(list)
    for function in sorted(functions):
        name, _, version = function.partition("@")
        source += f"int {name}(void) {{ return 999; }}\n"
        by_version[version].append(name)
    # One without a version needs no line.
    by_version.pop("", None)
    script = "".join(f"{name} {{ {'; '.join(all_)}; }};\n" for name, all_ in by_version.items())
    with tempfile.TemporaryDirectory() as folder:
        code, versions = Path(folder, "stand_in.c"), Path(folder, "versions")
        code.write_text(source)
        versions.write_text(script)
        options = ["-shared", "-fPIC", "-w", f"-Wl,--version-script={versions}"]
        _run("cc", *options, "-o", str(target), str(code))


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
