"""Starting children as fresh interpreters: the public face of ``allcores.launch``."""

import multiprocessing.spawn as _std
from multiprocessing.spawn import get_command_line, import_main_path
from typing import Any as _Any

from allcores.launch.command import freeze_support, get_executable
from allcores.launch.command import set_executable as _set_executable
from allcores.launch.prepare import get_preparation_data

__all__ = [
    "freeze_support",
    "get_command_line",
    "get_executable",
    "get_preparation_data",
    "import_main_path",
    "set_executable",
]


def set_executable(exe: _Any) -> None:
    """Set the interpreter that children run.

    Args:
        exe: its path; None for the standard library's choice.
    """
    _set_executable(exe)


def __getattr__(name: str) -> _Any:
    # Names that were never documented, and are used all the same.
    return getattr(_std, name)
