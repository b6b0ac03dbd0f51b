"""How pools start, end and give everything back."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from typing import Any

import allcores
import leftovers
import pytest
from allcores import cpus, errors
from pool_tools import blocks, eventually


def is_running(pid: int) -> bool:
    return not leftovers.is_zombie(pid)


def test_terminate_ends_running_tasks_and_leaves_no_process(ctx: Any) -> None:
    pool = ctx.Pool(2)
    pids = [worker.pid for worker in pool._pool]
    result = pool.map_async(time.sleep, [60] * 10, 1)
    pool.terminate()
    pool.join()
    assert not any(is_running(pid) for pid in pids)
    with pytest.raises(errors.TaskCancelled, match="terminated"):
        result.get()


def test_a_worker_that_ignores_the_polite_end_is_ended(fork: Any) -> None:
    ready = allcores.Event()

    def deaf() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ready.set()
        time.sleep(60)

    with fork.Pool(1) as pool:
        pool.apply_async(deaf)
        ready.wait()
        pid = pool._pool[0].pid
    assert not is_running(pid)


def test_close_and_join_let_the_work_end(ctx: Any) -> None:
    pool = ctx.Pool(2, maxtasksperchild=1)
    results = [pool.apply_async(abs, (-x,)) for x in range(6)]
    pool.close()
    pool.join()
    assert [result.get() for result in results] == list(range(6))


def test_a_fork_of_the_pools_process_cannot_use_it(forked: Any) -> None:
    """Both would take each other's results off the ring."""
    gate = allcores.Event()
    waiting = forked.apply_async(gate.wait)
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (lambda: forked.map(abs, range(10)), waiting.get):
            try:
                use()
            except RuntimeError as error:
                refused += "make another one here" in str(error)
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    gate.set()
    assert waiting.get()
    assert [forked.apply(abs, (-x,)) for x in range(9)] == [*range(9)]


