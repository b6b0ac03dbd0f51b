"""Random numbers of seeded calls: the same whoever does the work, and nobody else's are touched."""

from __future__ import annotations

import functools
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import allcores
import numpy as np
import pytest
from allcores.errors import NotPicklable, WorkerDied
from allcores.task import seeds
from allcores.task.seeds import Numbered, Seeded, SeededCall, SeededStar

SEED = random.randrange(2**40)
print(f"{__name__}: seed {SEED}")


def draw(x: Any = None) -> tuple[Any, ...]:
    """Return a few numbers of each generator."""
    return (
        x,
        random.random(),
        random.gauss(0, 1),
        float(np.random.random()),
        float(np.random.normal()),
        seeds.task_seed(),
    )


def states() -> tuple[Any, ...]:
    """Return what `random` and `numpy.random` are at, in a form that can be compared."""
    return random.getstate(), pickle.dumps(np.random.get_state(legacy=False))


def over_there(seeded: Seeded) -> Any:
    """Return it as a worker has it."""
    return pickle.loads(pickle.dumps(seeded))


def test_the_numbers_of_a_seed_stay() -> None:
    """Results that somebody has kept can be had again with later versions."""
    seeded = Seeded(draw, 42)
    expected = [
        (0.23248536988804736, 0.3085475648678643, 0.12458988682796246, 2.6623223858671343),
        (0.4119586412842152, -0.05577868684095521, 0.5477634488323275, -2.5891715912506),
        (0.19236363739043605, 1.7785850250720934, 0.6384196238857871, 2.0657612311478952),
    ]
    numbers = [2838000128903442093, 1748968654706647673, 1365439418609364998]
    found = [seeded((i, None))[1:] for i in (0, 1, 2**40)]
    assert [values[:4] for values in found] == [pytest.approx(values) for values in expected]
    assert [values[4] for values in found] == numbers


def test_an_item_has_its_numbers_whatever_ran_before() -> None:
    """They depend on the seed and the index, nothing else; here and in a worker."""
    here, there = Seeded(draw, SEED), over_there(Seeded(draw, SEED))
    forwards = [here((i, i)) for i in range(20)]
    np.random.normal()
    random.gauss(0, 1)
    assert [there((i, i)) for i in reversed(range(20))] == forwards[::-1]
    for column in list(zip(*forwards, strict=True))[1:]:
        assert len(set(column)) == 20
    assert Seeded(draw, SEED + 1)((0, 0)) != forwards[0]
    assert Seeded(draw, -SEED - 1)((0, 0)) != forwards[0]


def test_the_two_generators_have_different_numbers() -> None:
    """Both are Mersenne twisters: one seed for both would give the same numbers twice."""

    def bits(_: Any) -> tuple[list[int], list[int]]:
        return (
            [random.getrandbits(32) for _ in range(700)],
            np.random.randint(0, 2**32, 700, dtype=np.uint32).tolist(),
        )

    python, numpy = Seeded(bits, SEED)((0, None))
    # (Of so many pairs of numbers, one is equal by chance in every ten-thousandth run.)
    assert len(set(python) & set(numpy)) < 5


