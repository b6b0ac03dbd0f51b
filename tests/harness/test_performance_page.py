"""docs/performance.md says what the record says, the unflattering included."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from benches import page
from benches.cases import CASES
from benches.record import EVERY, WISH, digits, entries, group_of
from benches.run import WHOLE


def row(name: str, target: str, figures: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = sorted(figures["multiprocessing"])[1]
    return {
        "name": name,
        "what": f"the case {name}",
        "unit": "µs",
        "more_is_better": False,
        "target": target,
        "figures": figures,
        "failed": {},
        "ratios": {
            library: sorted(all_)[len(all_) // 2] / base for library, all_ in figures.items()
        },
        **more,
    }


RECORD: dict[str, Any] = {
    "circumstances": {
        "processor": "a processor, 2 cores",
        "python": "3.99",
        "commit": "abcdef",
        "date": "2001-02-03",
        "command": "python -m benches.run",
    },
    "peers": {"threads": "Python 3.99", "ray": "did not install: no | such host"},
    "seconds": 754.0,
    "missing": [],
    "floors": {"futex": {"what": "two system calls", "unit": "µs", "figures": [2.51, 2.62, 2.53]}},
    "rows": [
        row(
            "event",
            "<= 0.2",
            {"allcores": [3.1, 3.4, 3.2], "multiprocessing": [41.0, 43.0, 42.0]},
            floor="futex",
        ),
        row(
            "pool_apply",
            "<= 20 µs",
            {"allcores": [31.7], "multiprocessing": [61, 62, 63], "threads": [21.9]},
            failed={"ray": "failed: no | result\nwithin 60 s"},
        ),
        row("lock", "", {"allcores": [71.0, 72.5, 73.0], "multiprocessing": [70, 72, 73]}),
        row(
            "queue",
            ">= 5,000 k/s",
            {"allcores": [6001.4], "multiprocessing": [201, 202, 203]},
            unit="k/s",
            more_is_better=True,
        ),
        row(
            "queue_ping",
            ">= 40",
            {"allcores": [6001.4], "multiprocessing": [201, 202, 203]},
            unit="k/s",
            more_is_better=True,
        ),
        row("zoo_words", "", {"multiprocessing": [2, 3, 4]}, failed={"allcores": "failed: odd"}),
        row("idle", "<= 1 ms/s", {"allcores": [0.0], "multiprocessing": [0, 0.5, 1]}, unit="ms/s"),
    ],
}
GROWTH: dict[str, Any] = {
    "circumstances": {**RECORD["circumstances"], "commit": "fedcba", "date": "2001-02-04"},
    "curves": [
        {
            "name": "map_items",
            "what": "a map by its items",
            "x": "items",
            "y": "time",
            "x_unit": "item",
            "y_unit": "µs",
            "points": {
                "allcores": [[1, 11.5, 11.2, 11.9], [100, 61.3, 60.4, 62.2]],
                "multiprocessing": [[1, 141, 139, 147], [100, 731, 729, 733]],
            },
            "models": {"allcores": {"fixed": 10.9, "per": 0.512, "error": 0.07}},
        }
    ],
}


def lines_with(text: str, *parts: str) -> list[str]:
    return [line for line in text.splitlines() if all(part in line for part in parts)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The page of the whole record, and the folder of its pictures."""
    folder = tmp_path_factory.mktemp("performance")
    return page.page(RECORD, GROWTH, folder, "performance"), folder


def section(text: str, heading: str) -> str:
    return re.split(r"^## ", text.partition(f"## {heading}\n")[2], flags=re.MULTILINE)[0]


