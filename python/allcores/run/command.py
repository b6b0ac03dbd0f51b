"""The command: find out what is to be run, and become the interpreter that runs it.

The program gets an interpreter of its own, started as ``python script.py`` would start it. So its
`__main__`, its arguments, paths, tracebacks, signals and exit codes are Python's, not an imitation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["VARIABLE", "add_parser", "run", "split"]

# What startup/sitecustomize.py is told, as JSON; it takes it out of the environment.
VARIABLE = "ALLCORES_RUN"
_STARTUP = Path(__file__).parent / "startup"
_METHODS = ("fork", "forkserver", "spawn")


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    """Describe the command's own options.

    Args:
        commands: where it is added.
    """
    run = commands.add_parser(
        "run",
        help="run a program that says `import multiprocessing`, with allcores in its place",
        usage="allcores run [--report] [--start-method METHOD] [--keep MODULE] "
        "(script.py | -m module | -c code | -) [arguments]",
        description="Run a Python program, unchanged, with allcores in the place of "
        "multiprocessing and of concurrent.futures.ProcessPoolExecutor: in the program, in what "
        "it imports, and in its child processes. All that follows the program is its own.",
        allow_abbrev=False,
    )
    run.add_argument(
        "--report",
        action="store_true",
        help="at the end, say on standard error where the time went: tasks, data, waiting, and "
        "how busy the workers were",
    )
    run.add_argument(
        "--start-method",
        choices=_METHODS,
        help="how processes start, unless the program chooses (default: as with this Python's "
        "multiprocessing)",
    )
    run.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="MODULE",
        help="a package or module that keeps the original multiprocessing; may be repeated",
    )


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the command's own options, and the program with its arguments.

    Args:
        argv: what stands behind ``allcores run``.
    """
    at = 0
    while at < len(argv) and argv[at].startswith("--"):
        at += 2 if argv[at] in ("--start-method", "--keep") else 1
    if at < len(argv) and argv[at] == "-h":
        at += 1
    return list(argv[:at]), list(argv[at:])


def run(options: argparse.Namespace, program: list[str]) -> int:
    """Become the program; return only what is wrong with the command.

    Args:
        options: the command's own.
        program: as behind ``python``.
    """
    wrong = _wrong(program)
    if wrong is not None:
        print(f"allcores run: error: {wrong}", file=sys.stderr)
        return 2
    path = os.environ.get("PYTHONPATH")
    settings = {
        "path": path,
        "folder": str(Path(__file__).parents[2]),
        "keep": options.keep,
        "method": options.start_method,
        "report": options.report,
        "program": program[1] if program[0] == "-m" else program[0],
    }
    environ = os.environ | {
        VARIABLE: json.dumps(settings),
        "PYTHONPATH": f"{_STARTUP}{os.pathsep}{path}" if path else str(_STARTUP),
    }
    sys.stdout.flush()
    try:
        os.execve(sys.executable, [sys.executable, *program], environ)
    except OSError as error:
        print(f"allcores run: error: can't start {sys.executable}: {error}", file=sys.stderr)
    return 2


def _wrong(program: list[str]) -> str | None:
    """Return what is wrong with a program and its arguments, if anything is."""
    if not program:
        return "there is nothing to run; give a script, or -m and a module"
    first = program[0]
    if first in ("-m", "-c"):
        what = "a module" if first == "-m" else "code"
        return f"{first} needs {what} behind it" if len(program) == 1 else None
    if first.startswith("-") and first != "-":
        return (
            f"{first} is no option of this command, and options of Python can't be given here: "
            "there are environment variables for them (PYTHONWARNINGS for -W, PYTHONDEVMODE)"
        )
    return None
