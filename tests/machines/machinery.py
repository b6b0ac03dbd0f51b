"""What the state machines share: how they run, what values they use, what is the same."""

from __future__ import annotations

import gc
import os
import random
import signal
import struct
from collections.abc import Callable
from typing import Any

import hypothesis
from allcores import _core
from allcores.queues import SimpleQueue
from allcores.shared.nested import NestedDict, NestedList
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

SEED = int(os.environ.get("ALLCORES_TEST_SEED", random.randrange(2**32)))
# Sequences of operations for each machine: `make machines` does more.
EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "20"))
# Shrinking takes longer than the tests' watchdog allows; with this set it goes on to its end.
PHASES = [Phase.generate, *([Phase.shrink] if "MACHINE_SHRINK" in os.environ else [])]

operations = 0


def run(machine: type[RuleBasedStateMachine] | Callable[[], RuleBasedStateMachine]) -> None:
    """Run a machine; a failure shows its steps, and the seed for the same run again."""
    global operations
    operations = 0
    print(f"ALLCORES_TEST_SEED={SEED}")

    def factory() -> RuleBasedStateMachine:
        return machine()

    run_state_machine_as_test(
        hypothesis.seed(SEED)(factory),
        settings=settings(
            max_examples=EXAMPLES,
            phases=PHASES,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{EXAMPLES} sequences, {operations} operations")
    gc.collect()


class Counting(RuleBasedStateMachine):
    """A machine whose operations are counted, and which holds nothing when it is done."""

    def teardown(self) -> None:
        # The latest machines are kept for a while by what made them.
        for name in ("shared", "other", "queue", "model"):
            self.__dict__.pop(name, None)

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        global operations
        operations += 1
        super().check_invariants(*args, **kwargs)


integers = st.integers() | st.sampled_from(
    [0, 2**61 - 1, 2**61, -(2**61), -(2**61) - 1, 2**63 - 1, 2**63, -(2**63), 10**400]
)
floats = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 1.7e308])
# Surrogates as well, which UTF-8 has no place for.
texts = st.text(st.characters(exclude_categories=[])) | st.integers(0, 9000).map(lambda n: "é" * n)
binary = st.binary() | st.integers(0, 90_000).map(bytes)
# Those that are equal to themselves also when they come back as another object.
plain = integers | texts | binary | st.booleans() | st.none() | st.just(...)
scalars = plain | floats | st.complex_numbers()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(plain, inner, max_size=4)
        | st.builds(bytearray, st.binary())
        | st.frozensets(plain, max_size=4)
    ),
    max_leaves=8,
)


def kind(value: Any) -> type:
    """The type, but of a list or a dict in a shared container: that it is one of these."""
    return {NestedList: list, NestedDict: dict}.get(type(value), type(value))


def same(a: Any, b: Any) -> bool:
    """Whether two values are alike in every bit, or are the same shared object."""
    if kind(a) is not kind(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (_core.List, _core.Lock, _core.Ring)):
        return a.handle() == b.handle()
    return bool(a == b)


def outcome(work: Callable[[], Any]) -> Any:
    """What `work` returns, or the type of what it raises."""
    try:
        return work()
    except Exception as error:
        return type(error)


def travelled(thing: Any) -> Any:
    """The same shared object as it arrives somewhere else, here through a queue."""
    queue: SimpleQueue[Any] = SimpleQueue()
    queue.put(thing)
    return queue.get()


def in_child(
    work: Callable[[], None], moment: int, until: Callable[[], None] = lambda: None
) -> None:
    """Do `work` in a child of fork that is killed: after `until` and a moment, or when done."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, b".")
            work()
            # As a kill does: nothing is given back.
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    until()
    for _ in range(moment):
        pass
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL)
    _core.recover()
