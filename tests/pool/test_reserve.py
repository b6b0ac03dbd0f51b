"""Idle workers of a pool that has ended serve the next one, and are as new."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import allcores
import leftovers
import pytest
from allcores.task import between, crew
from allcores.task.reserve import reserve
from pool_tools import eventually, take

kept: Any = None


@pytest.fixture(params=["spawn", "forkserver"])
def ctx(request: pytest.FixtureRequest) -> Any:
    """The start methods under which workers serve again."""
    return allcores.get_context(request.param)


CORES = 2
LONG_S = 600.0


@pytest.fixture(autouse=True)
def both_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late one leaves and the next pool comes, and however few cores the machine has."""
    monkeypatch.setattr(crew, "_PART_S", 60.0)
    monkeypatch.setattr("allcores.task.reserve.IDLE_S", LONG_S)
    monkeypatch.setattr("allcores.task.reserve.cpu_count", lambda: CORES)


def serve(ctx: Any, task: Callable[[], Any] = os.getpid) -> tuple[set[int], Any]:
    """Do a task in a pool of two; return the workers' pids, and what the task returned."""
    with ctx.Pool(2) as pool:
        # Both are there when the pool ends: only idle ones are kept.
        barrier = allcores.Barrier(2)
        pids = set(pool.map(meet, [barrier] * 2, 1))
        return pids, pool.apply(task)


def meet(barrier: Any) -> int:
    between.IDLE_S = LONG_S  # type: ignore[attr-defined]
    barrier.wait()
    return os.getpid()


def test_the_next_pool_has_the_workers_of_the_last(ctx: Any) -> None:
    first, _ = serve(ctx)
    assert len(first) == 2
    assert serve(ctx)[0] == first
    with allcores.ProcessPoolExecutor(2, ctx) as executor:
        assert set(executor.map(meet, [allcores.Barrier(2)] * 2)) <= first
    assert serve(ctx)[0] == first


def test_a_pool_of_forked_workers_has_its_own() -> None:
    fork = allcores.get_context("fork")
    assert not serve(fork)[0] & serve(fork)[0]


def test_the_old_process_objects_have_ended(ctx: Any) -> None:
    pool = ctx.Pool(2)
    workers = list(pool._pool)
    pool.map(meet, [allcores.Barrier(2)] * 2, 1)
    pool.terminate()
    pool.join()
    assert [worker.exitcode for worker in workers] == [-signal.SIGTERM] * 2
    assert not any(worker.is_alive() for worker in workers)
    assert allcores.active_children() == []
    for worker in workers:
        worker.join()
        worker.kill()
        worker.close()
    pool = ctx.Pool(2)
    workers = list(pool._pool)
    pool.close()
    pool.join()
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_worker_that_serves_again_has_the_new_name_and_folder(
    ctx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> tuple[str, str, list[str]]:
        return allcores.current_process().name, os.getcwd(), sys.argv

    pids, before = serve(ctx, look)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["other"])
    again, after = serve(ctx, look)
    assert again == pids
    assert after[0] != before[0]
    assert after[1:] == (str(tmp_path), ["other"])


def test_other_settings_need_other_workers(
    ctx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = serve(ctx)
    monkeypatch.setenv("ALLCORES_TEST", "new")
    second, value = serve(ctx, lambda: os.environ["ALLCORES_TEST"])
    assert value == "new"
    assert not second & first
    monkeypatch.syspath_prepend(str(tmp_path))
    third, path = serve(ctx, lambda: sys.path)
    assert str(tmp_path) in path
    assert not third & (first | second)


def test_output_goes_where_it_goes_now(ctx: Any, tmp_path: Path) -> None:
    serve(ctx)
    saved = os.dup(1)
    with open(tmp_path / "out", "w") as file:
        os.dup2(file.fileno(), 1)
        try:
            serve(ctx, lambda: os.write(1, b"here"))
        finally:
            os.dup2(saved, 1)
            os.close(saved)
    assert (tmp_path / "out").read_text() == "here"


def test_what_tasks_kept_is_gone(ctx: Any) -> None:
    def keep() -> int:
        import test_reserve

        before = between._memory()
        test_reserve.kept = take(300 << 20)
        return before

    def look() -> tuple[Any, int]:
        import test_reserve

        return test_reserve.kept, between._memory()

    # (What a worker begins with depends on what the fork server has been told to import.)
    first, before = serve(ctx, keep)
    second, (found, memory) = serve(ctx, look)
    assert second == first
    assert found is None
    assert memory - before < 200 << 20


def test_random_numbers_are_others(ctx: Any) -> None:
    pids, first = serve(ctx, lambda: random.seed(1) or random.random())
    again, second = serve(ctx, lambda: random.random())  # the worker's, not this process's
    assert again == pids
    random.seed(1)
    assert second not in (first, random.random(), random.random())


def change_folder() -> None:
    os.chdir("/")


def change_environment() -> None:
    os.environ["ALLCORES_TEST"] = "changed"


def handle_a_signal() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)


def start_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def start_a_process() -> None:
    sys.modules["kept process"] = subprocess.Popen(["sleep", "60"])  # type: ignore[assignment]


def silence_warnings() -> None:
    warnings.simplefilter("ignore")


def open_a_file() -> None:
    os.open("/dev/null", os.O_RDONLY)


def change_a_logger() -> None:
    import logging

    logging.getLogger("somebody's").setLevel(logging.ERROR)


def change_the_mask() -> None:
    os.umask(0o077)


def set_an_alarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 1000)


def register_at_exit() -> None:
    import atexit

    atexit.register(lambda: None)


