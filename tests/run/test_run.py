"""`allcores run`: unchanged programs, and what Python itself would do with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("program.py")
# A loaded machine takes ten times as long as a free one.
SECONDS = 200
pytestmark = pytest.mark.watchdog(SECONDS + 20)


def start(*arguments: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=SECONDS,
        **options,
    )


def run(*arguments: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return start("-m", "allcores", "run", *arguments, cwd=cwd, **options)


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return name


def test_a_program_gets_allcores_everywhere(tmp_path: Path) -> None:
    """In the program, threads, children and grandchildren, however they say it."""
    result = run(str(PROGRAM), "-m", "--report", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "arguments ['-m', '--report']\n"


LOOK = """
import sys
def spec(): return None if __spec__ is None else (__spec__.name, __spec__.origin)
print(__name__, __file__, __package__, spec(), type(__loader__).__name__, sys.argv, sys.path)
print(sorted(name for name in globals() if name != "multiprocessing"), sys.flags, sys.stdin.read())
"""


@pytest.mark.parametrize("how", ["script", "module", "folder", "stdin", "code"])
def test_a_program_looks_as_with_python(how: str, tmp_path: Path) -> None:
    """`__main__`, its arguments and the path are what `python` makes of them."""
    write(tmp_path, "look.py", LOOK)
    write(tmp_path, "folder/__main__.py", LOOK)
    arguments = {
        "script": ["look.py", "a", "-b"],
        "module": ["-m", "look", "a", "--c"],
        "folder": ["folder", "a"],
        "stdin": ["-", "a"],
        "code": ["-c", "import sys; print(sys.argv, sys.path, __name__)", "-x"],
    }[how]
    text = LOOK if how == "stdin" else "input"
    if how == "stdin":
        text = text.replace("__file__", "0")
    environ = os.environ | {"PYTHONPATH": str(tmp_path / "more")}
    found = run(*arguments, cwd=tmp_path, input=text, env=environ)
    wanted = start(*arguments, cwd=tmp_path, input=text, env=environ)
    assert (found.returncode, found.stdout, found.stderr) == (
        wanted.returncode,
        wanted.stdout,
        wanted.stderr,
    )


ENDS = {
    "exit": "raise SystemExit(7)",
    "message": "raise SystemExit('a message')",
    "error": "def f():\n    raise ValueError('wrong')\nf()",
    "syntax": "def f(:",
    "import": "import broken",
    "missing": "import importlib; importlib.import_module('nowhere')",
    "interrupt": "raise KeyboardInterrupt",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "hook": "import sys; sys.excepthook = lambda *a: print(a[1], a[2].tb_lineno); 1 / 0",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_program_ends_as_with_python(how: str, tmp_path: Path) -> None:
    """Its exit code and its traceback are Python's own, to the letter."""
    write(tmp_path, "ends.py", ENDS[how])
    write(tmp_path, "broken.py", "import multiprocessing.nothing")
    found, wanted = run("ends.py", cwd=tmp_path), start("ends.py", cwd=tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (
        wanted.returncode,
        wanted.stdout,
        wanted.stderr,
    )


def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C ends a program as it would without."""
    write(
        tmp_path,
        "waits.py",
        """
        import multiprocessing, time
        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                pool.map(abs, range(10))
                print("ready", flush=True)
                time.sleep(100)
        """,
    )
    with subprocess.Popen(
        [sys.executable, "-m", "allcores", "run", "waits.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1


def test_the_environment_is_as_it_was(tmp_path: Path) -> None:
    """Programs that it starts see the environment of the user, and none of this."""
    code = "import os; print(sorted(os.environ.items()))"
    environ = os.environ | {"PYTHONPATH": "somewhere"}
    found, wanted = (how("-c", code, cwd=tmp_path, env=environ).stdout for how in (run, start))
    assert found == wanted


def test_a_sitecustomize_of_the_users_runs(tmp_path: Path) -> None:
    """One that is on the path runs as ever."""
    write(tmp_path, "sitecustomize.py", "print('customized')")
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = run(
        "-c", "import sitecustomize; print(sitecustomize.__file__)", cwd=tmp_path, env=environ
    )
    # (In the interpreter of the command itself, too.)
    assert result.stdout == f"customized\ncustomized\n{tmp_path}/sitecustomize.py\n"


def test_start_methods(tmp_path: Path) -> None:
    """The default is this Python's, or the one that is asked for; the program may choose."""
    code = "import multiprocessing as m; print(m.get_all_start_methods()[0], m.get_start_method())"
    assert run("-c", code, cwd=tmp_path).stdout == start("-c", code, cwd=tmp_path).stdout
    chosen = run("--start-method", "spawn", "-c", code, cwd=tmp_path)
    assert chosen.stdout == "spawn spawn\n"
    code = "import multiprocessing as m; m.set_start_method('spawn'); print(m.get_start_method())"
    assert run("-c", code, cwd=tmp_path).stdout == "spawn\n"


def test_who_keeps_the_original(tmp_path: Path) -> None:
    """The standard library does, and whom the command line names, with all that is in it."""
    write(tmp_path, "package/__init__.py", "")
    write(tmp_path, "package/part.py", "from multiprocessing import Pool")
    write(tmp_path, "other.py", "from multiprocessing import Pool")
    code = (
        "import package.part, other, concurrent.futures, logging, sys; "
        "print(package.part.Pool.__self__.__module__, other.Pool.__self__.__module__, "
        "sys.modules['concurrent.futures.process'].mp.__name__, "
        "sys.modules['multiprocessing'].__name__)"
    )
    result = run("--keep", "package", "-c", f"{code}", cwd=tmp_path)
    assert result.stderr == ""
    assert (
        result.stdout
        == "multiprocessing.context allcores.context multiprocessing multiprocessing\n"
    )


def test_star_brings_the_original_names(tmp_path: Path) -> None:
    """`from multiprocessing import *` brings those of the original, from allcores."""
    code = "from multiprocessing import *; print('amap' in dir(), Pool.__self__.__module__)"
    assert run("-c", code, cwd=tmp_path).stdout == "False allcores.context\n"


def test_the_report(tmp_path: Path) -> None:
    """`--report` says at the end what was measured, on standard error."""
    write(
        tmp_path,
        "works.py",
        """
        import multiprocessing
        def work(item):
            return bytes(1000)
        if __name__ == "__main__":
            with multiprocessing.Pool(2) as pool:
                pool.map(work, range(50), 1)
            print("done")
        """,
    )
    result = run("--report", "works.py", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "done\n")
    lines = result.stderr.splitlines()
    assert lines[0] == "allcores: where the time of works.py went"
    rows = {line[:16].strip(): line[16:] for line in lines[1:]}
    assert rows["pools"] == "1, with 2 workers"
    assert rows["tasks"].startswith("50, which took ")
    _, _, back = rows["data"].partition("to workers, ")
    assert 48 < float(back.split()[0]) < 60
    assert back.endswith("KiB back")
    assert list(rows) == ["time", "this process", "pools", "tasks", "workers", "data"]


def test_the_report_says_what_was_not_copied(tmp_path: Path) -> None:
    """Large buffers that arrive as views are a row of their own, both ways."""
    pytest.importorskip("numpy")
    write(
        tmp_path,
        "large.py",
        """
        import multiprocessing, numpy
        if __name__ == "__main__":
            with multiprocessing.Pool(1) as pool:
                pool.apply(numpy.negative, (numpy.ones(1 << 20),))
        """,
    )
    result = run("--report", "large.py", cwd=tmp_path)
    assert result.returncode == 0
    assert "  not copied    16.0 MiB, which arrived as views" in result.stderr.splitlines()


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-W", "error"], ["--what"]])
def test_bad_input(arguments: list[str], tmp_path: Path) -> None:
    """What can't be run is said, with exit code 2."""
    result = run(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "error" in result.stderr


def test_max_tasks_per_child_with_the_default(tmp_path: Path) -> None:
    """As documented, an executor without a context spawns when workers are to be replaced."""
    write(
        tmp_path,
        "replaces.py",
        """
        import os
        from concurrent.futures import ProcessPoolExecutor
        def pid(_):
            return os.getpid()
        if __name__ == "__main__":
            with ProcessPoolExecutor(1, max_tasks_per_child=1) as executor:
                print(len(set(executor.map(pid, range(3)))))
        """,
    )
    result = run("replaces.py", cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("3\n", "")
