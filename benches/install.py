"""The environments of the libraries that allcores is measured beside: `make peers`.

Each has its own in build/peers, made by the Python that runs this. One that can't be installed is
noted there, and the table says so.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

from benches.peers import PEERS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "peers"
LIMIT_S = 600
# Imported by the tasks of some cases of those that have workers.
ALSO = ["numpy", "pandas", "pyarrow"]
VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


def python(name: str) -> str | None:
    """The interpreter that runs a library's cases; None when it isn't installed."""
    if not PEERS[name].requirement:
        return sys.executable
    return str(FOLDER / name / "bin" / "python") if _note(name, "installed") else None


def here(name: str) -> str:
    """That interpreter; RuntimeError says why there is none."""
    found = python(name)
    if found is None:
        raise RuntimeError(state(name))
    return found


def state(name: str) -> str:
    """Its version, or why there is none."""
    if not PEERS[name].requirement:
        return f"Python {platform.python_version()}"
    return _note(name, "installed") or _note(name, "failed") or "not installed: make peers"


def _note(name: str, what: str) -> str:
    try:
        return (FOLDER / name / what).read_text()
    except OSError:
        return ""


def _install(name: str) -> str:
    """Make the environment unless it is there for this Python; returns its state."""
    here = f"Python {platform.python_version()}"
    if _note(name, "installed").endswith(here):
        return state(name)
    folder, peer = FOLDER / name, PEERS[name]
    pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([*pip, *(["--no-deps"] if peer.bare else []), peer.requirement])
        if more := [*peer.also, *(ALSO if "array" in peer.can.split() else [])]:
            _run([*pip, *more])
        if peer.finish:
            peer.finish(folder)
        version = _run([f"{folder}/bin/python", "-c", VERSION, peer.requirement])
        (folder / "installed").write_text(f"{version}, {here}")
    except (OSError, subprocess.SubprocessError) as error:
        folder.mkdir(parents=True, exist_ok=True)
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        (folder / "failed").write_text(f"did not install: {lines[-1] if lines else error}")
    return state(name)


def _run(command: list[str]) -> str:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    ).stdout.strip()


def main() -> None:
    """Install what is missing and say what there is."""
    for name, peer in PEERS.items():
        if peer.requirement:
            print(f"{name:10} {_install(name)}", flush=True)


if __name__ == "__main__":
    main()
