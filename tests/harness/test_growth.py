"""The curves are measured point by point, and what fits them is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benches import growth
from benches.curves import CURVES
from benches.footprints import family_bytes

ROOT = Path(__file__).resolve().parents[2]
# A loaded machine takes ten times as long as a free one.
pytestmark = pytest.mark.watchdog(220)
SMALL = {
    "start": 2,
    "processes": 2,
    "worker_memory": 2,
    # What is shared with programs beside these counts in part: so by some megabytes less when
    # another Python starts meanwhile. These are to grow by more.
    "dict_memory": 200_000,
    "task_memory": 30_000,
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.parametrize("library", ["allcores", "multiprocessing"])
@pytest.mark.parametrize("name", CURVES)
def test_point(name: str, library: str) -> None:
    """Each curve can be measured at a small x, with nothing on standard error."""
    result = run("benches.curves", name, library, str(SMALL.get(name, 1000)))
    assert (result.returncode, result.stderr) == (0, "")
    figure = float(result.stdout.split("figure ")[1])
    # What calls leave behind is nothing, give or take a few pages.
    assert figure > 0 or name == "leak"


def test_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve's points are printed and written with their model and the circumstances."""
    path = tmp_path / "deep" / "growth.json"
    curve = CURVES["start"]._replace(x=[1, 2, 3], libraries=("allcores",))
    monkeypatch.setitem(growth.CURVES, "start", curve)
    arguments = ["growth", "--rounds", "1", "--json", str(path), "start"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(growth.fresh, "adopt_orphans", lambda: None)
    assert growth.main() == 0
    data = json.loads(path.read_text())
    assert {"processor", "commit", "date"} <= set(data["circumstances"])
    (written,) = data["curves"]
    assert (written["name"], written["x"], written["y_unit"]) == ("start", "processes", "ms")
    points = written["points"]["allcores"]
    assert [x for x, *_ in points] == [1, 2, 3]
    assert all(0 < least <= median <= most for _, median, least, most in points)
    assert written["models"]["allcores"]["fixed"] >= 0
    assert written["ended"] == {}


def test_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that fails at an x isn't asked for more, and the table says where it ended."""
    asked: list[tuple[str, int]] = []

    def point(name: str, library: str, x: int) -> float:
        asked.append((library, x))
        if library == "multiprocessing" and x >= 100:
            raise RuntimeError("no result within 60 s")
        return 2.0 + 3 * x

    monkeypatch.setattr(growth, "_point", point)
    curve = CURVES["dict_get"]._replace(x=[10, 100, 1000])
    monkeypatch.setitem(growth.CURVES, "dict_get", curve)
    result = growth.measured("dict_get", 1)
    assert [x for library, x in asked if library == "multiprocessing"] == [10, 100]
    assert [x for library, x in asked if library == "allcores"] == [10, 100, 1000]
    lines = result.lines()
    assert lines[-1] == "  multiprocessing ended at 100: no result within 60 s"
    assert lines[4].split()[-1] == "-"
    assert set(result.models()) == {"allcores"}


def test_model() -> None:
    """A fixed cost and one per item are found again; no cost is below zero; a cliff is named."""
    model = growth.fitted([(x, 5 + 0.25 * x) for x in (1, 10, 100, 1000)])
    assert model
    assert (model.fixed, model.per, model.error) == pytest.approx((5, 0.25, 0))
    for points in ([(1, 1), (10, 12), (100, 150)], [(1, 9), (10, 6), (100, 5)]):
        model = growth.fitted(points)
        assert model
        assert min(model.fixed, model.per) == 0
    model = growth.fitted([(1, 1), (10, 10), (100, 100), (1000, 9000), (10000, 10000)])
    assert model
    assert model.worst == 1000
    assert model.off > 3
    assert growth.fitted([(1, 1), (10, 10)]) is None
    assert growth.fitted([(1, 1), (10, -1), (100, 2)]) is None


def test_footprint() -> None:
    """Memory that is written to is counted, with that of processes below."""
    code = (
        "import sys; held = b'x' * int(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    )
    # Much, as what is shared with programs beside these counts in part, and these come and go.
    size = 1 << 27
    before = family_bytes()
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code, str(size)], stdin=pipe, stdout=pipe
    ) as child:
        assert child.stdout
        child.stdout.readline()
        held = b"x" * size
        # (One of the two alone would be less.)
        assert family_bytes() - before > 1.5 * len(held)
        child.communicate()
