"""``allcores demo``, step by step."""

import importlib.util
import json
import os
import platform
import sys
from typing import NamedTuple

import allcores as mp
from allcores import cpus
from allcores.demo import files, plot, report
from allcores.demo.explain import Conditions
from allcores.demo.problem import Problem
from allcores.demo.progress import progress
from allcores.demo.ways import WAYS, Outcome, gil_enabled, run_way

__all__ = ["MAX_WORKERS", "Options", "run"]

# Guessed: more than can help anywhere, few enough not to exhaust a machine by a slip of the hand.
MAX_WORKERS = 1024


class Options(NamedTuple):
    """What the command line asks for; None: the default."""

    workers: int | None = None
    limit: int | None = None
    path: str | None = None
    repeat: int = 1
    plot: str | None = None
    json: str | None = None


def run(options: Options) -> int:
    """Run the demo and print what it shows.

    Returns:
        The exit code: 0, or 1 when the three ways did not find the same.

    Raises:
        Problem: The request can't be carried out. Nothing was measured then, except when only
            writing the picture or the JSON failed.
    """
    _check(options)
    sources = files.find(options.path, options.limit)
    available = cpus.cpu_count()
    workers = available if options.workers is None else options.workers
    now = Conditions(workers, available, gil_enabled(), len(sources))
    print(_headline(now, sources, options), flush=True)
    files.warm(sources)
    outcomes = _measure(sources, workers, options.repeat)
    unequal = report.difference(outcomes)
    if unequal is not None:
        print(f"allcores demo: the ways of working differ: {unequal}", file=sys.stderr)
        return 1
    timings = {way: report.median(outcomes[way]) for way in WAYS}
    found = report.totals(outcomes["serial"][0].records)
    print("\n" + report.render(now, timings, found, options.repeat), flush=True)
    if options.json is not None:
        _write_json(options.json, report.as_json(now, timings, outcomes, found, sources))
    if options.plot is not None:
        last = {way: outcomes[way][-1] for way in WAYS}
        plot.draw(options.plot, now, timings, last)
        print(f"\nThe picture is in {options.plot}.")
    return 0


def _check(options: Options) -> None:
    """Refuse before the work what would fail after it."""
    for name, value, most in (
        ("--workers", options.workers, MAX_WORKERS),
        ("--limit", options.limit, None),
        ("--repeat", options.repeat, None),
    ):
        if value is not None and value < 1:
            raise Problem(f"{name} {value}: must be at least 1.")
        if value is not None and most is not None and value > most:
            raise Problem(
                f"{name} {value}: at most {most} are possible; more than cores rarely help."
            )
    if options.plot is not None:
        if importlib.util.find_spec("matplotlib") is None:
            raise Problem(
                "--plot needs matplotlib, which is not installed: pip install 'allcores[plot]'"
            )
        plot.check_format(options.plot)
    for name, target in (("--plot", options.plot), ("--json", options.json)):
        if target is not None:
            _check_writable(name, target)


def _check_writable(name: str, target: str) -> None:
    folder = os.path.dirname(target) or "."
    if os.path.isdir(target):
        raise Problem(f"{name}: {target!r} is a directory; give a file name in it.")
    if not os.path.isdir(folder):
        raise Problem(f"{name}: there is no directory {folder!r} to write into; create it first.")
    if not os.access(target if os.path.exists(target) else folder, os.W_OK):
        raise Problem(
            f"{name}: {target!r} can't be written: permission denied; choose another place."
        )


def _headline(now: Conditions, sources: list[files.SourceFile], options: Options) -> str:
    where = "the standard library" if options.path is None else options.path
    megabytes = sum(file.size for file in sources) / 1e6
    lock = "with the GIL" if now.gil else "without the GIL"
    return (
        f"Parsing and measuring {now.files:,} files ({megabytes:.1f} MB) of {where} with "
        f"{platform.python_implementation()} {platform.python_version()} ({lock}),\n"
        f"{now.workers} worker{'s' * (now.workers > 1)} on {now.cpus} "
        f"core{'s' * (now.cpus > 1)}, start method {mp.get_start_method()}.\n"
    )


def _measure(
    sources: list[files.SourceFile], workers: int, passes: int
) -> dict[str, list[Outcome]]:
    """Do the work in each way; several passes go in turns, so that a slow spell hits all ways."""
    total = sum(file.size for file in sources)
    outcomes: dict[str, list[Outcome]] = {way: [] for way in WAYS}
    for number in range(1, passes + 1):
        for way in WAYS:
            label = f"{way:8}" if passes == 1 else f"{way:8} {number}/{passes}"
            bar = progress(label, total)
            try:
                outcomes[way].append(run_way(way, sources, workers, bar.update))
            finally:
                bar.close()
    return outcomes


def _write_json(target: str, data: dict[str, object]) -> None:
    try:
        with open(target, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise Problem(f"--json: {target!r} can't be written: {error.strerror}.") from error
