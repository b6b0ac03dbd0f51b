"""The figures of whole programs: how long an import takes, and what the main job gains."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = {
    "allcores": "import allcores",
    "multiprocessing": "import multiprocessing.pool, multiprocessing.managers",
}


def import_time(library: str) -> float:
    """Milliseconds of a fresh interpreter that only does the import, less its own start."""
    return (_run_seconds(IMPORTS[library]) - _run_seconds("pass")) * 1e3


def _run_seconds(code: str) -> float:
    start = time.perf_counter()
    # Without the site module: what a virtual environment's .pth files import would count as well,
    # but then the package has to be found by hand.
    subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {_paths()!r}; {code}"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def _paths() -> list[str]:
    return [str(Path(__file__).resolve().parents[1] / "python")]


def demo() -> dict[str, float]:
    """The speed-ups over serial work that `allcores demo` reports."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.json"
        subprocess.run(
            [sys.executable, "-m", "allcores", "demo", "--json", str(path)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ways = json.loads(path.read_text())["ways"]
    return {way: float(ways[way]["speedup"]) for way in ("threads", "allcores")}