def test_all_that_was_measured(drawn: tuple[str, Path]) -> None:
    """Every case is in the summary and every library's figures, as they are, in its group."""
    text, _ = drawn
    for entry in entries(RECORD):
        assert lines_with(section(text, "All cases"), f"| {entry.what} |")
        details = section(text, group_of(entry.name))
        assert lines_with(details, f"| {entry.what} ({entry.unit} ")
        for spread in entry.spreads.values():
            assert lines_with(details, f"| {spread} | {spread.range()} |")
    assert lines_with(text, "| **allcores** | 3.2 | 3.1 to 3.4 | 0.0762 |")
    assert lines_with(text, "| 6,001 | 202 | - | 29.7 | >= 5,000 k/s | reached |")
    assert lines_with(text, "| took | 13 minutes |")
    assert lines_with(text, "| commit | abcdef |")


def test_what_failed(drawn: tuple[str, Path]) -> None:
    """A library that failed or isn't there is a line that says why, and breaks no table."""
    text, _ = drawn
    assert lines_with(text, r"| ray | - | failed: no \| result within 60 s | - |")
    assert lines_with(text, r"| ray | did not install: no \| such host |")
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_shortfalls_come_first(drawn: tuple[str, Path]) -> None:
    """What was missed, who is faster, and where allcores failed are said before all else."""
    text, _ = drawn
    short = section(text, "Where it falls short")
    missed = "misses &lt;= 20 µs: the figure is 31.7; behind threads (21.9)"
    assert lines_with(short, f"| the case pool_apply | 31.7 | µs | {missed} |")
    assert lines_with(short, "lock | 72.5 | µs | behind multiprocessing (72, the ranges overlap) |")
    assert lines_with(short, "| the case zoo_words | failed | µs | failed: odd |")
    ratio = "misses >= 40: the ratio is 29.7"
    assert lines_with(short, f"| the case queue_ping | 6,001 | k/s | {ratio} |")
    assert "event" not in short
    assert "queue |" not in short
    assert "reached by 3 of 5 figures" in short
    assert "the standard library in 5 of 6 cases, and of all other libraries in 0 of 1 in" in short
    assert text.index("## Where it falls short") < text.index("## All cases")
    assert lines_with(section(text, "All cases"), "pool_apply", "21.9 (threads)", "**missed**")


@pytest.mark.parametrize(
    ("unit", "target", "figures", "reached"),
    [
        ("µs", "<= 20 µs", [20.0], True),
        ("µs", "<= 20 µs", [20.1], False),
        ("µs", "<= 0.5", [21.0], True),  # the ratio, to 42
        ("µs", "<= 0.5", [21.1], False),
        ("", ">= 0.97", [0.98], True),  # no unit at all: the figure
        ("", ">= 0.97", [0.96], False),
        ("x", ">= 1.7 x, never < 1", [1.8, 1.8, 1.1], True),
        ("x", ">= 1.7 x, never < 1", [1.8, 1.8, 0.9], False),
        ("µs", "", [1.0], None),
    ],
)
def test_reached(unit: str, target: str, figures: list[float], reached: bool | None) -> None:
    """A wish with the case's unit is about the figure, one without about the ratio."""
    both = {"allcores": figures, "multiprocessing": [42.0] * 3}
    [entry] = entries({"rows": [row("any", target, both, unit=unit)]})
    assert entry.reached() is reached


@pytest.mark.parametrize(("serial", "reached"), [(3.1, True), (3.0, True), (2.9, False)])
def test_as_fast_as_every(serial: float, reached: bool) -> None:
    """A whole program is to be as fast as any with processes and as a loop; threads may win."""
    figures = {
        "allcores": [3.0],
        "multiprocessing": [4.0] * 3,
        "serial": [serial],
        "threads": [1.0],
    }
    wish = "<= every process's, serial's"
    [entry] = entries({"rows": [row("zoo_words", wish, figures, unit="s")]})
    assert entry.reached() is reached
    assert ("misses <= every" in entry.shortfall()) is not reached
    assert "behind threads (1)" in entry.shortfall().replace("serial (2.9), ", "")


