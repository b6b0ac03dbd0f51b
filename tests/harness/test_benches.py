"""The benchmarks run, and print and write what they measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benches import install
from benches import run as table
from benches.cases import CASES
from benches.floors import FLOORS
from benches.peers import OTHERS, PEERS

ROOT = Path(__file__).resolve().parents[2]
# A loaded machine takes ten times as long as a free one.
pytestmark = pytest.mark.watchdog(220)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_one_round(tmp_path: Path) -> None:
    """All libraries' figures come with their ratios and the circumstances."""
    path = tmp_path / "deep" / "figures.json"
    cases = ["lock", "executor_round_trip", "second_fork"]
    options = ["--rounds", "1", "--peers", "threads", "--json", str(path)]
    result = run("-m", "benches.run", *options, *cases)
    assert (result.returncode, result.stderr) == (0, "")
    data = json.loads(path.read_text())
    assert {"processor", "kernel", "python", "commit", "date"} <= set(data["circumstances"])
    assert list(data["peers"]) == ["threads"]
    assert [row["name"] for row in data["rows"]] == cases
    assert {*data["missing"]} == {*CASES, *table.WHOLE} - {*cases}
    both = {"allcores", "multiprocessing"}
    for row, libraries in zip(data["rows"], (both, both | {"threads"}, both), strict=True):
        assert set(row["figures"]) == set(row["ratios"]) == libraries
        assert all(len(figures) == 1 and figures[0] > 0 for figures in row["figures"].values())
        assert row["failed"] == {}
        assert row["what"] in result.stdout
    assert list(data["floors"]) == ["hot"]
    assert len(data["floors"]["hot"]["figures"]) == 1
    assert [row["floor"] for row in data["rows"]] == ["", "hot", ""]
    assert [set(row["floor_ratios"]) for row in data["rows"]] == [set(), both | {"threads"}, set()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["lokc"], "no such case: lokc"), (["--peers", "rai,loky"], "no such peer: rai")],
)
def test_unknown_name(arguments: list[str], message: str) -> None:
    """A case or library that doesn't exist is named."""
    result = run("-m", "benches.run", *arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_turns() -> None:
    """Libraries take turns in who goes first; who fails is out, and the table says why."""
    asked: list[str] = []

    def measure(library: str) -> float:
        asked.append(library)
        if library == "ray":
            raise RuntimeError("no result within 60 s")
        return 3.0 if library == "allcores" else 2.0

    figures, failed = table._interleaved(measure, 4, ["loky", "ray"])
    ours, theirs = "allcores", "multiprocessing"
    rounds = [["ray", "loky", theirs, ours], [ours, theirs], [theirs, ours], [ours, theirs, "loky"]]
    assert asked == [library for turn in rounds for library in turn]
    assert figures == {ours: [3.0] * 4, theirs: [2.0] * 4, "loky": [2.0] * 2}
    row = table.Row("pool", "map", "k/s", True, ">= 5", figures, failed)
    assert row.ratios() == {ours: 1.5, theirs: 1.0, "loky": 1.0}
    first, *more = row.lines()
    assert "3 (3 to 3)" in first
    assert first.endswith("1.5  >= 5")
    assert [line.split()[0] for line in more] == ["loky", "ray"]
    assert more[1].endswith("failed: no result within 60 s")


def test_interrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before an interruption is kept, and not measured again when resumed."""
    path = tmp_path / "figures.json"
    asked: list[str] = []

    def measure(name: str, *_: object) -> table.Row:
        asked.append(name)
        if asked == ["lock", "event"]:
            raise KeyboardInterrupt
        return table.Row(name, name, "ns", False, "", {"allcores": [1.0]}, {})

    monkeypatch.setattr(table, "_row", measure)
    monkeypatch.setattr(table.fresh, "adopt_orphans", lambda: None)
    monkeypatch.setattr(sys, "argv", ["run", "lock", "event", "queue", "--json", str(path)])
    with pytest.raises(KeyboardInterrupt):
        table.main()
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["lock"]
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--resume"])
    assert table.main() == 0
    assert asked == ["lock", "event", "event", "queue"]
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == [
        "lock",
        "event",
        "queue",
    ]
    other = {**table.circumstances(), "commit": "another"}
    monkeypatch.setattr(table, "circumstances", lambda: other)
    with pytest.raises(SystemExit, match="this is another: start anew"):
        table.main()


def test_floor() -> None:
    """A row says how far above its floor allcores is; one that couldn't be measured is left out."""
    figures = {"allcores": [1.0, 2.0, 3.0], "multiprocessing": [8.0], "loky": []}
    row = table.Row("queue_ping", "ping", "µs", False, "", figures, {}, "hot", 0.5)
    assert row.floor_ratios() == {"allcores": 4.0, "multiprocessing": 16.0}
    assert row.lines()[-1].endswith("allcores: 4 times that")
    assert "least" not in row.data()
    row = row._replace(least=None)
    assert row.floor_ratios() == {}
    assert "times that" not in row.lines()[-1]


def test_floors_are_there() -> None:
    """What a case stands on is measured, in the same unit."""
    for name, case in CASES.items():
        assert not case.floor or FLOORS[case.floor].unit == case.unit, name


@pytest.mark.parametrize("name", ["hot", "futex", "pipe", "fork", "calls", "pickle"])
def test_floor_figures(name: str) -> None:
    """Each floor that needs little memory is a figure above nothing."""
    result = run("-m", "benches.floors", name)
    assert (result.returncode, result.stderr) == (0, "")
    assert float(result.stdout.split()[-1]) > 0


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that isn't there, or could not be installed, is a line that says so."""
    monkeypatch.setattr(install, "FOLDER", tmp_path)
    _, failed = table._interleaved(lambda name: table._measure("pool", name), 1, ["loky"])
    assert failed["loky"] == "failed: not installed: make peers"
    monkeypatch.setattr(install, "_run", _fails)
    assert install._install("loky") == "did not install: no such host"
    assert install.python("loky") is None


def _fails(command: list[str]) -> str:
    raise subprocess.CalledProcessError(1, command, stderr="looking\nno such host\n")


def test_every_case_can_be_done() -> None:
    """What a case needs is something that allcores and the standard library do."""
    for name, case in CASES.items():
        for library in ("allcores", "multiprocessing"):
            assert not case.needs or {*case.needs.split()} & {*PEERS[library].can.split()}, name
    assert {name for case in CASES.values() for name in case.others()} == set(OTHERS)


LEAVES = "import subprocess, sys; subprocess.Popen(['sleep', '1000'], start_new_session=True)"
FRESH = """
import subprocess, sys
from benches import fresh
fresh.LEAVE_S = 0.1
fresh.adopt_orphans()
try:
    print(fresh.run([sys.executable, "-c", sys.argv[1]], float(sys.argv[2])))
except RuntimeError as error:
    print(error)
print("children:", fresh._children())
"""


@pytest.mark.parametrize(
    ("code", "limit_s", "shown"),
    [
        ("print('fine')", 40, "fine"),
        (f"{LEAVES}; print('fine')", 40, "fine"),
        (f"{LEAVES}; sys.exit('an odd end')", 40, "exit code 1: an odd end"),
        (f"{LEAVES}; sys.stdin.close(); import signal; signal.pause()", 1, "no result within 1 s"),
    ],
)
def test_fresh_process(code: str, limit_s: int, shown: str) -> None:
    """Whatever a measurement does: it ends in time, and no process of it is left."""
    result = run("-c", FRESH, code, str(limit_s))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split("\n")[0] == shown
    assert "children: []" in result.stdout