@pytest.mark.parametrize("new_numpy", [True, False])
@pytest.mark.parametrize("pairs", [False, True])
def test_the_states_outside_are_untouched(
    new_numpy: bool, pairs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's own numbers go on as if nothing had been, after errors as well."""
    if not new_numpy:
        monkeypatch.delattr(np.random, "set_bit_generator")

    def fails(x: Any) -> None:
        draw()
        np.random.seed(1)
        random.seed(1)
        raise KeyError(x)

    if pairs:  # one normal deviate of a pair is left over
        random.gauss(0, 1)
        np.random.normal()
    before = states()
    Seeded(draw, SEED)((3, None))
    assert states() == before
    with pytest.raises(KeyError):
        Seeded(fails, SEED)((3, None))
    assert states() == before


def test_old_numpy_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without set_bit_generator gets its state saved and restored instead."""
    expected = Seeded(draw, SEED)((3, None))
    monkeypatch.delattr(np.random, "set_bit_generator")
    assert Seeded(draw, SEED)((3, None)) == expected


def test_another_bit_generator_of_the_users_stays() -> None:
    """numpy.random may have been given another one than its own."""
    before = np.random.get_bit_generator()
    mine = np.random.PCG64(1)
    np.random.set_bit_generator(mine)
    try:
        state = mine.state
        assert Seeded(draw, 42)((0, None)) == over_there(Seeded(draw, 42))((0, None))
        assert np.random.get_bit_generator() is mine
        assert mine.state == state
    finally:
        np.random.set_bit_generator(before)


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has no numpy, or a broken one, has its `random` seeded all the same."""
    expected = Seeded(lambda _: random.random(), SEED)((0, None))
    monkeypatch.setattr(seeds, "_numpy", None)
    assert Seeded(lambda _: random.random(), SEED)((0, None)) == expected


def test_a_seeded_call_inside_an_item() -> None:
    """It has states of its own, and the item's go on behind it."""

    def outer(inner: Any) -> tuple[Any, ...]:
        first = draw()
        if inner:
            assert Seeded(draw, SEED)((1, None)) == Seeded(draw, SEED)((1, None))
        return first, draw()

    plain, nested = (Seeded(outer, SEED)((0, inner)) for inner in (False, True))
    assert plain == nested


def test_items_in_threads_take_turns() -> None:
    """Two items that run at the same time don't draw from each other's states."""

    def twice(x: int) -> tuple[Any, ...]:
        first = draw(x)
        time.sleep(0.001)  # others run
        return first + draw(x)

    expected = [Seeded(twice, SEED)((i, i)) for i in range(40)]
    found: list[Any] = [None] * 40
    seeded = Seeded(twice, SEED)

    def some(first: int) -> None:
        for i in range(first, 40, 4):
            found[i] = seeded((i, i))

    threads = [threading.Thread(target=some, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_an_item_that_waits_for_seeded_threads_of_its_own() -> None:
    """They don't wait for the item's turn to end, which waits for them."""

    def outer(_: Any) -> list[Any]:
        seeded = Seeded(draw, SEED)
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda i=i: found.append(seeded((i, i)))) for i in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(found)

    assert Seeded(outer, SEED)((0, 0)) == [Seeded(draw, SEED)((i, i)) for i in range(3)]


def test_numbered() -> None:
    """Slices of slices, from behind and beyond the ends too, keep every item's index."""
    for items in (list("abcdefgh"), tuple("abcdefgh"), range(8), np.arange(8)):
        numbered = Numbered(items)
        pairs = list(enumerate(items))
        assert list(numbered) == pairs
        assert list(numbered[2:6][1:3]) == pairs[3:5]
        assert list(numbered[-3:][:2]) == pairs[5:7]
        assert list(numbered[6:99]) == pairs[6:]
        assert numbered[5] == pairs[5]
        assert numbered[2:6][1] == pairs[3]
        assert (len(numbered), len(numbered[2:6])) == (8, 4)
        assert list(pickle.loads(pickle.dumps(numbered[2:6]))) == pairs[2:6]
    assert len(pickle.dumps(Numbered(np.zeros(1000))[:900])) < 8000  # one array, not 900 objects


def test_ways_of_calling() -> None:
    """An item, its parts, or a whole call: the states of one index are the same."""
    expected = Seeded(draw, SEED)((0, "x"))
    assert SeededStar(draw, SEED)(0, ["x"]) == expected
    assert SeededCall(draw, SEED)(x="x") == expected
    assert over_there(SeededCall(draw, SEED))("x") == expected


def test_task_seed() -> None:
    """In a seeded task the item's own number, elsewhere always another one."""
    number = Seeded(lambda _: (seeds.task_seed(), seeds.task_seed()), SEED)((7, None))
    assert number[0] == number[1]
    assert 0 <= number[0] < 2**63
    np.random.default_rng(number[0])
    assert len({allcores.task_seed() for _ in range(100)}) == 100
    assert len({allcores.task_seed() >> 62 for _ in range(100)}) == 2


def test_values_of_seed() -> None:
    """A whole number of any size, or None."""
    assert seeds.check(None) is None
    for good in (0, -1, 2**20_000, -(2**20_000), np.int64(-5)):
        assert seeds.check(good) == good
        assert Seeded(draw, int(good))((0, None)) == Seeded(draw, int(good))((0, None))
    for bad in (True, 1.0, "1", b"1", [1], np.random.SeedSequence(1)):
        with pytest.raises(TypeError, match="seed must be a whole number or None"):
            seeds.check(bad)


# In pools.


def draw_both(x: Any, y: Any) -> tuple[Any, ...]:
    return draw((x, y))


def slow_draw(x: int) -> tuple[Any, ...]:
    """Leave other workers time to take over what is left of the task."""
    first = draw(x)
    time.sleep(0.01 if x < 20 else 0)
    return first + draw()


def fail_once(folder: Path, x: int) -> tuple[Any, ...]:
    numbers = draw(x)
    try:
        (folder / str(x)).touch(exist_ok=False)
    except FileExistsError:
        return numbers
    raise RuntimeError("not yet")


def die(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_with(x: Any, y: Any) -> None:
    die(None)


@pytest.mark.parametrize("size", [None, 1, 3, 100])
def test_every_form_has_the_same_numbers(any_pool: Any, size: int | None) -> None:
    """Whatever the form of the call, the size of its tasks, the start method and the input."""
    pool, here = any_pool, Seeded(draw, SEED)
    expected = [here((i, i)) for i in range(50)]
    for items in (range(50), list(range(50)), (i for i in range(50)), np.arange(50)):
        assert pool.map(draw, items, size, seed=SEED) == expected
    assert pool.map_async(draw, range(50), size, seed=SEED).get() == expected
    assert list(pool.imap(draw, range(50), size or 1, seed=SEED)) == expected
    assert list(pool.imap(draw, iter(range(50)), size or 1, seed=SEED)) == expected
    assert sorted(pool.imap_unordered(draw, range(50), size or 1, seed=SEED)) == expected
    pairs = [((i, -i), *expected[i][1:]) for i in range(50)]
    assert pool.starmap(draw_both, [(i, -i) for i in range(50)], size, seed=SEED) == pairs
    assert pool.starmap(draw_both, ((i, -i) for i in range(50)), size, seed=SEED) == pairs
    assert pool.apply(draw, (0,), seed=SEED) == expected[0]
    assert pool.apply_async(draw, kwds={"x": 0}, seed=SEED).get() == expected[0]


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers(fork: Any, workers: int) -> None:
    """Also when idle workers take over what others have not begun."""
    here = Seeded(slow_draw, SEED)
    expected = [here((i, i)) for i in range(100)]
    with fork.Pool(workers) as pool:
        assert pool.map(slow_draw, range(100), seed=SEED) == expected
        assert pool.map(slow_draw, range(100), 50, seed=SEED) == expected
        assert pool.map(slow_draw, range(100), 50, seed=SEED + 1) != expected


def test_another_try_has_the_same_numbers(forked: Any, tmp_path: Path) -> None:
    func = functools.partial(fail_once, tmp_path)
    here = Seeded(draw, SEED)
    expected = [here((i, i)) for i in range(10)]
    assert forked.map(func, range(10), retries=1, seed=SEED) == expected
    (tmp_path / "imap").mkdir()
    func = functools.partial(fail_once, tmp_path / "imap")
    assert list(forked.imap(func, range(10), retries=1, seed=SEED)) == expected


def test_the_callers_numbers_are_untouched(any_pool: Any) -> None:
    """Also where the calls are made in the caller's own process."""
    random.gauss(0, 1)
    np.random.normal()
    before = states()
    any_pool.map(draw, range(20), seed=SEED)
    list(any_pool.imap(draw, range(20), seed=SEED))
    any_pool.apply(draw, seed=SEED)
    assert states() == before


def test_calls_without_a_seed_afterwards_are_not_seeded(fork: Any) -> None:
    """What a worker draws then doesn't follow from a seed that was used before."""
    seen = []
    for _ in range(2):
        with fork.Pool(1) as pool:
            pool.map(draw, range(5), seed=SEED)
            seen.append(pool.apply(draw))
    for first, second in zip(*seen, strict=True):
        assert first is None or first != second


def test_functions_of_main_and_numpy_first_imported_inside(tmp_path: Path) -> None:
    """The numbers of a numpy that only the function imports are seeded, too."""
    path = tmp_path / "program.py"
    path.write_text(
        "import allcores\n"
        "def draw(x):\n"
        "    import random, numpy\n"
        "    return random.random(), float(numpy.random.random())\n"
        "for method in 'fork', 'spawn', 'forkserver':\n"
        "    with allcores.get_context(method).Pool(2) as pool:\n"
        "        print(pool.map(draw, range(6), 1, seed=42))\n"
    )
    found = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    lines = found.stdout.splitlines()
    assert len(set(lines)) == 1
    assert lines[0].startswith("[(0.23248536988804736, 0.12458988682796246)")


def test_errors_name_what_the_user_gave(forked: Any) -> None:
    """The function and the arguments, not what seeded calls make of them."""
    for call in (
        lambda: forked.map(die, ["item"], seed=SEED),
        lambda: forked.map(die, ["item"], 1, seed=SEED),
        lambda: list(forked.imap(die, ["item"], seed=SEED)),
        lambda: list(forked.imap(die, ["item"], 2, seed=SEED)),
        lambda: forked.apply(die, ("item",), seed=SEED),
    ):
        with pytest.raises(WorkerDied, match=re.escape("task 0 with ('item')")):
            call()
    with pytest.raises(WorkerDied, match=re.escape("task 0 with (1, 2)")):
        forked.starmap(die_with, [(1, 2)], seed=SEED)
    lock = threading.Lock()
    for call in (
        lambda: forked.map(draw, [0, lock], seed=SEED),
        lambda: forked.map(draw, [0, lock], 1, seed=SEED),
        lambda: forked.map(draw, [0, lock], 2, seed=SEED),
        lambda: list(forked.imap(draw, [0, lock], seed=SEED)),
        lambda: list(forked.imap(draw, [0, lock], 2, seed=SEED)),
    ):
        with pytest.raises(NotPicklable, match=r"^can't send item 1 of the input of 'draw' to "):
            call()
    with pytest.raises(NotPicklable, match=r"^can't send item 0 of .* 'draw_both', tuple index 1 "):
        forked.starmap(draw_both, [(0, lock)], seed=SEED)
    with pytest.raises(NotPicklable, match=r"^can't send argument 1 of 'draw' \(args\[0\]\) to "):
        forked.apply(draw, (lock,), seed=SEED)

    def closure(x: Any) -> Any:
        return lock

    with pytest.raises(NotPicklable, match=r"^can't send the function '.*closure', closure var"):
        forked.map(closure, [1], seed=SEED)
    with pytest.raises(TypeError, match="seed must be"):
        forked.map(draw, [1], seed="x")
    with pytest.raises(ZeroDivisionError) as caught:
        forked.map(lambda x: 1 / x, [1, 0], seed=SEED)
    assert "ZeroDivisionError" in str(caught.value.__cause__)
