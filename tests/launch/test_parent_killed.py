"""When a process is killed, its daemons, its manager and what tasks have started end as well."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

PATIENCE_S = 40
PROGRAM = """
import os, sys, time
import allcores as mp
mp.set_start_method(sys.argv[1])
def tell(queue):
    queue.put(os.getpid())
    time.sleep(100)
def start(queue):
    queue.put(os.getpid())
    child = mp.Process(target=tell, args=(queue,))
    child.start()
    child.join()
queue = mp.Queue()
if sys.argv[2] == "daemon":
    mp.Process(target=tell, args=(queue,), daemon=True).start()
    pids = [queue.get()]
elif sys.argv[2] == "a task's child":
    pool = mp.Pool(1)
    result = pool.apply_async(start, (queue,))
    pids = [queue.get(), queue.get()]
else:
    manager = mp.Manager()
    numbers = manager.dict()
    pids = [manager._process.pid]
print(*pids, flush=True)
time.sleep(100)
"""


@pytest.mark.watchdog(3 * PATIENCE_S)
@pytest.mark.parametrize("what", ["daemon", "a task's child", "manager"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_nothing_outlives_a_killed_parent(method: str, what: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, method, what], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        ends = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
        assert ends
        ended = [_has_ended(end) for end in ends]
        assert all(ended)


def _has_ended(end: int) -> bool:
    """Wait for the end of a process; end it, and return False, when it goes on and on."""
    ready, _, _ = select.select([end], [], [], PATIENCE_S)
    if not ready:
        signal.pidfd_send_signal(end, signal.SIGKILL)
    os.close(end)
    return bool(ready)


@pytest.mark.watchdog(3 * PATIENCE_S)
def test_what_a_task_started_ends_with_its_pool() -> None:
    program = PROGRAM.rpartition("time.sleep")[0] + "sys.stdin.read(); pool.terminate()"
    parent = subprocess.Popen(
        [sys.executable, "-c", program, "forkserver", "a task's child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    with parent, parent.stdout:
        ends = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        parent.stdin.close()
        assert len(ends) == 2
        ended = [_has_ended(end) for end in ends]
        assert all(ended)
