"""Which files the demo measures."""

import os
import sysconfig
from typing import NamedTuple

from allcores.demo.problem import Problem

__all__ = ["SourceFile", "find", "standard_library", "warm"]

_NOT_THE_STANDARD_LIBRARY = {"site-packages", "dist-packages"}


class SourceFile(NamedTuple):
    """A file to measure and its size in bytes."""

    path: str
    size: int


def standard_library() -> str:
    """Return where the running interpreter's standard library is, also in a virtual environment."""
    return sysconfig.get_path("stdlib")


def find(directory: str | None, limit: int | None) -> list[SourceFile]:
    """List the Python files below a directory, the largest first.

    Largest first, as the work should not end with one worker on a big file and the others idle.

    Args:
        directory: Where to look; None for the standard library, without what was installed into it.
        limit: Take only so many files, spread evenly over the directory.

    Raises:
        Problem: There is no such directory, or no Python file in it.
    """
    top = standard_library() if directory is None else directory
    if not os.path.isdir(top):
        kind = "is not a directory" if os.path.exists(top) else "does not exist"
        raise Problem(f"{top!r} {kind}; --path takes a directory with Python files in it.")
    skipped = _NOT_THE_STANDARD_LIBRARY if directory is None else set()
    paths: list[str] = []
    for place, folders, names in os.walk(top):
        folders[:] = [f for f in folders if f not in skipped and not f.startswith((".", "__py"))]
        paths += [os.path.join(place, name) for name in names if name.endswith(".py")]
    paths = [path for path in sorted(paths) if os.path.isfile(path)]
    if not paths:
        if directory is None:
            raise Problem(
                f"this Python has no source files of its standard library in {top!r} (it may keep "
                "them in a zip archive); --path DIR takes other sources."
            )
        raise Problem(f"there is no Python file (*.py) in {top!r} or below it.")
    if limit is not None and limit < len(paths):
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    found = [SourceFile(path, os.path.getsize(path)) for path in paths]
    return sorted(found, key=lambda file: (-file.size, file.path))


def warm(files: list[SourceFile]) -> None:
    """Read every file once, so that no way of working pays alone for the first read from disk."""
    for file in files:
        try:
            with open(file.path, "rb") as opened:
                opened.read()
        except OSError:
            pass  # counted as not parsed when it is measured
