"""The ``allcores`` command.

Exit codes: 0 done; 1 a result that is bad news (the ways of ``demo`` differ, ``doctor`` found
something that stops allcores); 2 bad input; 130 interrupted by Ctrl-C. ``run`` has those of the
program that it runs.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from allcores.run import command as run_command

__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments without the program's name; None: those the program was started with.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    program: list[str] = []
    if arguments[:1] == ["run"]:
        # What is behind the program is the program's, whatever it looks like.
        own, program = run_command.split(arguments[1:])
        arguments = ["run", *own]
    try:
        options = _parser().parse_args(arguments)
        if options.command == "run":
            return run_command.run(options, program)
        code = _demo(options) if options.command == "demo" else _doctor(options)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: --help, --version or bad arguments
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("\nallcores: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`allcores doctor | head -1`). Python would complain
        # again when it flushes standard output at exit, so that now leads nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _demo(options: argparse.Namespace) -> int:
    from allcores import demo
    from allcores.demo.problem import Problem

    try:
        return demo.run(
            demo.Options(
                workers=options.workers,
                limit=options.limit,
                path=options.path,
                repeat=options.repeat,
                plot=options.plot,
                json=options.json,
            )
        )
    except Problem as problem:
        print(f"allcores demo: error: {problem}", file=sys.stderr)
        return 2


def _doctor(options: argparse.Namespace) -> int:
    from allcores import doctor

    return doctor.run(as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="allcores",
        description="Python programs on every core, with multiprocessing's names and without its "
        "catches.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"allcores {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_demo(commands)
    run_command.add_parser(commands)
    doctor = commands.add_parser(
        "doctor",
        help="show what matters about this machine, and what would hurt",
        description="Show what matters about this machine: cores, Python, memory, limits, and what "
        "the operating system offers, with advice where something would hurt. Exit code 1 when "
        "something stops allcores from working.",
        allow_abbrev=False,
    )
    doctor.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser(
        "demo",
        help="the same work serially, in threads and on all cores",
        description="Parse and measure every module of this Python's standard library three times: "
        "serially, in threads, and with allcores on all cores. Check that the results are equal, "
        "and show the times, why they are what they are, and the most branching functions found.",
        allow_abbrev=False,
    )
    demo.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads and processes to use (default: the cores this program may use)",
    )
    demo.add_argument(
        "--path",
        metavar="DIR",
        help="measure the Python files below DIR (default: standard library)",
    )
    demo.add_argument(
        "--limit", type=int, metavar="N", help="measure N of the files only, for a quick look"
    )
    demo.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="do it all N times in turns and show the medians (default: 1)",
    )
    demo.add_argument(
        "--plot",
        metavar="FILE",
        help="also draw it, as .png, .svg or .pdf (needs matplotlib: pip install 'allcores[plot]')",
    )
    demo.add_argument("--json", metavar="FILE", help="also write the figures as JSON")


def _version() -> str:
    try:
        return metadata.version("allcores")
    except metadata.PackageNotFoundError:
        return "(not installed)"
