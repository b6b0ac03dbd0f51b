"""What a worker prints, logs and warns reaches the caller; its surroundings reach the worker."""

from __future__ import annotations

import contextlib
import contextvars
import decimal
import io
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import allcores
import pytest
from allcores.errors import WorkerDied
from allcores.pool import ThreadPool

METHODS = ["fork", "spawn", "forkserver"]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
variables: dict[str, contextvars.ContextVar[Any]] = {}


@pytest.fixture(params=METHODS)
def ctx(request: pytest.FixtureRequest) -> Any:
    return allcores.get_context(request.param)


@pytest.fixture(params=METHODS)
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    with allcores.get_context(request.param).Pool(2) as pool:
        yield pool
    pool.join()


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        yield text


def say(text: str) -> str:
    print(text)
    return text


def test_prints_come_to_the_stream_of_the_call(pool: Any) -> None:
    """Each call's prints go where the caller's own would go at the time of the call."""
    with printed() as first:
        assert pool.apply(say, ("one",)) == "one"
    with printed() as second:
        pool.map(say, ["two", "three"])
    assert first.getvalue() == "one\n"
    assert sorted(second.getvalue().split()) == ["three", "two"]


def test_prints_come_in_order_and_before_the_result(pool: Any) -> None:
    """All that a task prints is there, in order, when its result is."""

    def count() -> None:
        for number in range(1000):
            print(number)
        print("end", end="")

    with printed() as text:
        pool.apply(count)
        assert text.getvalue() == "".join(f"{number}\n" for number in range(1000)) + "end"


def test_a_line_is_one_message() -> None:
    """Lines of several workers don't mix, however many parts each is printed in."""

    def line(item: int) -> None:
        for _ in range(50):
            print(*[item] * 20)

    with allcores.Pool(2) as pool, printed() as text:
        pool.map(line, range(2), 1)
    lines = text.getvalue().splitlines()
    assert len(lines) == 100
    assert all(len(set(line.split())) == 1 for line in lines)


def test_much_text(pool: Any) -> None:
    """A text of many megabytes arrives whole, and so do very many lines."""
    with printed() as text:
        pool.apply(print, ("x" * (10 << 20),))
    assert len(text.getvalue()) == (10 << 20) + 1

    def lines() -> None:
        for _ in range(20_000):
            print("a line")

    with printed() as text:
        pool.map(lambda _: lines(), range(2), 1)
    assert text.getvalue().count("a line\n") == 40_000


def test_last_words(pool: Any) -> None:
    """What a worker printed before it was killed is not lost."""

    def die() -> None:
        print("last words")
        os.kill(os.getpid(), signal.SIGKILL)

    with printed() as text, pytest.raises(WorkerDied):
        pool.apply(die)
    assert text.getvalue() == "last words\n"


def test_standard_error_and_other_calls_of_the_stream(pool: Any) -> None:
    """`sys.stderr` is relayed as `sys.stdout` is, and the stream has what a text stream has."""

    def task() -> tuple[Any, ...]:
        sys.stderr.write("oops\n")
        sys.stdout.writelines(["a", "b"])
        sys.stdout.flush()
        return sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.writable()

    with printed() as text, contextlib.redirect_stderr(io.StringIO()) as errors:
        _, _, writable = pool.apply(task)
    assert (text.getvalue(), errors.getvalue(), writable) == ("ab", "oops\n", True)


def test_an_initializer_prints(ctx: Any) -> None:
    """What initializers print and log comes as well."""
    with printed() as text, ctx.Pool(2, print, ("ready",)) as pool:
        pool.close()
        pool.join()
        assert text.getvalue() == "ready\n" * 2


def test_a_thread_of_an_idle_worker_prints(ctx: Any) -> None:
    """A thread that a task has left behind is heard though nobody makes a call."""

    def later(event: Any) -> None:
        threading.Thread(target=lambda: (event.wait(), print("later")), daemon=True).start()

    event = ctx.Event()
    with printed() as text, ctx.Pool(1) as pool:
        pool.apply(later, (event,))
        event.set()
        while "later\n" not in text.getvalue():
            time.sleep(0.01)


def test_a_child_of_a_task_prints_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """A plain process that a task starts writes to the descriptor, as documented."""

    def task() -> None:
        child = allcores.get_context("fork").Process(target=print, args=("child",))
        child.start()
        child.join()

    with allcores.get_context("forkserver").Pool(1) as pool, printed() as text:
        pool.apply(task)
    assert text.getvalue() == ""
    assert "child" in capfd.readouterr().out


