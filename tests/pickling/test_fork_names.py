"""What existed at a fork travels by name, whichever worker it was and whenever it was forked."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import threading
import allcores as mp

ctx = mp.get_context("fork")

def serve(conn):
    while (task := conn.recv()) is not None:
        conn.send(task[0](*task[1:]))

class Worker:
    def __init__(self):
        self.conn, there = ctx.Pipe()
        self.process = ctx.Process(target=serve, args=(there,), daemon=True)
        self.process.start()
    def __call__(self, *task):
        self.conn.send(task)
        return self.conn.recv()

class Counter:
    def __init__(self):
        self.n = 0

class Stuck:
    lock = threading.Lock()          # nobody can pickle this class
    def hello(self):
        return "hello"

def set_state(value):
    global state
    state = value

def get_state():
    return state

def with_lock(lock=threading.Lock()):    # nor this function
    with lock:
        return "locked"

def grow():
    items.append(1)
    return len(items)

def version():
    return 1

state = "first"
items = []
lock = threading.Lock()

one = Worker()
one(set_state, "one's")
late = 1
two = Worker()
two(set_state, "two's")

assert (one(get_state), two(get_state)) == ("one's", "two's")
assert (one(with_lock), two(with_lock)) == ("locked", "locked")
assert one(Stuck().hello) == "hello"
assert one(lambda: lock.locked()) is False
assert [one(grow), one(grow), two(grow)] == [1, 2, 1] and items == []
assert one(lambda: late) == 1          # came after its fork
late = 2
assert (one(lambda: late), two(lambda: late)) == (2, 2)
state = "second"                       # a change here reaches them
assert (one(get_state), two(get_state)) == ("second", "second")
one(set_state, "mine")                 # and what they set stays
assert (one(get_state), two(get_state)) == ("mine", "second")

def version():
    return 2

assert (one(version), two(version), one(lambda: version())) == (2, 2, 2)
assert type(two(Counter)) is Counter

def child_of_child():
    inner = Worker()
    return inner(get_state), inner(version)

mp.current_process()._config["daemon"] = False
for worker in (one, two):
    worker.conn.send(None)
    worker.process.join()

class Plain(Worker):
    def __init__(self):
        self.conn, there = ctx.Pipe()
        self.process = ctx.Process(target=serve, args=(there,))
        self.process.start()

def grandchild(f):
    inner = Plain()
    answer = inner(get_state), inner(version), inner(f, 3)
    inner.conn.send(None)
    inner.process.join()
    return answer

three = Plain()
assert three(grandchild, lambda x: x * late) == ("second", 2, 6)
three.conn.send(None)
three.process.join()

try:
    mp.get_context("spawn").Process(target=with_lock).start()
except mp.errors.NotPicklable as error:
    assert "target 'with_lock'" in str(error), error
    print("done")
"""


def test_names_at_fork() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1:] == ["done"]