def be_remembered() -> None:
    # By a library that lives on: what the module refers to can't go.
    os.remembered = be_remembered  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change",
    [
        change_folder,
        change_environment,
        handle_a_signal,
        start_a_thread,
        start_a_process,
        silence_warnings,
        open_a_file,
        change_the_mask,
        change_a_logger,
        set_an_alarm,
        register_at_exit,
        be_remembered,
    ],
)
def test_a_worker_that_a_task_has_changed_serves_no_other_pool(change: Any) -> None:
    ctx = allcores.get_context("forkserver")
    changed = []

    def task() -> int:
        change()
        return os.getpid()

    first, pid = serve(ctx, task)
    second, _ = serve(ctx)
    changed.append(pid)
    assert pid not in second
    assert first & second == first - {pid}
    if change is start_a_process:
        eventually(lambda: leftovers.is_zombie(pid))  # then what it started is ours
        for orphan in leftovers.children():
            if "sleep" in leftovers.describe(orphan):
                os.kill(orphan, signal.SIGKILL)


def test_pools_with_an_initializer_or_recycling_have_their_own(ctx: Any) -> None:
    first, _ = serve(ctx)
    for options in ({"initializer": int}, {"maxtasksperchild": 3}):
        with ctx.Pool(1, **options) as pool:
            assert pool.apply(os.getpid) not in first
    assert serve(ctx)[0] == first


def test_a_busy_worker_is_ended(ctx: Any) -> None:
    begun = allcores.Event()

    def task() -> None:
        begun.set()
        time.sleep(60)

    with ctx.Pool(1) as pool:
        pid = pool._pool[0].pid
        pool.apply_async(task)
        begun.wait()
    assert leftovers.is_zombie(pid)


def test_the_death_of_a_waiting_worker_harms_nobody(ctx: Any) -> None:
    first, _ = serve(ctx)
    victim = min(first)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: leftovers.is_zombie(victim))
    second, _ = serve(ctx)
    assert victim not in second
    # It may also die just as it is wanted again.
    for pid in second:
        os.kill(pid, signal.SIGSTOP)
    with ctx.Pool(2) as pool:
        for pid in second:
            os.kill(pid, signal.SIGKILL)
        assert not set(pool.map(meet, [allcores.Barrier(2)] * 2, 1)) & second


def test_waiting_workers_leave_after_a_while(ctx: Any) -> None:
    def hurry() -> None:
        between.IDLE_S = 0.01  # type: ignore[attr-defined]

    with ctx.Pool(1) as pool:
        pool.apply(hurry)
        pid = pool._pool[0].pid
    eventually(lambda: leftovers.is_zombie(pid))
    reserve.tidy()
    with ctx.Pool(1) as pool:
        assert pool.apply(os.getpid) != pid


def test_no_more_wait_than_there_are_cores(ctx: Any) -> None:
    for _ in range(2):
        with ctx.Pool(CORES + 2) as pool:
            pool.map(meet, [allcores.Barrier(CORES + 2)] * (CORES + 2), 1)
    assert len(reserve._parked) <= CORES


def test_a_pool_may_end_while_another_one_looks_for_workers(
    ctx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalizer, or a signal handler, ends it in the same thread."""
    pool = ctx.Pool(1)
    pid = pool.apply(os.getpid)
    tidy, ended = reserve._tidy, []

    def end_meanwhile() -> None:
        if not ended:
            ended.append(pool)
            pool.terminate()
        tidy()

    monkeypatch.setattr(reserve, "_tidy", end_meanwhile)
    with ctx.Pool(1) as other:
        assert other.apply(os.getpid) == pid
    pool.join()


def test_a_fork_of_the_program_leaves_its_workers_alone(ctx: Any) -> None:
    first, _ = serve(ctx)

    def check() -> None:
        assert reserve._parked == []
        assert not serve(ctx)[0] & first

    child = allcores.get_context("fork").Process(target=check)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert serve(ctx)[0] == first


PROGRAM = """
    import os, sys, time, allcores
    with allcores.get_context({method!r}).Pool(2) as pool:
        barrier = allcores.Barrier(3)
        result = pool.map_async(lambda _: barrier.wait(), range(2), 1)
        for worker in pool._pool:
            print(worker.pid)
        barrier.wait()
        result.get()
    print("ready", flush=True)
    {then}
"""


@pytest.mark.parametrize("end", ["exit", "interrupt", "kill", "_exit"])
def test_waiting_workers_end_with_the_program(ctx: Any, end: str) -> None:
    then = {"exit": "", "_exit": "os._exit(0)"}.get(end, "time.sleep(60)")
    program = PROGRAM.format(method=ctx.get_start_method(), then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    pids = []
    for line in process.stdout:
        if line.strip() == "ready":
            break
        pids.append(int(line))
    if end == "interrupt":
        os.killpg(process.pid, signal.SIGINT)
    if end == "kill":
        process.kill()
    _, stderr = process.communicate()
    assert stderr.count("Traceback") == (end == "interrupt")
    assert len(pids) == 2
    if end in ("exit", "interrupt"):
        assert all(leftovers.is_zombie(pid) for pid in pids)
    eventually(lambda: all(leftovers.is_zombie(pid) for pid in pids))
    leftovers.reap_adopted(set(pids))


def draw() -> float:
    import numpy as np

    return float(np.random.default_rng(5).random())


def test_a_worker_that_imported_numpy_serves_again(ctx: Any) -> None:
    pytest.importorskip("numpy")
    first, number = serve(ctx, draw)
    for _ in range(3):
        again, other = serve(ctx, draw)
        assert other == number
        assert len(again & first) >= 1  # the one that had loaded it, or was told to, by now
        first = again
