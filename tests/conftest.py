"""What holds for every test: nothing is left behind, and nothing hangs.

- The run gets a temporary folder of its own, which has to be empty at the end.
- After each test no child process may be left that wasn't there before it.
- At the end of the run there is no process and no new file in `/dev/shm`.
- A test that runs too long fails, with the stacks of all threads.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import leftovers

TESTS_FOLDER = Path(__file__).parent
WATCHDOG_S = 170.0
GRACE_S = 30.0

_shm_before: set[str] = set()
_session_folder: Path | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a temporary folder of its own, and make it the reaper of its orphans."""
    global _session_folder
    if _session_folder is not None:
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell without job control starts what runs in the background so, and programs
        # that the tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    leftovers.become_subreaper()
    _shm_before.update(leftovers.shared_memory_files())
    _session_folder = Path(tempfile.mkdtemp(prefix="allcores-tests-"))
    scratch = _session_folder / "tmp"
    scratch.mkdir()
    os.environ["TMPDIR"] = str(scratch)
    tempfile.tempdir = None
    if config.option.basetemp is None:
        config.option.basetemp = str(_session_folder / "pytest")


def service_processes() -> set[int]:
    """The processes that the standard library keeps for the life of a program."""
    pids: set[int | None] = set()
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    if tracker is not None:
        pids.add(tracker._resource_tracker._pid)
    for name in ("multiprocessing.forkserver", "allcores.launch.forkserver"):
        module = sys.modules.get(name)
        server = getattr(module, "_forkserver", None)
        if server is not None:
            pids.add(getattr(server, "_forkserver_pid", None))
    return {pid for pid in pids if pid}


def end_parked_workers() -> None:
    """End the workers that wait for another pool; an exit of the program would, too."""
    module = sys.modules.get("allcores.task.reserve")
    if module is not None:
        module.reserve.clear()


def stop_service_processes() -> None:
    """End what `service_processes` lists, as the interpreter would at its exit."""
    for name in ("allcores.launch.forkserver", "multiprocessing.forkserver"):
        server = getattr(sys.modules.get(name), "_forkserver", None)
        if server is not None:
            server._stop()
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    if tracker is not None:
        # (A benchmark's end, which collects whatever has become this process's, may have had it.)
        with contextlib.suppress(ChildProcessError):
            tracker._resource_tracker._stop()


@pytest.fixture(autouse=True)
def no_process_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a child process, or a child's orphan, behind; and end the process."""
    before = leftovers.children()
    yield
    end_parked_workers()
    if request.node.get_closest_marker("keeps_processes"):
        return
    new = leftovers.children() - before - service_processes()
    left = leftovers.wait_for_exit(new, GRACE_S) if new else set()
    if left:
        lines = "\n  ".join(leftovers.describe(pid) for pid in sorted(left))
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        leftovers.wait_for_exit(left, GRACE_S)
        pytest.fail(f"processes left behind (now killed):\n  {lines}")


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs, after showing where every thread stands.

    An alarm, not a thread: a thread would turn every fork in a test into the fork of a threaded
    process. A test that uses SIGALRM itself is on its own for that time; a wait that ignores
    signals ends with the whole run's time limit, and faulthandler has shown by then where it was.
    """
    marker = request.node.get_closest_marker("watchdog")
    seconds = float(marker.args[0]) if marker else WATCHDOG_S
    owner = os.getpid()

    def too_long(signum: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            faulthandler.dump_traceback(file=sys.__stderr__)
            pytest.fail(
                f"the test ran for more than {seconds:g} s; all stacks are on standard error"
            )

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _left_at_the_end(folder: Path) -> list[str]:
    """Look for what the whole run left; one line for each thing."""
    stop_service_processes()
    found = []
    left = leftovers.wait_for_exit(leftovers.children(), GRACE_S)
    found += [f"process {leftovers.describe(pid)}" for pid in sorted(left)]
    leftovers.reap_adopted(leftovers.children() - left)
    leftovers.remove_of_imports(_shm_before)
    new = leftovers.wait_for_files_to_go(_shm_before, GRACE_S)
    found += [f"/dev/shm/{name}" for name in sorted(new)]
    found += [str(path) for path in sorted((folder / "tmp").iterdir())]
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run that left a process, a file in `/dev/shm` or one in the temporary folder."""
    global _session_folder
    folder, _session_folder = _session_folder, None
    if folder is None:
        return
    try:
        # multiprocessing's own temporary folder goes with its finalizers, at the program's exit.
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util._run_finalizers()
        found = _left_at_the_end(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if found:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.section("left behind by the tests", red=True)
            for line in found:
                reporter.line(line)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