def test_off(ctx: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """With relay=False a worker writes where it always did, and nothing goes with a task."""
    token = variable.set("set")
    try:
        with ctx.Pool(1, relay=False) as pool, printed() as text:
            pool.apply(os.write, (1, b"direct\n"))
            if ctx.get_start_method() != "fork":  # there, both were inherited
                pool.apply(say, ("mine",))
                assert pool.apply(variable.get) == "unset"
                pool.apply(_flush)
            pool.close()
            pool.join()
    finally:
        variable.reset(token)
    assert text.getvalue() == ""
    out = capfd.readouterr().out
    assert "direct" in out
    assert ("mine" in out) == (ctx.get_start_method() != "fork")


def _flush() -> None:
    sys.stdout.flush()


def test_an_executor_relays(ctx: Any) -> None:
    """An executor's calls are relayed as those of a pool, whoever waits for them."""
    with allcores.ProcessPoolExecutor(2, ctx) as executor, printed() as text:
        futures = [executor.submit(say, str(number)) for number in range(20)]
        assert [future.result() for future in futures] == [str(n) for n in range(20)]
    assert sorted(text.getvalue().split(), key=int) == [str(n) for n in range(20)]


# Logging.


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    handler = Records()
    logger = logging.getLogger("relayed")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.records
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def log() -> None:
    logger = logging.getLogger("relayed.part")
    logger.debug("not wanted")
    logger.info("hello %s", "there")
    try:
        raise ValueError("wrong")
    except ValueError:
        logger.exception("caught", extra={"lock": threading.Lock(), "number": 3})


def test_records_reach_the_handlers_here(ctx: Any, records: list[logging.LogRecord]) -> None:
    """A handler gets a worker's records once, at this process's levels, with the worker's name."""
    with ctx.Pool(1) as pool:
        pool.apply(log)
        name = pool._pool[0].name
        pid = pool._pool[0].pid
    assert [record.getMessage() for record in records] == ["hello there", "caught"]
    assert {(record.processName, record.process) for record in records} == {(name, pid)}
    text = logging.Formatter().format(records[1])
    assert "ValueError: wrong" in text
    assert records[1].number == 3  # type: ignore[attr-defined]


def configure() -> None:
    handler = logging.FileHandler(os.environ["RELAY_TEST_FILE"])
    logging.basicConfig(handlers=[handler], level=logging.INFO, format="mine %(message)s")


def test_a_worker_that_configures_logging_keeps_its_records(
    ctx: Any, records: list[logging.LogRecord], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an initializer's basicConfig says is done there, and nothing comes twice."""
    monkeypatch.setenv("RELAY_TEST_FILE", str(tmp_path / "log"))
    with ctx.Pool(1, configure) as pool:
        pool.apply(log)
    assert records == []
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if line.startswith("mine")] == [
        "mine hello there",
        "mine caught",
    ]


# Warnings.


def warn() -> int:
    warnings.warn("beware", UserWarning, stacklevel=1)
    return 1


def test_warnings_are_shown_here(pool: Any) -> None:
    """A warning of a worker is shown by this process, so it can be recorded here."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        pool.apply(warn)
    (entry,) = found
    assert (str(entry.message), entry.category) == ("beware", UserWarning)
    assert entry.filename.endswith("test_relay.py")


def test_filters_go_with_the_call(pool: Any) -> None:
    """Filters of warnings are those of the caller at the time of the call."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="beware"):
            pool.apply(warn)
        warnings.simplefilter("ignore")
        assert pool.map(lambda _: warn(), range(3)) == [1, 1, 1]


# Context variables.


def test_context_variables_go_with_the_call(pool: Any) -> None:
    """A variable has the caller's value, and none of what an earlier task made of it."""

    def task(_: int) -> str:
        value = variable.get()
        variable.set("of a task")
        return value

    assert pool.apply(variable.get) == "unset"
    token = variable.set("set")
    try:
        assert pool.map(task, range(4)) == ["set"] * 4
        assert pool.apply(variable.get) == "set"
        assert list(pool.imap(task, range(4))) == ["set"] * 4
        assert pool.map(task, range(4), seed=1) == ["set"] * 4
    finally:
        variable.reset(token)
    assert pool.apply(variable.get) == "unset"


def test_a_value_that_can_not_travel_stays(pool: Any) -> None:
    """A variable whose value can't be pickled is left out, and the call goes on."""
    token = variable.set(threading.Lock())  # type: ignore[arg-type]
    try:
        assert pool.apply(variable.get) == "unset"
    finally:
        variable.reset(token)


def test_a_value_that_holds_a_descriptor_costs_none(pool: Any) -> None:
    """An event loop or a socket, which can travel by a duplicate only, is left out untouched."""
    with socket.socket() as value:
        token = variable.set(value)  # type: ignore[arg-type]
        try:
            assert pool.apply(variable.get) == "unset"
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(50):
                pool.apply(abs, (1,))
            assert len(os.listdir("/proc/self/fd")) < before + 50
        finally:
            variable.reset(token)


def in_dict() -> Any:
    return {name: found.get(None) for name, found in variables.items()}


def test_variables_in_a_dict(pool: Any) -> None:
    """Variables that a module keeps in a dict, as structlog does, are made where missing."""
    variables["user"] = made = contextvars.ContextVar("user")
    token = made.set([1, 2])
    try:
        assert pool.apply(in_dict)["user"] == [1, 2]
    finally:
        made.reset(token)
        variables.clear()


def test_decimal(pool: Any) -> None:
    """The context of `decimal` goes along where it is not the usual one."""
    with decimal.localcontext() as context:
        context.prec = 5
        assert str(pool.apply(_third)) == "0.33333"
    assert len(str(pool.apply(_third))) > 7


def _third() -> decimal.Decimal:
    return decimal.Decimal(1) / 3


def test_threads_have_the_context() -> None:
    """Threads make calls in the context of the caller, too."""
    token = variable.set("set")
    try:
        with ThreadPool(2) as pool:
            assert pool.map(lambda _: variable.get(), range(4)) == ["set"] * 4
    finally:
        variable.reset(token)
