"""The ends of an executor: asked for, forgotten, forced, and with the program."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import allcores
import pytest
from allcores import errors


def square(x: int) -> int:
    return x * x


def pid_of(x: int) -> tuple[int, int]:
    return x, os.getpid()


def ended(workers: list[Any]) -> bool:
    for worker in workers:
        worker.join()
    return not any(worker.is_alive() for worker in workers)


def test_the_with_block_waits_and_nothing_is_taken_after_it(ctx: Any) -> None:
    with allcores.ProcessPoolExecutor(2, ctx) as executor:
        futures = [executor.submit(square, x) for x in range(2000)]
        workers = list(executor._processes.values())
    assert ended(workers)
    assert [future.result() for future in futures] == [x * x for x in range(2000)]
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(square, 1)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(square, [1])
    executor.shutdown()


def test_one_without_calls_starts_nothing_and_ends() -> None:
    with allcores.ProcessPoolExecutor(2) as executor:
        assert executor._processes == {}
    executor.shutdown(cancel_futures=True)
    executor.terminate_workers()
    forgotten = allcores.ProcessPoolExecutor(2)
    del forgotten


def test_without_waiting_the_rest_is_still_done(fork: Any) -> None:
    executor = allcores.ProcessPoolExecutor(2, fork)
    futures = [executor.submit(square, x) for x in range(2000)]
    executor.shutdown(wait=False)
    assert [future.result() for future in futures] == [x * x for x in range(2000)]
    executor.shutdown()


def test_cancel_futures(busy: Any) -> None:
    futures = [busy.submit(square, x) for x in range(2000)]
    busy.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert not any(future.done() for future in busy.begun)
    busy.gate.set()
    assert all(future.result() for future in busy.begun)


def test_a_forgotten_executor_does_its_work_and_ends(fork: Any) -> None:
    executor = allcores.ProcessPoolExecutor(2, fork)
    futures = [executor.submit(square, x) for x in range(2000)]
    workers = list(executor._processes.values())
    del executor
    gc.collect()
    assert [future.result() for future in futures] == [x * x for x in range(2000)]
    assert ended(workers)


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_workers_are_ended(busy: Any, how: str) -> None:
    futures = [busy.submit(square, x) for x in range(2000)]
    workers = list(busy._processes.values())
    getattr(busy, how)()
    assert ended(workers)
    for future in [*busy.begun, *futures]:
        error = future.exception()
        assert isinstance(error, BrokenProcessPool)
        assert isinstance(error, errors.WorkersEnded)
    with pytest.raises(RuntimeError):
        busy.submit(square, 1)
    getattr(busy, how)()


def test_a_thread_that_waits_is_told(busy: Any) -> None:
    caught: list[Any] = []
    thread = threading.Thread(target=lambda: caught.append(busy.begun[0].exception()))
    thread.start()
    busy.kill_workers()
    thread.join()
    assert [type(error) for error in caught] == [errors.WorkersEnded]


def test_workers_are_replaced_after_so_many_calls(ctx: Any) -> None:
    if ctx.get_start_method() == "fork":
        with pytest.raises(ValueError, match="incompatible with the start method fork"):
            allcores.ProcessPoolExecutor(1, ctx, max_tasks_per_child=3)
        return
    with allcores.ProcessPoolExecutor(1, ctx, max_tasks_per_child=3) as executor:
        pids = [executor.submit(pid_of, x).result()[1] for x in range(9)]
    assert len(set(pids)) == 3
    assert pids[0] == pids[2] != pids[3]


def test_killed_workers_cost_the_calls_that_they_ran_and_no_others(fork: Any) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    victims = set(chance.sample(range(2000), 25))

    def maybe_die(x: int) -> int:
        if x in victims:
            os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    with allcores.ProcessPoolExecutor(2, fork) as executor:
        futures = [executor.submit(maybe_die, x) for x in range(2000)]
        failed = {x for x, future in enumerate(futures) if future.exception() is not None}
        assert all(isinstance(futures[x].exception(), errors.WorkerDied) for x in failed)
    assert failed == victims
    assert all(futures[x].result() == x * x for x in range(2000) if x not in failed)


def test_workers_killed_from_outside_cost_at_most_one_call_each(fork: Any) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    kills = 0
    with allcores.ProcessPoolExecutor(2, fork) as executor:
        futures = []
        for x in range(2000):
            futures.append(executor.submit(square, x))
            if x % 200 == 100:
                workers = list(executor._processes.values())
                if workers:  # none for the moment in which both are being replaced
                    chance.choice(workers).kill()
                    kills += 1
        failed = [future for future in futures if future.exception() is not None]
    assert len(failed) <= kills
    assert kills
    assert all(isinstance(future.exception(), errors.WorkerDied) for future in failed)
    assert all(f.result() == x * x for x, f in enumerate(futures) if f not in failed)


def test_a_fork_cannot_use_it(executor: Any) -> None:
    future = executor.submit(square, 3)
    future.result()
    child = os.fork()
    if child == 0:
        try:
            executor.submit(square, 1)
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert executor.submit(square, 4).result() == 16


def test_an_executor_in_a_task_of_an_executor(executor: Any) -> None:
    def inner(x: int) -> list[int]:
        inside = allcores.ProcessPoolExecutor(2, allcores.get_context("fork"))
        return list(inside.map(square, range(x)))  # not shut down: it ends with the worker

    assert list(executor.map(inner, [2, 3])) == [[0, 1], [0, 1, 4]]


PROGRAM = """
import os
import time
import allcores

