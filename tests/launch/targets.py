"""Functions for children of the tests, in a module that children can import."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from typing import Any

import allcores as mp


def report(conn: Any, *args: Any, **kwargs: Any) -> None:
    me = mp.current_process()
    parent = mp.parent_process()
    assert parent is not None
    conn.send((args, kwargs, me.name, me.daemon, bytes(me.authkey), parent.pid, os.getpid()))


def environment(conn: Any) -> None:
    conn.send((os.environ.get("ALLCORES_TEST"), os.getcwd(), sys.argv, threading.active_count()))


def leave(code: object) -> None:
    sys.exit(code)  # type: ignore[arg-type]


def fail() -> None:
    raise ValueError("on purpose")


def interrupted() -> None:
    raise KeyboardInterrupt


def wait_for_signal(conn: Any) -> None:
    conn.send("ready")
    # Not pause(): it would sleep on when the signal comes right before it.
    while True:
        time.sleep(0.1)


def default_method(conn: Any) -> None:
    import multiprocessing

    conn.send((mp.get_start_method(), multiprocessing.get_start_method(allow_none=True)))


def change_at_exit(queue: Any) -> None:
    own = mp.shared.list(["own"])

    def change() -> None:
        own.append("at exit")
        queue.put(own)

    atexit.register(change)
