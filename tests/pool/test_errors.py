"""Bad input, and calls that fail: always an error with a name, a message and a traceback."""

from __future__ import annotations

import concurrent.futures.process
import os
import pickle
import signal
import sys
import threading
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback
from typing import Any

import allcores.pool
import pytest
from allcores import errors


class Unsendable:
    def __reduce__(self) -> Any:
        raise OverflowError("too much")


class UnsendableBecause:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error from KeyError("inner")


class Refused:
    def __reduce__(self) -> Any:
        raise errors.NotPicklable("it says so itself")


class Stubborn(Exception):
    """Can't be made again from its arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Attached(Exception):
    """Holds something that can't travel."""

    def __init__(self) -> None:
        super().__init__("attached")
        self.file = open(os.devnull)  # noqa: SIM115


def fail(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


def test_an_exception_comes_home_with_its_traceback(pool: Any) -> None:
    def careless(x: int) -> float:
        return 1 / x  # the line at fault

    for call in (
        lambda: pool.apply(careless, (0,)),
        lambda: pool.map(careless, [1, 0, 1]),
        lambda: pool.starmap_async(careless, [(0,)]).get(),
        lambda: list(pool.imap(careless, [0])),
        lambda: list(pool.imap_unordered(careless, [1, 0], 2)),
    ):
        with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
            call()
        cause = caught.value.__cause__
        assert type(cause) is RemoteTraceback
        assert "in careless" in str(cause)
        assert "task/work.py" not in str(cause)


def test_an_exception_that_does_not_unpickle_is_named(forked: Any) -> None:
    with pytest.raises(errors.TaskFailed, match="1 and 2") as caught:
        forked.apply(fail, (Stubborn, 1, 2))
    assert caught.value.type_name.endswith("Stubborn")
    assert "in fail" in str(caught.value.__cause__)
    assert isinstance(caught.value, MaybeEncodingError)


def test_an_exception_that_does_not_pickle_is_named(forked: Any) -> None:
    with pytest.raises(errors.TaskFailed, match="attached") as caught:
        forked.apply(fail, (Attached,))
    assert "file" in caught.value.exc
    assert "in fail" in str(caught.value.__cause__)


def test_an_exit_is_an_error_of_the_task(forked: Any) -> None:
    pids = {worker.pid for worker in forked._pool}
    with pytest.raises(errors.TaskExited) as caught:
        forked.map(sys.exit, [3])
    assert caught.value.code == 3
    assert isinstance(caught.value, SystemExit)
    assert "sys.exit(3)" in str(caught.value)
    assert forked.map(len, [""] * 50, 1) == [0] * 50
    assert {worker.pid for worker in forked._pool} == pids


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, BaseException])
def test_other_base_exceptions_too(forked: Any, kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        forked.apply(fail, (kind,))
    assert forked.apply(int) == 0


def test_a_result_that_cannot_travel_says_why(pool: Any) -> None:
    with pytest.raises(MaybeEncodingError, match="open file"):
        pool.apply(open, (os.devnull,))
    with pytest.raises(MaybeEncodingError, match="too much"):
        pool.map(lambda _: Unsendable(), [1])
    assert pool.apply(int) == 0


def test_an_argument_that_cannot_travel_is_named(forked: Any) -> None:
    with open(os.devnull) as file:
        with pytest.raises(errors.NotPicklable, match=r"argument 2 of 'print'"):
            forked.apply(print, (1, file))
        with pytest.raises(errors.NotPicklable, match=r"argument 'file' of 'print'"):
            forked.apply(print, (), {"file": file})
        with pytest.raises(errors.NotPicklable, match=r"item 1 of the input of 'print'"):
            forked.map(print, [1, file])
        with pytest.raises(errors.NotPicklable, match=r"<lambda>"):
            forked.map(lambda x: file, [1])
        results = forked.imap(id, [1, file, 2])
        next(results)
        with pytest.raises(errors.NotPicklable):
            next(results)
        next(results)
    with pytest.raises(OverflowError, match="too much"):
        forked.map(id, [Unsendable()])


def test_the_inputs_own_error_comes_out(forked: Any) -> None:
    def numbers() -> Any:
        yield from (1, 2)
        raise LookupError("no more")

    with pytest.raises(LookupError):
        forked.map(abs, numbers())
    results = forked.imap(abs, numbers())
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(LookupError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_a_failing_initializer_fails_every_call(ctx: Any) -> None:
    def broken() -> None:
        raise LookupError("no such thing")

    with ctx.Pool(2, broken) as pool:
        for _ in range(2):
            with pytest.raises(errors.InitializerFailed, match="no such thing") as caught:
                pool.map(abs, range(10))
            cause = caught.value.__cause__
            assert isinstance(cause, LookupError)
            assert "in broken" in str(cause.__cause__)


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_an_initializer_that_ends_its_process_fails_every_call(fork: Any, how: str) -> None:
    def ends() -> None:
        os._exit(1) if how == "exit" else os.kill(os.getpid(), signal.SIGKILL)

    with fork.Pool(2, ends) as pool, pytest.raises(errors.InitializerFailed, match="in a row"):
        pool.apply(int)


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one(fork: Any, count: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        fork.Pool(count)
    with pytest.raises(ValueError, match="positive"):
        fork.Pool(1, maxtasksperchild=count)


@pytest.mark.parametrize("count", ["2", 1.5, [2]])
def test_a_count_that_is_no_number(fork: Any, count: Any) -> None:
    with pytest.raises(TypeError, match="whole number"):
        fork.Pool(count)


def test_bad_arguments_say_what_to_do(forked: Any) -> None:
    for call in (forked.map, forked.imap, forked.imap_unordered, forked.starmap_async):
        with pytest.raises(ValueError, match="1\\+"):
            call(abs, [1], 0)
        with pytest.raises(TypeError, match="func must be"):
            call(3, [1])
        with pytest.raises(TypeError):
            call(abs, 3)
    with pytest.raises(TypeError, match="func must be"):
        forked.apply("abs")
    with pytest.raises(TypeError, match="callback must be"):
        forked.apply_async(abs, (1,), callback=3)
    with pytest.raises(TypeError, match="chunksize"):
        forked.map(abs, [1], "2")
    with pytest.raises(TypeError, match="initializer must be"):
        type(forked)(1, initializer=3)


def test_a_closed_pool_says_so(fork: Any) -> None:
    pool = fork.Pool(1)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    for call in (pool.map, pool.imap, pool.map_async, pool.starmap, pool.imap_unordered):
        with pytest.raises(ValueError, match="Pool not running"):
            call(abs, [1])
    with pytest.raises(ValueError, match="Pool not running"):
        pool.apply(abs, (1,))
    with pytest.raises(ValueError, match="Pool not running"):
        pool.__enter__()
    pool.join()
    pool.terminate()
    pool.join()


class Unreadable:
    """Can't be unpickled: raises, or ends the process."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple[Any, ...]:
        return _unreadable, (self.how,)


def _unreadable(how: str) -> None:
    if how == "exit":
        sys.exit(3)
    raise LookupError("nothing of that name here")


@pytest.mark.parametrize(("how", "name"), [("raise", "LookupError"), ("exit", "SystemExit")])
def test_arguments_that_cannot_be_unpacked(pool: Any, how: str, name: str) -> None:
    for call in (
        lambda: pool.apply(str, (Unreadable(how),)),
        lambda: pool.map(str, [Unreadable(how)]),
        lambda: pool.map(str, [Unreadable(how)], retries=2),
    ):
        with pytest.raises(errors.TaskFailed, match="unpacking the task in the worker") as caught:
            call()
        assert caught.value.type_name == name
        assert isinstance(caught.value, concurrent.futures.process.BrokenProcessPool)
        assert "_unreadable" in str(caught.value.__cause__)
    assert pool.map(abs, [-1]) == [1]


class Untold(Unreadable):
    """As a result: what the worker can send, and this process can't read."""


@pytest.mark.parametrize(("how", "name"), [("raise", "LookupError"), ("exit", "SystemExit")])
def test_results_that_cannot_be_unpacked(forked: Any, how: str, name: str) -> None:
    """A result that raises, or exits, where it is unpickled fails its call and nothing else."""
    for call in (lambda: forked.apply(Untold, (how,)), lambda: forked.map(Untold, [how] * 3)):
        with pytest.raises(errors.TaskFailed, match="can't be unpickled here") as caught:
            call()
        assert caught.value.type_name == name
    assert forked.map(abs, [-1]) == [1]


def interrupts() -> Any:
    return Interrupting()


class Interrupting:
    """Is signalled while it is unpickled, in the process that began the call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.kill, (os.getppid(), signal.SIGUSR1)


def test_an_exit_by_a_signal_while_a_result_is_unpacked_is_the_programs(forked: Any) -> None:
    """A signal handler that calls sys.exit() ends the program, also in the middle of unpickling."""

    def leave(signum: int, frame: Any) -> None:
        sys.exit(7)

    previous = signal.signal(signal.SIGUSR1, leave)
    try:
        with pytest.raises(SystemExit) as caught:
            forked.apply(interrupts)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert caught.value.code == 7
    assert forked.map(abs, [-1]) == [1]


def test_a_result_that_cannot_travel_is_a_pickling_error(forked: Any) -> None:
    with pytest.raises(errors.ResultNotPicklable, match=r"Error sending result.*lock") as caught:
        forked.apply(threading.Lock)
    assert isinstance(caught.value, pickle.PicklingError)
    assert isinstance(caught.value, MaybeEncodingError)


def test_what_is_no_input_is_named(forked: Any) -> None:
    for call, text in (
        (lambda: forked.map(abs, 5), r"iterable must be an iterable of the items, not int \(5\)"),
        (lambda: forked.imap(abs, 5), "iterable must be"),
        (lambda: forked.starmap(abs, [1, 2]), "item of starmap has to be a tuple of arguments"),
        (lambda: forked.apply(abs, 5), "args must be a tuple of the call's arguments"),
        (lambda: forked.apply(abs, (5,), 5), "kwds must be a dict"),
        (lambda: allcores.Pool(1, abs, 5), "initargs must be a tuple"),
        (lambda: allcores.pool.Pool(1, context="fork"), "a context is needed, not str"),
    ):
        with pytest.raises(TypeError, match=text):
            call()


def test_an_error_of_pickling_that_has_a_cause(pool: Any) -> None:
    """The caller gets what was raised, not what that came from, nor what the caller handles."""
    with pytest.raises(OverflowError, match="outer") as caught:
        pool.apply(len, (UnsendableBecause(OverflowError("outer")),))
    assert type(caught.value.__cause__) is KeyError
    with pytest.raises(errors.NotPicklable, match="outer") as refused:
        pool.apply(len, (UnsendableBecause(TypeError("outer")),))
    assert type(refused.value.__cause__) is TypeError
    try:
        raise LookupError("handled")
    except LookupError:
        with pytest.raises(errors.NotPicklable, match="it says so itself"):
            pool.apply(len, (Refused(),))
