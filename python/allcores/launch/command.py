"""The command lines that start our children: a fresh interpreter, or the frozen program."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

# Marks a child in `ps`, and tells a frozen program what it was started for. The standard
# library's own mark, because tools that freeze programs look for it.
MARK = "--multiprocessing-fork"

_executable: bytes | None = None


def set_executable(executable: Any) -> None:
    """Set the interpreter that children run; None for the standard library's choice."""
    global _executable
    _executable = None if executable is None else os.fsencode(executable)


def get_executable() -> Any:
    """Return the interpreter that children run."""
    if _executable is not None:
        return _executable
    # Who has set another one there has imported it.
    spawn: Any = sys.modules.get("multiprocessing.spawn")
    return os.fsencode(sys.executable) if spawn is None else spawn.get_executable()


def command_line(entry: str, **numbers: int) -> list[Any]:
    """Return the command that runs ``main(**numbers)`` of ``allcores.launch.<entry>``.

    Args:
        entry: "child" or "server".
        numbers: its arguments.
    """
    if getattr(sys, "frozen", False):
        arguments = [f"{name}={value}" for name, value in numbers.items()]
        return [sys.executable, MARK, f"entry={entry}", *arguments]
    # The child may not find the package where this process found it (sys.path was changed, or
    # it is a checkout): the folder goes last, where it hides nothing.
    folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    call = ", ".join(f"{name}={value!r}" for name, value in numbers.items())
    program = (
        f"import sys; sys.path.append({folder!r}); "
        f"from allcores.launch.{entry} import main; main({call})"
    )
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [get_executable(), *flags, "-c", program, MARK]


def freeze_support() -> None:
    """Become the child, and never return, when the frozen program was started as one."""
    if len(sys.argv) < 3 or sys.argv[1] != MARK or not sys.argv[2].startswith("entry="):
        return
    entry = sys.argv[2].partition("=")[2]
    numbers: dict[str, int] = {}
    for argument in sys.argv[3:]:
        name, _, value = argument.partition("=")
        numbers[name] = int(value)
    if entry == "server":
        from allcores.launch.server import main as serve

        serve(**numbers)
    else:
        from allcores.launch.child import main

        main(**numbers)
