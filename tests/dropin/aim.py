"""CPython's own tests, aimed at allcores: found in an interpreter, changed, written to a folder.

Nothing of them is kept: the folder is a temporary one, a package named `aimed`. What is changed is
where names come from (`RULES`), and some scaffolding (scaffolding.py), each with its reason.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.dropin.scaffolding import CHANGES

PACKAGE = "aimed"
METHODS = ("fork", "spawn", "forkserver")

# Order matters: the longer forms come first. Text inside of strings is meant as well: scripts for
# `python -c`, names for mock.patch.
RULES = [
    (r"\bfrom multiprocessing((?:\.\w+)*)(\s+import\b)", r"from allcores\1\2"),
    (r"\bimport multiprocessing((?:\.\w+)*) as (\w+)", r"import allcores\1 as \2"),
    (r"\bimport multiprocessing((?:\.\w+)+)", r"import allcores\1, allcores as multiprocessing"),
    (r"\bimport multiprocessing\b", "import allcores as multiprocessing"),
    (r"(['\"])multiprocessing((?:\.\w+)*)\1", r"\1allcores\2\1"),
    (r"\bfrom concurrent import futures\b", f"from {PACKAGE} import futures"),
    (
        r"\bfrom concurrent\.futures import (\{executor_type\}|ProcessPoolExecutor)",
        rf"from {PACKAGE}.futures import \1",
    ),
    (
        r"\btest\.(_test_multiprocessing|test_multiprocessing_\w+|mp_preload|mp_fork_bomb"
        r"|test_concurrent_futures)\b",
        rf"{PACKAGE}.\1",
    ),
    (
        r"\bfrom test import (_test_multiprocessing|mp_preload|mp_fork_bomb)\b",
        rf"from {PACKAGE} import \1",
    ),
]

# The package itself, which is imported before any of the tests, in their children as well.
HERE = """\
import sys
from test import support

# Tests of a newer version look for these in their test.support.
if not hasattr(support, "Py_GIL_DISABLED"):
    support.Py_GIL_DISABLED = False
if not hasattr(support, "requires_gil_enabled"):
    support.requires_gil_enabled = lambda message="": lambda item: item
if not hasattr(support, "setswitchinterval"):
    support.setswitchinterval = sys.setswitchinterval
if sys.version_info < (3, 13):
    # They ask about sanitizers with a keyword `thread`; no build of a release has one.
    support.check_sanitizer = lambda **kinds: False
    support.skip_if_sanitizer = lambda *reason, **kinds: lambda item: item


def cleanup():
    from allcores.launch import forkserver
    from allcores.task.reserve import reserve
    from multiprocessing import util

    reserve.clear()
    forkserver._forkserver._stop()
    util._cleanup_tests()
"""

# What `from concurrent import futures` gives: all of it, with our pool in place of theirs.
FUTURES = """\
from concurrent.futures import *
from concurrent.futures import process, thread
from allcores import ProcessPoolExecutor
"""

# What CPython's modules test_multiprocessing_<method> consist of.
METHOD = """\
from {package} import _test_multiprocessing
_test_multiprocessing.install_tests_in_module_dict(globals(), {method!r})
"""


class NotHere(Exception):
    """This interpreter, and those beside it, came without the tests."""


def folders(extra: Path | None) -> Iterator[Path]:
    """Go through the folders that may have CPython's tests, the most fitting first.

    Args:
        extra: one that the user named, laid out like CPython's ``Lib/test``.
    """
    import test

    yield Path(test.__file__).parent
    if extra is not None:
        yield extra
    # Some installations leave tests out that a neighbour of another version has.
    here = sys.version_info.minor
    beside: list[tuple[bool, int, Path]] = []
    for folder in Path(sys.base_prefix).parent.glob("*/lib/python3.*/test"):
        minor = int(folder.parent.name.removeprefix("python3.").rstrip("t"))
        if minor >= 11:
            beside.append((minor < here, abs(minor - here), folder))
    for *_, folder in sorted(beside):
        yield folder


def version(folder: Path) -> str:
    """Return the Python version that a folder of tests belongs to, as "3.13"."""
    return folder.parent.name.removeprefix("python")


def aim(text: str) -> tuple[str, set[str]]:
    """Return a test module's text for allcores, and which changes of scaffolding it needed."""
    used = set()
    for name, pattern, replacement, _ in CHANGES:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count:
            used.add(name)
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return text, used


class Aimed:
    """The package of aimed tests.

    Args:
        root: the folder to make it in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root / PACKAGE
        self.package.mkdir()
        (self.package / "__init__.py").write_text(HERE)
        self.used: set[str] = set()

    def multiprocessing(self, extra: Path | None) -> str:
        """Add the tests of multiprocessing; return the version they are from.

        Raises:
            NotHere: there are none.
        """
        for folder in folders(extra):
            if (folder / "_test_multiprocessing.py").exists():
                break
        else:
            raise NotHere("_test_multiprocessing.py")
        for name in (
            "_test_multiprocessing.py",
            "test_multiprocessing_main_handling.py",
            "mp_preload.py",
            "mp_fork_bomb.py",
        ):
            if (folder / name).exists():
                self._add(folder / name, name)
        for method in METHODS:
            text = METHOD.format(package=PACKAGE, method=method)
            (self.package / f"test_multiprocessing_{method}.py").write_text(text)
        return version(folder)

    def futures(self, extra: Path | None) -> str:
        """Add the tests of concurrent.futures; return the version they are from.

        Raises:
            NotHere: there are none.
        """
        (self.package / "futures.py").write_text(FUTURES)
        for folder in folders(extra):
            if (folder / "test_concurrent_futures").is_dir():
                (self.package / "test_concurrent_futures").mkdir()
                for path in sorted((folder / "test_concurrent_futures").glob("*.py")):
                    if path.name == "__init__.py":
                        # It only makes `python -m` of the package work.
                        (self.package / "test_concurrent_futures" / path.name).touch()
                    else:
                        self._add(path, f"test_concurrent_futures/{path.name}")
                return version(folder)
            if (folder / "test_concurrent_futures.py").exists():
                self._add(folder / "test_concurrent_futures.py", "test_concurrent_futures.py")
                return version(folder)
        raise NotHere("test_concurrent_futures")

    def futures_modules(self) -> list[str]:
        """Return the names of the modules that have tests of the process pool."""
        name = f"{PACKAGE}.test_concurrent_futures"
        parts = self.package / "test_concurrent_futures"
        if not parts.is_dir():
            return [name]
        return [f"{name}.{path.stem}" for path in sorted(parts.glob("test_*.py"))]

    def _add(self, source: Path, name: str) -> None:
        text, used = aim(source.read_text(encoding="utf-8"))
        self.used |= used
        (self.package / name).write_text(text, encoding="utf-8")