def test_a_call_that_is_being_made_as_another_thread_closes_the_pool_is_refused(
    any_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = any_pool._check

    def close_meanwhile(*args: Any) -> None:
        check(*args)
        any_pool.close()
        any_pool.join()  # nobody would do it

    monkeypatch.setattr(any_pool, "_check", close_meanwhile)
    with pytest.raises(ValueError, match="not running"):
        any_pool.apply(abs, (-1,))
    assert not any_pool._line.jobs


def test_workers_are_replaced_after_their_tasks(fork: Any) -> None:
    with fork.Pool(2, maxtasksperchild=3) as pool:
        pids = pool.map(lambda _: os.getpid(), range(30), 1)
    counts = [pids.count(pid) for pid in set(pids)]
    assert sum(counts) == 30
    assert max(counts) <= 3


def test_the_default_count_is_the_usable_cores(fork: Any) -> None:
    with fork.Pool() as pool:
        assert pool._processes == cpus.cpu_count()


def test_a_forgotten_pool_warns_and_ends(fork: Any) -> None:
    pool = fork.Pool(1)
    pid = pool._pool[0].pid
    gone = weakref.ref(pool)
    kept = [pool]
    del pool
    with pytest.warns(ResourceWarning, match="unclosed running"):
        kept.clear()
    gc.collect()
    assert gone() is None
    eventually(lambda: not is_running(pid))


def test_arguments_and_results_are_let_go(forked: Any) -> None:
    class Thing:
        pass

    things = [Thing() for _ in range(4)]
    references = [weakref.ref(thing) for thing in things]
    assert len(forked.map(lambda thing: 1, things)) == 4
    del things
    # (The keeper, if it brought the results, may be just about to let go of the call.)
    eventually(lambda: gc.collect() >= 0 and not any(reference() for reference in references))


@pytest.mark.parametrize("end", ["join", "terminate", "kill"])
def test_the_arena_gets_everything_back(ctx: Any, end: str) -> None:
    def use() -> None:
        payload = bytes(100_000)
        pool = ctx.Pool(2)
        for _ in range(3):
            assert pool.map(lambda x: payload, range(4), 1) == [payload] * 4
            assert len(list(pool.imap(len, [payload] * 10))) == 10
        if end == "join":
            pool.close()
        else:
            pool.map_async(time.sleep, [60] * 4, 1)
            pool.map_async(len, [payload] * 100, 1)
            if end == "kill":
                os.kill(pool._pool[0].pid, signal.SIGKILL)
            pool.terminate()
        pool.join()

    use()  # what stays for the life of the process comes with the first
    before = blocks()
    use()
    eventually(lambda: blocks() <= before)


def run(program: str, *, interrupt: bool = False, kill: bool = False) -> tuple[int, str, list[int]]:
    """Run a program that prints pids, then "ready"; return its exit code, stderr, the pids."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Ignored, it would be by the program as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    pids = []
    for line in process.stdout:
        if line.strip() == "ready":
            break
        pids.append(int(line))
    if interrupt:
        os.killpg(process.pid, signal.SIGINT)
    if kill:
        process.kill()
    _, stderr = process.communicate()
    return process.returncode, stderr, pids


PROGRAM = """
    import os, time, allcores
    started = allcores.Barrier(3)
    def task(_):
        started.wait()
        time.sleep(60)
    with allcores.get_context({method!r}).Pool(2) as pool:
        for worker in pool._pool:
            print(worker.pid)
        result = pool.map_async(task, range(2), 1)
        started.wait()
        print("ready", flush=True)
        result.get()
"""


def test_ctrl_c_gives_one_keyboard_interrupt_and_leaves_nothing(ctx: Any) -> None:
    code, stderr, pids = run(PROGRAM.format(method=ctx.get_start_method()), interrupt=True)
    assert code == -signal.SIGINT
    assert stderr.count("KeyboardInterrupt") == 1
    assert stderr.count("Traceback") == 1
    assert not any(is_running(pid) for pid in pids)


FORMS = {
    "map": "allcores.map(task, range(20), workers=2, chunksize=1)",
    "imap": "list(allcores.imap(task, range(20), workers=2))",
    "pool": "with allcores.Pool(2) as pool: list(pool.imap_unordered(task, range(20)))",
    "apply": "with allcores.Pool(2) as pool: pool.apply(task, (3,))",
    "threads": 'allcores.map(task, range(20), workers=2, engine="threads")',
    "inline": 'allcores.map(task, range(20), engine="inline")',
    "executor": "with allcores.ProcessPoolExecutor(2) as e: list(e.map(task, range(20)))",
    "submit": "e = allcores.ProcessPoolExecutor(2); "
    "[e.submit(task, x) for x in range(999)][3].result()",
}

ANY_FORM = """
    import sys, time
    import allcores
    allcores.set_start_method({method!r})
    def task(x):
        if x == 3:
            print("ready", flush=True)
        while x >= 3:
            time.sleep(0.01)
    {form}
"""


@pytest.mark.parametrize("form", FORMS)
def test_ctrl_c_ends_every_form_of_call(ctx: Any, form: str) -> None:
    method = ctx.get_start_method()
    code, stderr, _ = run(ANY_FORM.format(method=method, form=FORMS[form]), interrupt=True)
    # `run` returns when every process that had its output has ended.
    assert code == -signal.SIGINT
    assert stderr.count("Traceback") == 1
    assert stderr.rstrip().endswith("KeyboardInterrupt")


def test_workers_leave_when_their_pools_process_is_killed(ctx: Any) -> None:
    _, _, pids = run(PROGRAM.format(method=ctx.get_start_method()), kill=True)
    assert len(pids) == 2
    eventually(lambda: not any(is_running(pid) for pid in pids))
    leftovers.reap_adopted(set(pids))


def test_a_program_that_never_ends_its_pool_ends(ctx: Any) -> None:
    program = f"""
        import allcores
        pool = allcores.get_context({ctx.get_start_method()!r}).Pool(2)
        print(pool.apply(int) + 1)
        print("ready", flush=True)
    """
    code, stderr, _ = run(program)
    assert (code, stderr) == (0, "")
