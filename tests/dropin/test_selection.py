"""Some of CPython's own tests, with every change; `make dropin` runs all of them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.dropin import classes, page
from tests.dropin.aim import Aimed, aim
from tests.dropin.classes import list_classes, run_class
from tests.dropin.known import DIFFERENT, INTERNAL, kind, known

ROOT = Path(__file__).parents[2]

# Quick ones, and of each kind of object one.
SELECTION = {
    "fork": ["WithProcessesTestQueue", "WithProcessesTestPool", "WithProcessesTestArray"],
    "spawn": ["WithProcessesTestLock", "WithProcessesTestConnection", "TestStartMethod"],
    "forkserver": ["WithProcessesTestSharedMemory", "WithManagerTestContainers"],
    "executor": ["ProcessPoolForkserverAsCompletedTest", "ProcessPoolForkInitializerTest"],
}


# (Each class has a limit of its own.)
@pytest.mark.watchdog(900)
@pytest.mark.parametrize("suite", SELECTION)
def test_selection(suite: str) -> None:
    """Nothing fails that isn't listed with its reason."""
    command = [sys.executable, "-m", "tests.dropin", "--suites", suite]
    for name in SELECTION[suite]:
        command += ["--only", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    if "no interpreter here came with" in done.stdout:
        pytest.skip("this installation of Python came without the tests")
    assert done.returncode == 0
    assert " passed" in done.stdout.splitlines()[-1]


def test_names_are_aimed() -> None:
    """Every way to name the module leads to allcores, in scripts inside of strings as well."""
    text, used = aim(
        "import multiprocessing\n"
        "import multiprocessing.pool\n"
        "import multiprocessing.util as u\n"
        "from multiprocessing import util\n"
        "from multiprocessing.connection import wait\n"
        "patch('multiprocessing.util.x')\n"
        "code = 'import multiprocessing as mp; import test.mp_preload'\n"
        "from concurrent import futures\n"
        "multiprocessing.util._cleanup_tests()\n"
    )
    assert text.splitlines() == [
        "import allcores as multiprocessing",
        "import allcores.pool, allcores as multiprocessing",
        "import allcores.util as u",
        "from allcores import util",
        "from allcores.connection import wait",
        "patch('allcores.util.x')",
        "code = 'import allcores as mp; import aimed.mp_preload'",
        "from aimed import futures",
        '__import__("aimed").cleanup()',
    ]
    assert used == {"helpers end"}


def test_what_is_known_has_a_reason() -> None:
    """A failure counts as one unless it is listed; what is listed counts when it passes."""
    assert kind("TestAny.test_any", "failed") == "failing"
    assert kind("TestAny.test_any", "hung") == "failing"
    assert kind("TestSimpleQueue.test_closed", "failed") == "internal"
    assert kind("TestSimpleQueue.test_closed", "passed") == "passed"
    assert kind("TestNoForkBomb.test_noforkbomb", "failed") == "different"
    assert known("TestAny.test_any") is None
    assert not set(INTERNAL) & set(DIFFERENT)


@pytest.mark.watchdog(220)
def test_a_hang_costs_its_class_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class whose test hangs is ended, says where it hung, and fails; the next one runs."""
    aimed = Aimed(tmp_path)
    hangs = tmp_path / "hangs"
    (aimed.package / "test_it.py").write_text(
        "import threading, os, unittest\n"
        "class A(unittest.TestCase):\n"
        "    def test_1(self): pass\n"
        f"    def test_2(self): open({str(hangs)!r}, 'x').close() or threading.Event().wait()\n"
        "    def test_3(self): pass\n"
        "class B(unittest.TestCase):\n"
        "    def test_1(self): os._exit(3)\n"
        "    def test_2(self): pass\n"
        "class C(unittest.TestCase):\n"
        "    def test_1(self): self.fail('so it is')\n"
        "    def test_2(self): self.skipTest('for a reason')\n"
    )
    first, second, third = list_classes(aimed.root, ["aimed.test_it"])

    def clock() -> float:
        """Time, of which there is no more for a test that hangs."""
        return time.monotonic() + (1000 if hangs.exists() else 0)

    with monkeypatch.context() as patch:
        patch.setattr(classes, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
        outcomes, _ = run_class(aimed.root, first)
    assert [outcomes[test].what for test in first.tests] == ["passed", "hung", "hung"]
    assert "test_2" in outcomes["test_2"].why
    assert outcomes["test_3"].why == "not reached: test_2 hung"
    outcomes, _ = run_class(aimed.root, second)
    assert [outcomes[test].what for test in second.tests] == ["failed", "failed"]
    assert "ended with 3" in outcomes["test_1"].why
    outcomes, _ = run_class(aimed.root, third)
    assert outcomes["test_1"].why == "AssertionError: so it is (test_it.py:10)"
    assert outcomes["test_2"][:2] == ("skipped", "for a reason")


def test_what_failed_is_done_again(tmp_path: Path) -> None:
    """By itself; when it passes then, it has passed, and what had failed is said."""
    aimed = Aimed(tmp_path)
    (aimed.package / "test_it.py").write_text(
        "import os, time, unittest\n"
        f"MARK = {str(tmp_path / 'mark')!r}\n"
        "class A(unittest.TestCase):\n"
        "    def test_1(self):\n"
        "        time.sleep(0.02)\n"
        "        self.fail('never')\n"
        "    def test_2(self):\n"
        "        time.sleep(0.02)\n"
        "        is_first = not os.path.exists(MARK)\n"
        "        open(MARK, 'w').close()\n"
        "        self.assertFalse(is_first, 'not yet')\n"
    )
    (cls,) = list_classes(aimed.root, ["aimed.test_it"])
    outcomes, _ = run_class(aimed.root, cls)
    assert outcomes["test_1"][:2] == ("failed", "AssertionError: never (test_it.py:6)")
    assert outcomes["test_2"].what == "passed"
    assert outcomes["test_2"].why.startswith("done again; at first: AssertionError: ")
    assert "not yet" in outcomes["test_2"].why


def test_the_page_counts(tmp_path: Path) -> None:
    """The page has a row for each suite, and every failure with its reason."""
    outcomes = {
        "TestAny.test_one": ["passed", "", 1],
        "TestAny.test_two": ["failed", "a reason", 1],
        "TestSimpleQueue.test_closed": ["failed", "AttributeError", 1],
    }
    fork = {"source": "3.12", "changes": ["no -S"], "outcomes": outcomes}
    record = {
        "python": "3.12.1",
        "system": "Linux",
        "date": "2026-01-01",
        "suites": {"fork": fork, "executor": None},
    }
    (tmp_path / "3.12.1.json").write_text(page.json.dumps(record))
    text = page.write(tmp_path)
    assert "| 3.12.1 | fork | 3.12 | 1 | 0 | 1 | 0 | 1 | 2026-01-01 |" in text
    assert "| `TestAny.test_two` | 3.12 fork | a reason |" in text
    assert "not found" in text
    assert "- no -S:" in text
