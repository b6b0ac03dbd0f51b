"""How an executor ends: shut down, forgotten, by hand, or with the program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from allcores.engines.contract import CLOSE, TERMINATE
from allcores.errors import TaskCancelled
from allcores.task.backlog import FutureLine
from allcores.task.crew import Crew
from allcores.task.keeper import Keeper


def end(
    line: FutureLine,
    crew: Crew,
    keeper: Keeper,
    make: Callable[[], BaseException],
    kill: bool,
) -> None:
    """End the workers, and fail every call that has not ended.

    Args:
        line: the executor's rings.
        crew: its workers.
        keeper: its thread.
        make: makes the error of each call.
        kill: rather than ask them to end.
    """
    line.broken = make
    line.shut(TERMINATE)
    # The keeper first, or it would replace the workers that are ended here.
    keeper.join()
    if kill:
        for worker in list(crew.workers):
            worker.kill()
    crew.end()
    line.cancel()
    line.release()


class Ended:
    """Called by the keeper's thread at its end.

    Args:
        line: the rings.
    """

    def __init__(self, line: FutureLine) -> None:
        self.line = line
        self.at_exit: Any = None

    def __call__(self) -> None:
        """Let go of the rings."""
        if self.at_exit is not None:
            self.at_exit.cancel()
        if self.line.state != TERMINATE:  # then who ends the workers does it after that
            self.line.release()


def forget(line: FutureLine) -> None:
    """Let what was submitted be done, for an executor that nobody has any more.

    Args:
        line: its rings.
    """
    line.shut(CLOSE)
    if not line.started:
        line.release()


def finish(line: FutureLine, crew: Crew, keeper: Keeper) -> None:
    """Shut an executor down as the program ends.

    Args:
        line: its rings.
        crew: its workers.
        keeper: its thread.
    """
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1"):
        # That has ended the program: nobody waits for the rest.
        end(line, crew, keeper, lambda: TaskCancelled("the program was interrupted"), kill=True)
        return
    line.shut(CLOSE)
    keeper.join()