def slow(x):
    time.sleep(0.05)
    os.write(1, b"done %d\\n" % x)  # in one piece, as both workers write

executor = allcores.ProcessPoolExecutor(2, allcores.get_context("METHOD"))
for x in range(6):
    executor.submit(slow, x)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_end_of_the_program_waits(method: str) -> None:
    program = PROGRAM.replace("METHOD", method)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=150
    )
    assert run.stderr == ""
    assert sorted(run.stdout.split("\n")[:-1]) == [f"done {x}" for x in range(6)]
    assert run.returncode == 0


def test_cancelled_means_cancelled(busy: Any) -> None:
    future = busy.submit(square, 1)
    busy.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        future.result()


def test_a_call_at_the_interpreters_end_is_refused(ctx: Any) -> None:
    program = f"""
import atexit
import allcores

@atexit.register
def late():
    try:
        executor.submit(abs, -1)
    except RuntimeError as error:
        print(error)

executor = allcores.ProcessPoolExecutor(1, allcores.get_context({ctx.get_start_method()!r}))
print(executor.submit(abs, -1).result())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == ""
    assert "cannot schedule new futures" in done.stdout.splitlines()[1]


def test_cancelling_leaves_what_idle_workers_are_about_to_take(ctx: Any) -> None:
    """Right after the first submit no call has begun: one for each worker is made all the same."""
    executor = allcores.ProcessPoolExecutor(2, ctx)
    futures = [executor.submit(square, x) for x in range(50)]
    executor.shutdown(cancel_futures=True)
    made = [future for future in futures if not future.cancelled()]
    assert made
    assert all(future.done() for future in futures)
    assert [future.result() for future in made] == [x * x for x in range(len(made))]


def test_terminating_a_worker_by_hand_ends_the_executor(busy: Any) -> None:
    """As the standard library's: all calls fail, and no more are taken. Workers aren't replaced."""
    waiting = busy.submit(square, 2)
    workers = list(busy._processes.values())
    workers[0].terminate()
    for future in [*busy.begun, waiting]:
        with pytest.raises(BrokenProcessPool, match="by hand"):
            future.result()
    with pytest.raises(BrokenProcessPool):
        busy.submit(square, 3)
    assert busy._broken
    assert ended(workers)
    for worker in workers:
        worker.terminate()


def test_what_can_be_asked_of_a_worker_is_its_processes(busy: Any) -> None:
    for pid, worker in busy._processes.items():
        assert worker.pid == pid
        assert worker.is_alive()
        assert worker.sentinel > 0
        assert "ForkPoolWorker" in repr(worker) or "Process" in repr(worker)


def test_nothing_is_taken_while_the_shutdown_cancels_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call taken then could come behind the last word to the workers, and wait for ever."""
    executor = allcores.ProcessPoolExecutor(1)
    executor.submit(square, 1).result()
    raised: list[BaseException] = []

    def submit_meanwhile(workers: int) -> None:
        try:
            executor.submit(square, 2)
        except RuntimeError as error:
            raised.append(error)

    monkeypatch.setattr(executor._line, "cancel_pending", submit_meanwhile)
    executor.shutdown(cancel_futures=True)
    assert len(raised) == 1
