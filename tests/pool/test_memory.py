"""max_memory: tasks wait until there is room, workers that keep memory go, a breach has a name."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import allcores
import pytest
from allcores import errors, memory
from allcores.task import footprint
from pool_tools import eventually, take

MB = 10**6
_kept: list[bytearray] = []


class Together:
    """Counts how many tasks run at the same time."""

    def __init__(self) -> None:
        self.running = allcores.Value("i", 0)
        self.most = allcores.Value("i", 0)

    def __enter__(self) -> None:
        with self.running.get_lock():
            self.running.value += 1
            self.most.value = max(self.most.value, self.running.value)

    def __exit__(self, *_: object) -> None:
        with self.running.get_lock():
            self.running.value -= 1


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets no core for a while, a worker or who looks at it, changes nothing.

    Else a task that has not taken its memory for a second is one that lasts and needs little, and
    one that was seen only before it took its memory needed less than those before.
    """
    monkeypatch.setattr(footprint, "_RAMP_S", 600.0)
    monkeypatch.setattr(footprint, "_FADE", 0.0)
    monkeypatch.setattr(footprint, "_FADE_UNSEEN", 0.0)


def use(together: Together, size: int, seconds: float = 0.06) -> int:
    """Have memory for a while."""
    with together:
        block = take(size)
        time.sleep(seconds)
        return len(block)


def use_with(together: Together, size: int, others: int) -> int:
    """Have memory until so many others have been seen to have some."""
    with together:
        block = take(size)
        eventually(lambda: together.most.value > others)
        time.sleep(0.1)  # more would begin, if they might
        return len(block)


def keep(size: int) -> int:
    """Keep memory for good."""
    time.sleep(0.01)
    _kept.append(take(size))
    return os.getpid()


# Waiting for room.


@pytest.mark.usefixtures("patient")
def test_tasks_wait_until_there_is_room(ctx: Any) -> None:
    """Tasks of which only one has room go one at a time, from the first one on, and none fails."""
    together = Together()
    with ctx.Pool(3, max_memory=150 * MB) as pool:
        assert pool.starmap(use, [(together, 80 * MB)] * 6, chunksize=1) == [80 * MB] * 6
        assert together.most.value == 1
        # The same in a map without a chunk size, and one by one.
        assert pool.starmap(use, [(together, 80 * MB)] * 3) == [80 * MB] * 3
        results = [pool.apply_async(use, (together, 80 * MB)) for _ in range(4)]
        assert [result.get() for result in results] == [80 * MB] * 4
    pool.join()
    assert together.most.value == 1


