"""The pool's one thread: replaces workers, and delivers results while no caller waits for any.

It sleeps, without waking up in between, as long as there is nothing to do for it: on the workers'
sentinels and on a bell. It knows the rings and the workers, not the pool, so that a forgotten pool
can be collected.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait

from allcores.engines.contract import CLOSE, RUN, TERMINATE
from allcores.task.crew import Crew
from allcores.task.hear import LISTEN_S
from allcores.task.line import SLICE_S, Line

# Should a bell be missed: how long until somebody looks, while something is under way.
_LOOK_S = 1.0
# How long it waits for a caller that drains just now, and how many slices it looks whether
# callers still drain before it trusts them to ring. (Guesses.)
_NEXT_LOOK_S = 0.005
_PATIENCE = 4


class Keeper:
    """The thread.

    Args:
        line: the rings.
        crew: the workers.
        after: called by the thread as it ends, if there is anything to call.
    """

    def __init__(self, line: Line, crew: Crew, after: Callable[[], object] | None = None) -> None:
        self.thread = threading.Thread(
            target=_run, args=(line, crew, after), name="allcores-pool", daemon=True
        )
        line.keeps = True
        try:
            self.thread.start()
        except RuntimeError as error:
            line.keeps = False
            error.add_note(
                "allcores: a pool needs one thread. A limit on processes and threads (ulimit -u, "
                "docker run --pids-limit), on memory (ulimit -v), or a seccomp profile that "
                "forbids clone keeps it from starting"
            )
            raise

    def join(self) -> None:
        """Wait for its end; a call from the thread itself returns at once."""
        if threading.current_thread() is not self.thread:
            self.thread.join()


def _run(line: Line, crew: Crew, after: Callable[[], object] | None) -> None:
    try:
        _keep(line, crew)
    finally:
        line.keeps, line.keeper = False, 0
        line.call_put_by()
        if after is not None:
            after()


def _keep(line: Line, crew: Crew) -> None:
    told = False
    patience = 0

    def look_after() -> None:
        crew.overdue()
        if crew.bury() or len(crew.workers) < crew.size:
            _replace(line, crew, told)

    line.keeper, line.look_after = threading.get_ident(), look_after
    while line.state != TERMINATE:
        try:
            line.call_put_by()
            look_after()
            if line.state == CLOSE and not line.jobs:
                if not told:
                    told = True
                    crew.last_call()
                    for _ in crew.workers:
                        line.post_stop()
                if not crew.workers:
                    return
                if crew.part(SLICE_S, 0):
                    continue
            patience = _work_or_wait(line, crew, patience, told)
        except BaseException:  # a callback may raise anything; the pool needs its keeper
            if line.state == TERMINATE:
                return  # it was pulled away under this thread
            threading.excepthook(
                threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
            )
            wait(crew.sentinels(), _LOOK_S)


def _replace(line: Line, crew: Crew, told: bool) -> None:
    if told or line.state == TERMINATE or line.broken is not None:
        return
    if line.state == RUN or line.jobs:
        crew.fill()


def _work_or_wait(line: Line, crew: Crew, patience: int, told: bool) -> int:
    """Deliver results, or sleep; return how many more times to look before a long sleep."""
    if line.put_by:
        return patience
    if line.jobs and not line.waiting:
        if _has_company(line):
            # A caller that has just taken a result is likely to come for the next one, and
            # does better without a second thread.
            _sleep(line, crew, max(0.0, line.company - time.monotonic()))
            return _PATIENCE
        if line.draining.acquire(False):
            try:
                _drain(line, crew)
            finally:
                line.drained = False
                line.draining.release()
            if line.waiting:
                line.pass_on()
        else:
            _sleep(line, crew, _NEXT_LOOK_S)
        return _PATIENCE
    hearing = line.hearing
    listens = hearing is not None and hearing.listens
    if listens and not line.jobs and line.results.qsize() and line.draining.acquire(False):
        # Threads of idle workers may print, too.
        try:
            line.collect(0)
        finally:
            line.draining.release()
        if line.waiting:
            line.pass_on()
        return _PATIENCE
    if line.jobs and patience:
        _sleep(line, crew, SLICE_S)
        return patience - 1
    line.parked = True
    try:
        # Look again: what was changed before `parked` was seen rang no bell.
        if line.state == TERMINATE or (line.jobs and not line.waiting):
            return _PATIENCE
        if line.state == CLOSE and not line.jobs and not (told and crew.workers):
            return _PATIENCE
        _sleep(line, crew, _LOOK_S if line.jobs else None, listens)
    finally:
        line.parked = False
    return _PATIENCE if line.waiting == [] else 0


def _drain(line: Line, crew: Crew) -> None:
    line.drained = True
    if line.put_by:
        return
    due = crew.overdue()
    if line.drain(line.slice() if due is None else min(due, line.slice())):
        while not (_is_called(line) or crew.overdue() is not None) and line.drain(0):
            pass


def _is_called(line: Line) -> bool:
    return bool(line.put_by) or _has_company(line)


def _has_company(line: Line) -> bool:
    """Tell whether a caller takes results, or did so just now."""
    return bool(line.waiting) or time.monotonic() < line.company


def _sleep(line: Line, crew: Crew, timeout: float | None, listens: bool = False) -> None:
    due = crew.overdue()
    if due is not None:
        timeout = due if timeout is None else min(timeout, due)
    bell = line.bell.fileno()
    news = [*crew.sentinels(), bell]
    if listens and timeout is None:
        # Until an idle worker prints something, that is, one of its threads.
        while not (ready := wait(news, LISTEN_S)) and line.results.qsize() == 0:
            pass
    else:
        ready = wait(news, timeout)
    if bell in ready:
        line.bell.hush()
