"""Whole programs: Ctrl-C in each form and engine, and a program that ends what it forgot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

# The task waits for what never comes, in Python and not in the system's hands: a thread can be
# interrupted there.
CALLS = {
    "map": "mp.map(task, [1, 2], engine={engine!r}, workers=2)",
    "imap": "list(mp.imap(task, [1, 2], engine={engine!r}, workers=2))",
    "amap": "asyncio.run(mp.amap(task, [1, 2], engine={engine!r}, workers=2))",
}
PROGRAM = """
    import asyncio, sys, threading
    import allcores as mp
    began = mp.Event()
    def task(x):
        began.set()
        while True:
            began.wait()
    def tell():
        began.wait()
        print("ready", flush=True)
    threading.Thread(target=tell, daemon=True).start()
    try:
        {call}
    finally:
        print("left", mp.active_children(), flush=True)
"""


@pytest.mark.parametrize("form", CALLS)
@pytest.mark.parametrize("engine", ["processes", "threads", "inline"])
def test_ctrl_c_gives_one_keyboard_interrupt_and_leaves_nothing(engine: str, form: str) -> None:
    if (engine, form) == ("inline", "amap"):
        pytest.skip("asyncio's own handler waits for the loop, which waits for the task")
    call = CALLS[form].format(engine=engine)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM).format(call=call)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate()
    assert stdout == "left []\n"
    assert process.returncode == -signal.SIGINT, stderr
    # asyncio shows what the task was cancelled with as well, in the same traceback.
    assert stderr.count("\nKeyboardInterrupt") == 1, stderr
    assert "Exception ignored" not in stderr
    assert "Exception in thread" not in stderr


def test_a_program_that_never_ends_its_threads_ends() -> None:
    program = """
        import threading
        from allcores.pool import ThreadPool
        began = threading.Event()
        def spin(x):
            began.set()
            while True:
                pass
        pool = ThreadPool(2)
        pool.map_async(spin, [1, 2], timeout=3600)
        results = pool.imap(abs, iter([1, 2]))
        began.wait()
        print(pool._processes)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
