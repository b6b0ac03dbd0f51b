"""Random numbers of seeded calls: the same whoever does the work, and nobody else's are touched."""

from __future__ import annotations

import pickle
import random
import threading
from typing import Any

import allcores
import numpy as np
import pytest
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
    assert not set(python) & set(numpy)


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
    expected = [Seeded(draw, SEED)((i, i)) for i in range(200)]
    found: list[Any] = [None] * 200
    seeded = Seeded(draw, SEED)

    def some(first: int) -> None:
        for i in range(first, 200, 4):
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
    assert SeededStar(draw, SEED)((0, ["x"])) == expected
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
