"""``allcores demo`` does the work in three ways and shows what came out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from allcores import cli
from allcores.demo import command, files, plot, report, ways
from allcores.demo.measure import FileRecord

Run = Callable[..., subprocess.CompletedProcess[str]]
# A loaded machine takes ten times as long as a free one.
pytestmark = pytest.mark.watchdog(220)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A directory with a few Python files, one of them broken, and things to leave out."""
    top = tmp_path / "sources"
    for folder in ("", "inner", ".hidden", "__pycache__"):
        (top / folder).mkdir(exist_ok=True)
    for number in range(6):
        body = f"def function_{number}(x):\n" + "    if x: pass\n" * (number + 1)
        (top / "inner" / f"module_{number}.py").write_text(body)
    (top / "broken.py").write_text("def broken(:\n")
    (top / "warns.py").write_text("x = '\\d'\nassert (1, 'always')\ny = 1 is 1\n")
    (top / ".hidden" / "not_me.py").write_text("x = 1\n")
    (top / "__pycache__" / "nor_me.py").write_text("x = 1\n")
    (top / "notes.txt").write_text("no Python\n")
    return top


@pytest.fixture
def run() -> Run:
    """Run ``python -m allcores`` in a process of its own, with warnings as errors."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "allcores", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run


def test_demo_of_a_few_files_of_the_standard_library(run: Run) -> None:
    """The three ways agree, and the table, the reason and the findings are shown."""
    done = run("demo", "--limit", 12, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "12 files" in done.stdout
    for start in ("serial", r"threads \(2\)", r"allcores \(2 processes\)"):
        assert re.search(rf"^{start} +\d+\.\d\d +\d+\.\d\dx +\d+\.\d\d$", done.stdout, re.M), start
    assert "The three results are equal, file by file." in done.stdout
    assert "threads" in done.stdout
    assert len(re.findall(r"^ +\d+ +\d+ +\d+  \S+  \S+\.py:\d+$", done.stdout, re.M)) == 5
    for way in ways.WAYS:
        assert re.search(rf"^{way} *: 100 %", done.stderr, re.M), done.stderr
    assert "Traceback" not in done.stderr


def test_demo_of_a_directory_with_json(run: Run, sources: Path, tmp_path: Path) -> None:
    """Other sources can be measured; warnings and broken files in them do no harm."""
    target = tmp_path / "figures.json"
    done = run("demo", "--path", sources, "--workers", 3, "--repeat", 2, "--json", target)
    assert done.returncode == 0, done.stderr
    assert "seconds (median of 2)" in done.stdout
    assert "Warning" not in done.stderr
    data = json.loads(target.read_text())
    assert data["equal"] is True
    assert data["conditions"]["workers"] == 3
    assert [len(data["ways"][way]["passes"]) for way in ways.WAYS] == [2, 2, 2]
    assert data["ways"]["serial"]["speedup"] == 1.0
    found = data["found"]
    assert (found["files"], found["unparsed"], found["functions"]) == (8, 1, 6)
    assert [function["branches"] for function in found["top"]] == [6, 5, 4, 3, 2]
    assert found["top"][0]["name"] == "function_5"


def test_files_largest_first_without_hidden_ones(sources: Path) -> None:
    """Hidden folders and caches are left out; --limit spreads over what is there."""
    found = files.find(str(sources), None)
    names = [Path(file.path).name for file in found]
    assert sorted(names) == sorted([*(f"module_{n}.py" for n in range(6)), "broken.py", "warns.py"])
    assert [file.size for file in found] == sorted((file.size for file in found), reverse=True)
    assert {Path(file.path).name for file in files.find(str(sources), 2)} == {
        "broken.py",
        "module_3.py",
    }


def test_standard_library_leaves_out_installed_packages() -> None:
    """What pip installed is not the standard library."""
    paths = [file.path for file in files.find(None, None)]
    assert any(path.endswith(f"asyncio{os.sep}events.py") for path in paths)
    assert not any("site-packages" in path for path in paths)


@pytest.mark.parametrize("way", ways.WAYS)
def test_each_way_gives_the_records_in_order(sources: Path, way: str) -> None:
    """Whatever finishes first: the records come in the order of the files, each size once."""
    found = files.find(str(sources), None)
    sizes: list[int] = []
    outcome = ways.run_way(way, found, 2, sizes.append)
    assert [record.path for record in outcome.records] == [file.path for file in found]
    assert sorted(sizes, reverse=True) == [file.size for file in found]
    assert outcome.curve[-1][1] == sum(sizes)
    assert outcome.seconds > 0
    assert outcome.cpu_seconds > 0


def test_a_difference_is_reported(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When a way finds something else, the demo says where and fails."""

    def run_way(way: str, *_: object) -> ways.Outcome:
        record = FileRecord("a.py", lines=2 if way == "threads" else 1)
        return ways.Outcome(1.0, 0.0, 1.0, [record], [(0.0, 0), (1.0, 1)])

    monkeypatch.setattr(command, "run_way", run_way)
    assert cli.main(["demo", "--path", str(sources)]) == 1
    error = capsys.readouterr().err
    assert "threads, pass 1" in error
    assert "lines=2" in error


