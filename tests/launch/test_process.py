"""Processes do what the documentation says, under each start method."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import allcores as mp
import pytest
from allcores.errors import NotPicklable
from allcores.forkserver import ensure_running

sys.path.insert(0, str(Path(__file__).parent))

import targets


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def context(request: pytest.FixtureRequest) -> Any:
    return mp.get_context(request.param)


@pytest.fixture
def pipe() -> Iterator[tuple[Any, Any]]:
    here, there = mp.Pipe()
    yield here, there
    here.close()
    there.close()


def finish(process: Any) -> int:
    process.join()
    code: int = process.exitcode
    process.close()
    return code


def test_arguments_and_identity(context: Any, pipe: tuple[Any, Any]) -> None:
    here, there = pipe
    process = context.Process(
        target=targets.report, args=(there, 1), kwargs={"a": [2]}, name="worker", daemon=True
    )
    process.start()
    args, kwargs, name, daemon, key, parent, pid = here.recv()
    assert (args, kwargs, name, daemon) == ((1,), {"a": [2]}, "worker", True)
    assert key == bytes(mp.current_process().authkey)
    assert (parent, pid) == (os.getpid(), process.pid)
    assert finish(process) == 0


def test_environment_is_todays(
    context: Any, pipe: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What changed since the fork server started is seen as well."""
    here, there = pipe
    monkeypatch.setenv("ALLCORES_TEST", "today")
    monkeypatch.chdir(tmp_path)
    process = context.Process(target=targets.environment, args=(there,))
    process.start()
    assert here.recv() == ("today", str(tmp_path), sys.argv, 1)
    assert finish(process) == 0


def test_output_goes_where_the_parents_goes_now(
    context: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    process = context.Process(target=print, args=("from the child",))
    process.start()
    assert finish(process) == 0
    assert capfd.readouterr().out == "from the child\n"


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (3, 3), ("text", 1)])
def test_exit_codes(
    context: Any, code: object, expected: int, capfd: pytest.CaptureFixture[str]
) -> None:
    process = context.Process(target=targets.leave, args=(code,))
    process.start()
    assert finish(process) == expected
    assert capfd.readouterr().err == ("text\n" if code == "text" else "")


def test_exception_shows_its_traceback(context: Any, capfd: pytest.CaptureFixture[str]) -> None:
    process = context.Process(target=targets.fail, name="failing")
    process.start()
    assert finish(process) == 1
    shown = capfd.readouterr().err
    assert "Process failing:" in shown
    assert "ValueError: on purpose" in shown


def test_keyboard_interrupt_is_silent(context: Any, capfd: pytest.CaptureFixture[str]) -> None:
    process = context.Process(target=targets.interrupted)
    process.start()
    assert finish(process) == 1
    assert capfd.readouterr().err == ""


def test_each_of_several_threads_that_join_a_process_sees_its_end(context: Any) -> None:
    seen: list[tuple[bool, int]] = []

    def join(process: Any) -> None:
        process.join()
        seen.append((process.is_alive(), process.exitcode))

    for _ in range(10):
        process = context.Process(target=sys.exit, args=(3,))
        process.start()
        threads = [threading.Thread(target=join, args=(process,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [(False, 3)] * 40


@pytest.mark.parametrize(
    ("end", "code"),
    [("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL), ("interrupt", 1)],
)
def test_ending_a_process(
    context: Any,
    pipe: tuple[Any, Any],
    end: str,
    code: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    here, there = pipe
    process = context.Process(target=targets.wait_for_signal, args=(there,))
    assert process not in mp.active_children()
    process.start()
    assert here.recv() == "ready"
    assert process.exitcode is None
    assert process.is_alive()
    assert process in multiprocessing.active_children()
    getattr(process, end)()
    assert finish(process) == code
    assert capfd.readouterr().err == ""


def test_the_childs_default_method(context: Any, pipe: tuple[Any, Any]) -> None:
    here, there = pipe
    standard = multiprocessing.get_start_method(allow_none=True)
    process = context.Process(target=targets.default_method, args=(there,))
    process.start()
    assert here.recv() == (context.get_start_method(), standard)
    assert finish(process) == 0


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
class TestBadArguments:
    def start(self, method: str, **kwargs: Any) -> str:
        process = mp.get_context(method).Process(name="bad", **kwargs)
        if method == "forkserver":
            ensure_running()
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(NotPicklable) as caught:
            process.start()
        assert process.exitcode is None
        assert process.pid is None
        assert process not in mp.active_children()
        assert len(os.listdir("/proc/self/fd")) <= before
        return str(caught.value)

    def test_argument(self, method: str) -> None:
        text = self.start(method, target=print, args=(1, [0, {"k": threading.Lock()}]))
        assert "argument 2 of target 'print' (args[1])" in text
        assert "list index 1, value of 'k'" in text
        assert "allcores.Lock()" in text

    def test_keyword(self, method: str) -> None:
        with open(os.devnull) as file:
            text = self.start(method, target=print, kwargs={"out": file})
        assert "keyword argument 'out' of target 'print'" in text
        assert "open file" in text

    def test_target(self, method: str) -> None:
        lock = threading.Lock()

        def target() -> None:
            lock.acquire()

        text = self.start(method, target=target)
        assert "closure variable 'lock'" in text


def test_a_server_that_was_killed_is_replaced(pipe: tuple[Any, Any]) -> None:
    from allcores.launch.forkserver import _forkserver

    here, there = pipe
    _forkserver.ensure_running()
    killed = _forkserver._forkserver_pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    process = mp.get_context("forkserver").Process(target=targets.report, args=(there,))
    process.start()
    assert here.recv()[-1] == process.pid
    assert finish(process) == 0
    assert _forkserver._forkserver_pid not in (killed, None)


def test_preload_is_validated() -> None:
    with pytest.raises(TypeError):
        mp.set_forkserver_preload([1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="'ignore', 'warn' or 'fail'"):
        mp.set_forkserver_preload([], on_error="x")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_exit_functions_have_what_the_process_has_made(method: str) -> None:
    """It is given back after them: they would write to the memory of others otherwise."""
    context = mp.get_context(method)
    queue = context.Queue()
    process = context.Process(target=targets.change_at_exit, args=(queue,))
    process.start()
    assert finish(process) == 0
    assert queue.get_nowait() == ["own", "at exit"]