def test_floors_and_curves(drawn: tuple[str, Path]) -> None:
    """A floor stands beside its case; a curve has its points, its model and its origin."""
    text, _ = drawn
    assert lines_with(text, "| the case event | two system calls | 2.53 µs | 2.51 to 2.62 | 1.26 x")
    grown = section(text, "What grows")
    model = "10.9 µs and 0.512 µs for each item; off by up to 7 %"
    assert lines_with(grown, f"| **allcores** | 1 | 11.5 | 11.2 to 11.9 | {model} |")
    assert lines_with(grown, "|  | 100 | 731 | 729 to 733 |  |")
    assert "from another run**, of 2001-02-04: commit fedcba." in grown


def test_pictures(drawn: tuple[str, Path], tmp_path: Path) -> None:
    """The pictures are those that the page shows, small, and the same each time."""
    text, folder = drawn
    shown = set(re.findall(r"\]\(performance/([\w-]+\.svg)\)", text))
    assert shown == {path.name for path in folder.iterdir()}
    assert "growth-map-items.svg" in shown
    page.page(RECORD, GROWTH, tmp_path, "performance")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
        assert path.stat().st_size < 60_000
    pools = (folder / "pools-and-executors-1.svg").read_text()
    assert all(f">{word}<" in pools for word in ("allcores", "threads", "31.7", "ray", "failed"))


def test_what_is_absent_is_left_out(tmp_path: Path) -> None:
    """No floors, no curves: no word of them; and a part of a run says what it lacks."""
    record = copy.deepcopy(RECORD)
    del record["floors"], record["rows"][1:]
    record["missing"] = ["pool", "queue"]
    text = page.page(record, {}, tmp_path, "performance")
    assert "floor" not in text
    assert "grows" not in text
    assert "Queues" not in text
    assert "**This run is not the whole one.** It lacks `pool`, `queue`." in text


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and its folder are written; a picture of an earlier record goes."""
    figures, target = tmp_path / "figures.json", tmp_path / "speed.md"
    figures.write_text(json.dumps(RECORD))
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "old.svg").touch()
    absent = str(tmp_path / "growth.json")
    monkeypatch.setattr(sys, "argv", ["page", str(figures), absent, "--page", str(target)])
    page.main()
    assert "](speed/queues-1.svg)" in target.read_text()
    names = {path.name for path in (tmp_path / "speed").iterdir()}
    assert "queues-1.svg" in names
    assert "old.svg" not in names


def test_every_case_has_a_group() -> None:
    """None is left to the group of those that belong nowhere."""
    assert [name for name in [*WHOLE, *CASES] if group_of(name) == "Others"] == []


def test_every_wish_is_judged() -> None:
    """What a case is wanted to reach is a number, or as much as the others; never only words."""
    wishes = [case.target for case in CASES.values() if case.target]
    assert [wish for wish in wishes if not (WISH.match(wish) or wish.startswith(EVERY))] == []


def test_numbers() -> None:
    """Three digits that count."""
    figures = [0.00229, 1.0, 999.4, 999.7, 12345.6]
    assert [digits(figure) for figure in figures] == ["0.00229", "1", "999", "1,000", "12,346"]


def test_a_group_too_large_for_a_picture(tmp_path: Path) -> None:
    """It gets several, each case is in one of them, and none is large."""
    libraries = ["allcores", "multiprocessing", *(f"library{number}" for number in range(8))]
    figures = {library: [20.5, 31.5, 40.5] for library in libraries}
    rows = [row(f"pool_{number}", "", figures, what=f"case{number}!") for number in range(9)]
    page.page({**RECORD, "rows": rows}, {}, tmp_path, "performance")
    pictures = sorted(tmp_path.iterdir())
    assert [path.name for path in pictures] == [
        "pools-and-executors-1.svg",
        "pools-and-executors-2.svg",
    ]
    texts = "".join(path.read_text() for path in pictures)
    assert [texts.count(f"case{number}!") for number in range(9)] == [1] * 9
    assert all(path.stat().st_size < 60_000 for path in pictures)