@pytest.mark.usefixtures("patient")
def test_a_task_that_ends_while_it_is_looked_at(fork: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the look takes, as the machine is busy: what the task needed is learned."""
    together, looked, pid = Together(), allcores.Event(), allcores.Value("i", 0)
    status = memory.status

    def use_later(size: int) -> int:
        with together:
            pid.value = os.getpid()
            looked.wait()
            block = take(size)
            time.sleep(0.3)
            return len(block)

    def late(of: int) -> memory.Status | None:
        found = status(of)
        if of == pid.value and not looked.is_set():
            looked.set()
            eventually(lambda: any(lease.done for lease in pool._crew._leases.values()))
        return found

    monkeypatch.setattr(memory, "status", late)
    with fork.Pool(2, max_memory=150 * MB) as pool:
        assert pool.map(use_later, [80 * MB] * 4, chunksize=1) == [80 * MB] * 4
    pool.join()
    assert together.most.value == 1


class SlowToUnpack:
    """Is unpacked when an event has been set."""

    def __init__(self, enough: Any) -> None:
        self.enough = enough

    def __call__(self, together: Together, size: int, seconds: float) -> int:
        return use(together, size, seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack_slowly, (self.enough,)


def _unpack_slowly(enough: Any) -> SlowToUnpack:
    enough.wait()
    return SlowToUnpack(enough)


def test_what_a_function_imports_is_no_task_that_lasts(
    fork: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that still imports says nothing about what its task will need."""
    monkeypatch.setattr(footprint, "_RAMP_S", 0.1)
    together, enough, looks = Together(), allcores.Event(), []
    run = footprint.Need.run

    def count(need: footprint.Need, peak: int, now: float, is_loading: bool, worth: float) -> None:
        run(need, peak, now, is_loading, worth)
        looks.extend([now] * is_loading)
        if looks and looks[-1] - looks[0] > 0.5:
            # Far longer than the pool waits for a task that lasts. How soon this one grows from
            # here on, on a busy machine, is another matter.
            monkeypatch.setattr(footprint, "_RAMP_S", 600.0)
            enough.set()

    monkeypatch.setattr(footprint.Need, "run", count)
    with fork.Pool(2, max_memory=150 * MB) as pool:
        calls = [(together, 80 * MB, 0.8), (together, 80 * MB, 0)]
        assert pool.starmap(SlowToUnpack(enough), calls, chunksize=1) == [80 * MB] * 2
    pool.join()
    assert together.most.value == 1


def test_a_task_that_lasts_and_grows_stays_alone() -> None:
    """The time after which others may begin is that in which it neither loads nor grows."""
    need = footprint.Need()
    assert need.at_most(0) == 1
    found = []
    for now, peak, is_loading in (
        (0.0, 10, True), (5.0, 10, True), (5.5, 10, False), (5.9, 20, False),
        (6.8, 31, False), (7.7, 41, False), (7.9, 42, False), (8.8, 42, False),
        (9.8, 44, False), (10.8, 51, False), (11.0, 53, False), (13.1, 53, False),
    ):  # fmt: skip
        need.run(peak, now, is_loading, 10)
        found.append(need.at_most(now))
    assert found == [1] * 8 + [2, 4, 1, 4]
    assert need.size == 53


@pytest.mark.usefixtures("patient")
def test_as_many_as_have_room(fork: Any) -> None:
    """Where there is room for two of three, two run at the same time."""
    together = Together()
    # Each has some ten MB of its own, as a fork of this process.
    with fork.Pool(3, max_memory=320 * MB) as pool:
        assert pool.apply(use_with, (together, 120 * MB, 0)) == 120 * MB
        pool.starmap(use_with, [(together, 120 * MB, 1)] * 8, chunksize=1)
    pool.join()
    assert together.most.value == 2


@pytest.mark.usefixtures("patient")
def test_calls_of_an_executor_wait_too(fork: Any) -> None:
    """Futures' tasks are held back like a pool's."""
    together = Together()
    with allcores.ProcessPoolExecutor(3, fork, max_memory="160 MB") as executor:
        futures = [executor.submit(use, together, 100 * MB) for _ in range(5)]
        assert [future.result() for future in futures] == [100 * MB] * 5
    assert together.most.value == 1


def meet(barrier: Any) -> int:
    barrier.wait()
    return os.getpid()


def test_small_tasks_have_all_workers(ctx: Any) -> None:
    """Tasks that take next to nothing run everywhere, also when the first one lasts."""
    barrier = ctx.Barrier(3)
    with ctx.Pool(3, max_memory="500 MB") as pool:
        # The first of them can't end before all have begun.
        assert len(set(pool.map(meet, [barrier] * 3, chunksize=1))) == 3
        assert len(set(pool.map(meet, [barrier] * 3, chunksize=1))) == 3
        assert pool.map(abs, range(3000), chunksize=1) == list(range(3000))
    pool.join()


def test_what_a_fork_shares_with_its_parent_does_not_count(fork: Any) -> None:
    """Workers forked from a large program have room for tasks."""
    together = Together()
    ours = take(200 * MB)
    with fork.Pool(2, max_memory=250 * MB) as pool:
        assert pool.starmap(use_with, [(together, 10 * MB, 1)] * 2, chunksize=1) == [10 * MB] * 2
    pool.join()
    del ours


def use_until(gate: Any, together: Together, size: int) -> int:
    """Have memory until an event has been set."""
    with together:
        block = take(size)
        gate.wait()
        return len(block)


@pytest.mark.usefixtures("patient")
def test_one_always_goes_on(fork: Any) -> None:
    """When the worker that may take tasks is killed, another may."""
    with fork.Pool(3, max_memory=160 * MB) as pool:
        pool.map(len, [take(20 * MB)])
        together, gate = Together(), allcores.Event()
        calls = [(gate, together, 100 * MB)] * 4
        result = pool.starmap_async(use_until, calls, chunksize=1)
        eventually(lambda: together.running.value == 1)
        # (Another may have taken one as its gate was being closed, and waits with it.)
        ((worker, _, _),) = pool._crew.running()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(errors.WorkerDied):
            result.get()
        gate.set()
        assert pool.starmap(use, [(together, 100 * MB)] * 3, chunksize=1) == [100 * MB] * 3
    pool.join()


@pytest.mark.usefixtures("patient")
def test_the_end_reaches_workers_that_wait(fork: Any) -> None:
    """A closed pool ends although workers are held back, and so does one that recycles them."""
    together = Together()
    pool = fork.Pool(3, maxtasksperchild=1, max_memory=160 * MB)
    result = pool.starmap_async(use, [(together, 100 * MB, 0.02)] * 6, chunksize=1)
    pool.close()
    pool.join()
    assert result.get() == [100 * MB] * 6
    assert together.most.value == 1


# Too much.


def test_a_breach_has_a_name(ctx: Any) -> None:
    """The task of the worker with the most fails with `MemoryLimit`; the pool goes on."""
    together = Together()
    with ctx.Pool(2, max_memory="60 MB") as pool:
        with pytest.raises(errors.MemoryLimit) as caught:
            pool.starmap(use, [(together, 10), (together, 150 * MB, 20)], chunksize=1)
        error = caught.value
        assert isinstance(error, MemoryError)
        assert isinstance(error, errors.AllcoresError)
        assert error.task_index == 1
        assert "150000000" in (error.args_repr or "")
        assert error.limit == 60 * MB
        assert error.memory is not None
        assert error.total is not None
        assert error.total >= error.memory > 30 * MB
        assert "task 1 with" in str(error)
        assert "57 MiB" in str(error)
        assert str(error.pid) in str(error)
        error.__dict__.pop("partial_results", None)
        assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
        assert pool.map(abs, range(20)) == list(range(20))
    pool.join()


def test_the_others_go_on(fork: Any) -> None:
    """Only the task with the most memory fails."""
    together = Together()
    calls = [(together, 5 * MB, 0.02)] * 4 + [(together, 150 * MB, 20)] + [(together, 5 * MB)] * 4
    with fork.Pool(2, max_memory=60 * MB) as pool:
        found = pool.starmap(use, calls, on_error="return")
        assert [type(value).__name__ for value in found] == ["int"] * 4 + ["MemoryLimit"] + [
            "int"
        ] * 4
    pool.join()
    with allcores.ProcessPoolExecutor(2, fork, max_memory=60 * MB) as executor:
        futures = [executor.submit(use, *call) for call in calls]
        assert [type(future.exception()).__name__ for future in futures] == (
            ["NoneType"] * 4 + ["MemoryLimit"] + ["NoneType"] * 4
        )


def use_less_next_time(folder: Path) -> str:
    if not (folder / "once").exists():
        (folder / "once").touch()
        block = take(150 * MB)
        time.sleep(20)
        del block
    return "done"


def test_retries_run_it_again(fork: Any, tmp_path: Path) -> None:
    """A task that was ended for its memory is one that failed."""
    with fork.Pool(2, max_memory=60 * MB) as pool:
        assert pool.map(use_less_next_time, [tmp_path], retries=1) == ["done"]
    pool.join()


# What workers keep.


@pytest.mark.watchdog(180)
def test_workers_that_keep_memory_are_replaced(ctx: Any, capfd: Any) -> None:
    """Workers that keep more and more leave between two tasks, silently."""
    with ctx.Pool(2, max_memory=100 * MB) as pool:
        pids = [pool.apply(keep, (MB,), retries=5) for _ in range(120)]
    pool.join()
    assert len(set(pids)) > 2
    assert capfd.readouterr() == ("", "")


def test_workers_that_keep_memory_in_one_map(fork: Any) -> None:
    """The same while there is always another task."""
    with fork.Pool(2, max_memory=200 * MB) as pool:
        # (Where the one who looks comes late, memory may be over for a moment.)
        pids = pool.map(keep, [MB] * 500, chunksize=1, retries=5)
    pool.join()
    assert len(set(pids)) > 2


_inherited = bytearray()


def overwrite(part: int) -> int:
    """Write to memory that the parent had, which makes it the worker's own."""
    time.sleep(0.01)
    _inherited[part * MB : (part + 1) * MB : 4096] = b"\1" * -(-MB // 4096)
    return os.getpid()


def test_memory_that_becomes_their_own_counts(
    fork: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker inherited is its parent's until one of them writes to it."""
    monkeypatch.setattr(sys.modules[__name__], "_inherited", take(300 * MB))
    with fork.Pool(2, max_memory=100 * MB) as pool:
        pids = [pool.apply(overwrite, (part,), retries=5) for part in range(300)]
    pool.join()
    assert len(set(pids)) > 2
    assert capfd.readouterr() == ("", "")


# Nothing for those who don't ask.


def test_a_pool_without_a_limit_does_not_look(tmp_path: Path) -> None:
    """Without max_memory nothing is imported for it, and no gate is ever closed."""
    program = (
        "import sys, allcores\n"
        "with allcores.get_context('fork').Pool(2) as pool:\n"
        "    pool.map(abs, range(100))\n"
        "    gates = [lease.gate for lease in pool._crew._leases.values()]\n"
        "print(gates, {'allcores.memory', 'allcores.task.watch'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[0, 0] set()", done.stderr


def test_the_keeper_sleeps_when_nothing_runs(fork: Any) -> None:
    """Between calls nobody looks at the workers."""
    with fork.Pool(2, max_memory="1 GB") as pool:
        pool.map(abs, range(10))
        looks = []
        seen = threading.Event()
        watch = pool._crew._watch
        eventually(lambda: watch._idle)
        look = watch._look
        watch._look = lambda now: (looks.append(now), seen.set(), look(now))
        while seen.wait(0.5):  # it may have been about to look once more
            seen.clear()
        pool.map(abs, range(10))
        eventually(lambda: len(looks) > 0)
    pool.join()