def test_plot_is_a_png(run: Run, sources: Path, tmp_path: Path) -> None:
    """--plot writes a picture."""
    pytest.importorskip("matplotlib")
    target = tmp_path / "demo.png"
    done = run("demo", "--path", sources, "--plot", target)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert f"The picture is in {target}." in done.stdout


def test_plot_without_matplotlib(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without matplotlib the error comes before the work and says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["demo", "--path", str(sources), "--plot", "a.png"]) == 2
    captured = capsys.readouterr()
    assert "pip install 'allcores[plot]'" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "--workers 0: must be at least 1"),
        (["--workers", "-3"], "must be at least 1"),
        (["--workers", "100000"], "at most 1024"),
        (["--workers", "two"], "invalid int value: 'two'"),
        (["--limit", "0"], "--limit 0: must be at least 1"),
        (["--repeat", "0"], "--repeat 0: must be at least 1"),
        (["--path", "{tmp}/missing"], "does not exist"),
        (["--path", "{tmp}/a file"], "is not a directory"),
        (["--path", "{tmp}/empty"], "there is no Python file"),
        (["--json", "{tmp}"], "is a directory"),
        (["--json", "{tmp}/missing/a.json"], "there is no directory"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """Bad input ends with exit code 2 and one clear message, before any work."""
    (tmp_path / "a file").write_text("")
    (tmp_path / "empty").mkdir()
    filled = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert cli.main(["demo", *filled]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("name", ["a.txt", "a", "png", "a.jpg"])
def test_plot_format(name: str) -> None:
    """A file name that can't be drawn to is refused."""
    with pytest.raises(command.Problem, match=r"must end in \.png, \.svg or \.pdf"):
        plot.check_format(name)


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command: usage and exit code 2; --help and --version: 0."""
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    assert cli.main(["demo", "--help"]) == 0
    assert cli.main(["--version"]) == 0
    assert re.search(r"^allcores ", capsys.readouterr().out, re.M)


def test_totals_of_nothing() -> None:
    """Files without a function have no average to show."""
    found = report.totals([FileRecord("a.py", error="SyntaxError")])
    assert (found.files, found.unparsed, found.top) == (1, 1, ())


@pytest.mark.parametrize("way", ways.WAYS)
def test_interrupt(way: str) -> None:
    """Ctrl-C, in each way of working: exit code 130, no traceback, no process left (conftest)."""
    code = (
        "import sys; from allcores import cli\n"
        "from allcores.demo import command, ways\n"
        f"command.WAYS = ({way!r},)\n"
        "sys.exit(cli.main(['demo', '--workers', '2', '--limit', '600', '--repeat', '1000']))"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stderr is not None
    seen = program.stderr.readline()  # a quarter of the first of many passes is done
    os.killpg(program.pid, signal.SIGINT)
    _, error = program.communicate(timeout=200)
    assert program.returncode == 130, seen + error
    assert "Traceback" not in error
    assert "interrupted" in error
