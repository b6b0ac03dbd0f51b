"""A call is interrupted at each place where the interpreter looks for signals, one after the other.

Nothing stays locked, no call is waited for that will never come, and no count is wrong.
"""

from __future__ import annotations

import opcode
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import allcores
import pytest
from allcores.pool import ThreadPool
from pool_tools import eventually

OURS = str(Path(allcores.__file__).parent)
# After these, CPython handles signals that have come (its macro CHECK_EVAL_BREAKER).
LOOKS = {"RESUME", "JUMP_BACKWARD", "CALL", "CALL_KW", "CALL_FUNCTION_EX"}


class Interrupt:
    """Raises KeyboardInterrupt at the n-th such place in code of ours that this thread comes to.

    Args:
        n: which; from 1.
    """

    def __init__(self, n: int) -> None:
        self._left = n
        self.where: tuple[CodeType, int] | None = None

    def __enter__(self) -> Interrupt:
        # (Python 3.12 looks as tracing begins whether any frame wants to hear of opcodes.)
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._enter)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        sys.settrace(None)
        return kind is KeyboardInterrupt

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        last = ""

        def step(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            if event == "opcode":
                before, last = last, opcode.opname[frame.f_code.co_code[frame.f_lasti]]
                if before in LOOKS:
                    self._left -= 1
                    if self._left == 0:
                        self.where = frame.f_code, frame.f_lineno
                        raise KeyboardInterrupt
            return step

        return step


def try_everywhere(make: Callable[[], object], check: Callable[[], None]) -> int:
    """Interrupt `make` at its first place, at its second, and so on; return how many there are.

    (CPython 3.13.0 traces the opcodes of few functions.)

    Args:
        make: makes a call.
        check: sees whether all is well after that.
    """
    n = 0
    while True:
        n += 1
        interrupt = Interrupt(n)

        def run(interrupt: Interrupt = interrupt) -> None:
            with interrupt:
                make()

        # A thread of its own: what is raised between two instructions of a handler may stay the
        # exception that the thread handles, and keep what its frames refer to.
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if interrupt.where is None:
            return n - 1
        try:
            check()
        except BaseException as error:
            code, line = interrupt.where
            error.add_note(f"after an interrupt in {code.co_qualname}, line {line} (place {n})")
            raise


def goes_on(line: Any, call: Callable[[], Any]) -> None:
    """See that another thread can make a call, and that none is still waited for after it."""
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(call()), daemon=True)
    thread.start()
    eventually(lambda: not thread.is_alive())
    assert got == [3]
    eventually(lambda: not line.jobs)
    assert line.waiting == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_a_pool_goes_on_wherever_a_call_is_interrupted(fork: Any, kind: str) -> None:
    pool = fork.Pool(2) if kind == "processes" else ThreadPool(2)
    forms: dict[str, Callable[[], object]] = {
        "apply": lambda: pool.apply(abs, (-1,)),
        "apply_async": lambda: pool.apply_async(abs, (-1,), callback=str),
        "map": lambda: pool.map(abs, [-1, -2]),
        "map of an iterator": lambda: pool.map(abs, iter([-1, -2])),
        "map_async": lambda: pool.map_async(abs, [-1, -2, -3]),
        "map_async, one by one": lambda: pool.map_async(abs, [-1, -2, -3], 1, str),
        "map_async of nothing": lambda: pool.map_async(abs, [], callback=str),
        "imap": lambda: pool.imap(abs, [-1, -2]),
        "imap_unordered": lambda: list(pool.imap_unordered(abs, [-1, -2])),
    }
    for form in forms.values():
        form()  # what is imported late is, undisturbed
    counts = {
        name: try_everywhere(form, lambda: goes_on(pool._line, lambda: pool.apply(abs, (-3,))))
        for name, form in forms.items()
    }
    assert sum(counts.values()) > 200, counts
    assert pool.map(abs, range(-100, 0)) == list(range(100, 0, -1))
    pool.close()
    pool.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_executor_goes_on_wherever_a_call_is_interrupted(fork: Any) -> None:
    executor = allcores.ProcessPoolExecutor(2, fork)
    forms: dict[str, Callable[[], object]] = {
        "submit": lambda: executor.submit(abs, -1),
        "result": lambda: executor.submit(abs, -1).result(),
        "callback": lambda: executor.submit(abs, -1).add_done_callback(str),
        "map": lambda: list(executor.map(abs, [-1, -2, -3])),
        "map in chunks": lambda: list(executor.map(abs, [-1, -2, -3], chunksize=2)),
    }
    for form in forms.values():
        form()
    counts = {
        name: try_everywhere(
            form, lambda: goes_on(executor._line, lambda: executor.submit(abs, -3).result())
        )
        for name, form in forms.items()
    }
    assert sum(counts.values()) > 100, counts
    executor.shutdown()
