"""A worker that dies costs the task that it ran, and nothing else."""

from __future__ import annotations

import concurrent.futures.process
import os
import pickle
import resource
import signal
import time
from typing import Any

import allcores
import pytest
from allcores import errors
from allcores.task import work
from pool_tools import eventually


def kill_me(x: int) -> int:
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@pytest.mark.parametrize("size", [None, 1, 3, 20])
def test_the_error_names_the_item_and_the_cause(pool: Any, size: int | None) -> None:
    with pytest.raises(errors.WorkerDied) as caught:
        pool.map(kill_me, range(20), size)
    error = caught.value
    assert error.task_index == 5
    assert error.args_repr == "(5)"
    assert error.exitcode == -signal.SIGKILL
    assert error.signal == "SIGKILL"
    assert isinstance(error.pid, int)
    assert error.oom_killed in (False, None)
    assert isinstance(error, concurrent.futures.process.BrokenProcessPool)
    assert pool.map(kill_me, range(5)) == [0, 1, 2, 3, 4]
    again = pickle.loads(pickle.dumps(error))
    assert (again.task_index, again.pid) == (5, error.pid)


def test_the_memory_that_it_had_is_told(pool: Any) -> None:
    def grow_and_die(size: int) -> None:
        held = b"x" * size
        os.kill(os.getpid(), signal.SIGKILL)
        del held

    with pytest.raises(errors.WorkerDied) as caught:
        pool.apply(grow_and_die, (100 << 20,))
    # (A fork begins with what this process has.)
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert 100 << 20 < caught.value.max_rss < ours + (1 << 30)


def test_the_others_results_arrive(pool: Any) -> None:
    results = [pool.apply_async(kill_me, (x,)) for x in range(20)]
    for x, result in enumerate(results):
        if x == 5:
            with pytest.raises(errors.WorkerDied, match=r"\(5\)"):
                result.get()
        else:
            assert result.get() == x


def test_imap_goes_on_behind_the_death(pool: Any) -> None:
    results = pool.imap(kill_me, range(10))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(errors.WorkerDied):
        next(results)
    assert list(results) == [6, 7, 8, 9]


def test_an_exit_behind_the_interpreters_back_is_a_death(forked: Any) -> None:
    with pytest.raises(errors.WorkerDied, match="exit code 7") as caught:
        forked.starmap(lambda a, b: os._exit(a), [(7, "b")])
    assert (caught.value.exitcode, caught.value.signal) == (7, None)
    assert caught.value.args_repr == "(7, 'b')"


def test_idle_workers_that_are_killed_are_replaced(pool: Any) -> None:
    for _ in range(3):
        pids = pool.map(lambda _: os.getpid(), range(10), 1)
        for worker in list(pool._pool):
            worker.kill()  # (one may be dead already, and just being replaced)
        assert not set(pool.map(lambda _: os.getpid(), range(10), 1)) & set(pids)
        eventually(lambda: len(pool._pool) == 2)


def test_a_running_task_killed_from_outside(pool: Any) -> None:
    gate = allcores.Event()

    def wait(_: int) -> None:
        gate.set()
        time.sleep(60)

    result = pool.map_async(wait, [0])
    gate.wait()
    for worker in list(pool._pool):
        os.kill(worker.pid, signal.SIGTERM)
    with pytest.raises(errors.WorkerDied, match="SIGTERM"):
        result.get()


def test_arguments_whose_repr_fails_do_not_hide_the_death(forked: Any) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise LookupError

    with pytest.raises(errors.WorkerDied, match="Shy"):
        forked.map(lambda _: os._exit(1), [Shy()])


def test_many_deaths_in_a_row(fork: Any) -> None:
    def fate(x: int) -> int:
        if x % 7 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with fork.Pool(3) as pool:
        results = [pool.apply_async(fate, (x,)) for x in range(150)]
        for x, result in enumerate(results):
            if x % 7 == 0:
                with pytest.raises(errors.WorkerDied):
                    result.get()
            else:
                assert result.get() == x


def test_tasks_killed_at_random_all_end(fork: Any) -> None:
    """Whenever a worker is killed, each task gives its result or the error, never silence."""
    with fork.Pool(3) as pool:
        results = [pool.apply_async(abs, (x,)) for x in range(3000)]
        died = 0
        for x, result in enumerate(results):
            workers = list(pool._pool)  # the pool takes the dead out at any time
            if x % 100 == 0 and workers:
                # (Does nothing when the pool has just collected it.)
                workers[x // 100 % len(workers)].kill()
            try:
                assert result.get() == x
            except errors.WorkerDied:
                died += 1
        assert died <= 30
        assert pool.map(abs, range(10)) == list(range(10))


def break_failures() -> None:
    """Make a worker one that has no memory left for an error."""

    def failed(*_: Any) -> None:
        raise MemoryError

    work._Hooks.failed = failed  # type: ignore[assignment]


def test_a_worker_that_can_not_even_send_an_error(
    fork: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its task fails instead of being lost, and the map ends."""
    with fork.Pool(2, break_failures) as pool:
        with pytest.raises(errors.WorkerDied) as caught:
            pool.map(lambda x: 1 / x, [1, 2, 0, 3], 1)
        assert caught.value.task_index == 2
        assert pool.map(abs, [-1, 2]) == [1, 2]
    assert "MemoryError" in capfd.readouterr().err
