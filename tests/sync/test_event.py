"""Event: who waits goes on when it is set."""

from __future__ import annotations

import os
import re
import threading

import parts
from allcores.sync import Event
from asleep import asleep


def test_a_flag():
    event = Event()
    assert (event.is_set(), event.wait(0), event.wait(0.01), event.wait(-1)) == (False,) * 4
    event.set()
    event.set()
    assert (event.is_set(), event.wait(), event.wait(0)) == (True,) * 3
    assert re.fullmatch(r"<Event at 0x[0-9a-f]+ set>", repr(event))
    event.clear()
    assert not event.is_set()
    assert re.fullmatch(r"<Event at 0x[0-9a-f]+ unset>", repr(event))


def test_all_who_wait_go_on(ctx, start):
    event = Event()
    pipes = [ctx.Pipe() for _ in range(3)]
    for _, there in pipes:
        start(parts.wait_for_event, event, there)
    for here, _ in pipes:
        assert here.recv() == "here"
    event.set()
    assert [here.recv() for here, _ in pipes] == [True] * 3


def test_a_clear_right_behind_the_set_makes_nobody_wait_on():
    for _ in range(50):
        event, seen = Event(), []
        waiting = threading.Thread(target=lambda e=event, s=seen: s.append(e.wait()))
        waiting.start()
        parts.in_time(lambda thread=waiting.native_id: asleep(os.getpid(), thread))
        event.set()
        event.clear()
        waiting.join()
        assert seen == [True]


def test_turns_between_processes(start):
    here, there = Event(), Event()
    child = start(parts.answer_event, there, here, 1000)
    for _ in range(1000):
        there.set()
        assert here.wait()
        here.clear()
    child.join()
    assert child.exitcode == 0


def test_a_killed_waiter_leaves_the_others_alone(ctx, start):
    event = Event()
    pipes = [ctx.Pipe() for _ in range(3)]
    children = [start(parts.wait_for_event, event, there) for _, there in pipes]
    for here, _ in pipes:
        here.recv()
    children[0].kill()
    children[0].join()
    event.set()
    assert [here.recv() for here, _ in pipes[1:]] == [True, True]
