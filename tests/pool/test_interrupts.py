"""Whatever a signal handler raises, and wherever: the pool goes on, and ends."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import allcores
import pytest
from allcores import errors
from pool_tools import eventually


@pytest.fixture
def on_alarm() -> Iterator[Callable[[Any], Any]]:
    """Have something called by SIGALRM."""
    previous = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


class Interrupts:
    """Is interrupted as it is packed."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise KeyboardInterrupt

    def __call__(self, x: int) -> int:
        return x


def test_a_signal_handler_may_make_a_call_while_one_is_waited_for(
    forked: Any, on_alarm: Any
) -> None:
    got: list[int] = []
    on_alarm(lambda *_: got.append(forked.apply(abs, (-7,))))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    forked.apply(time.sleep, (0.5,))
    assert got == [7]


def test_a_signal_handler_may_make_a_call_while_a_map_takes_results(forked: Any) -> None:
    result = forked.map_async(abs, [-1, -2], chunksize=1)
    # What the thread has that was interrupted.
    with forked._line.draining, result._lock:
        assert forked.apply(abs, (-3,)) == 3
    assert result.get() == [1, 2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("waits", [True, False])
def test_a_storm_of_interrupts_leaves_nothing_locked(fork: Any, on_alarm: Any, waits: bool) -> None:
    # (Who takes what workers print doesn't drain between its calls.)
    pool = fork.Pool(2, relay=False)
    pool.apply_async(abs, (-1,)).get()  # what is imported late is, undisturbed
    on_alarm(interrupt)
    results = []
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.002))
            for _ in range(3000):  # an end, where a finalizer was interrupted, which goes unseen
                if waits:
                    pool.apply(abs, (-1,))
                else:
                    results.append(pool.apply_async(abs, (-1,), callback=str))
        except KeyboardInterrupt:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert pool._line.waiting == []
    called: list[int] = []
    pool.apply_async(abs, (-2,), callback=called.append)
    eventually(lambda: called == [2])
    eventually(lambda: all(result.ready() for result in results))
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.append(pool.apply(abs, (-3,))))
    thread.start()
    thread.join()
    assert taken == [3]
    pool.terminate()
    pool.join()


def test_an_interrupt_costs_one_result_at_most(forked: Any) -> None:
    """The next one is off the ring as well when the first is cut short."""
    line = forked._line
    with line.draining:
        first, second = (forked.apply_async(abs, (x,)) for x in (-1, -2))

        def cut(part: int, value: Any) -> None:
            first._ready = True
            raise KeyboardInterrupt

        first._got = cut
        eventually(lambda: line.results.qsize() == 2)
        with pytest.raises(KeyboardInterrupt):
            line.drain(0)
    assert first._job not in line.jobs
    assert second.get() == 2


def test_a_call_that_is_interrupted_as_it_is_made_is_not_waited_for(fork: Any) -> None:
    pool = fork.Pool(1)
    item = Interrupts()
    for make in (
        lambda: pool.apply_async(abs, (item,)),
        lambda: pool.map(abs, [item, item]),
        lambda: pool.imap(abs, [item, item], 2),
        lambda: pool.map(item, [1, 2]),
        lambda: pool.map(item, iter([1, 2])),
        lambda: pool.imap(item, [1, 2]),
    ):
        with pytest.raises(KeyboardInterrupt):
            make()
    pool.close()
    pool.join()
    with allcores.ProcessPoolExecutor(1, fork) as executor:
        assert executor.submit(abs, -1).result() == 1
        with pytest.raises(KeyboardInterrupt):
            executor.submit(abs, item)


def test_the_keeper_gives_up_wanting_to_drain_when_the_pool_ends(fork: Any) -> None:
    """Who drains may be the one that ends it, as its last result lets go of a forgotten pool."""
    pool = fork.Pool(1)
    line, said = pool._line, []

    def want() -> None:
        try:
            with line.alone():
                said.append("alone")
        except errors.TaskCancelled:
            said.append("over")

    with line.draining:
        thread = threading.Thread(target=want)
        thread.start()
        pool.terminate()
        thread.join()
    assert said == ["over"]
    pool.join()
