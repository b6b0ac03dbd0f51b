"""`shared_array`: one memory for all processes, for as long as anybody uses it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
from typing import Any

import allcores as mp
import numpy as np
import pytest
from allcores.shared.array import SharedArray
from large_things import live_bytes, meet, same


def _set(array: Any, value: Any) -> None:
    array[...] = value


def _kind(array: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], bool]:
    return type(array).__name__, array.shape, array.strides, array.flags.writeable


@pytest.mark.parametrize(
    ("asked", "dtype", "expected"),
    [
        (3, None, np.zeros(3)),
        ((), "i4", np.zeros((), "i4")),
        (0, None, np.zeros(0)),
        ((2, 3), np.uint8, np.zeros((2, 3), np.uint8)),
        (np.int64(2), bool, np.zeros(2, bool)),
        ([[1, 2], [3, 4]], None, np.array([[1, 2], [3, 4]])),
        (np.arange(6).reshape(2, 3).T, None, np.arange(6).reshape(2, 3).T),
        (np.arange(10)[::3], "f4", np.arange(10, dtype="f4")[::3]),
        ((1.5, 2.5), None, np.array([1.5, 2.5])),
        (2, [("a", "i4"), ("b", "M8[s]")], np.zeros(2, [("a", "i4"), ("b", "M8[s]")])),
        (["one", "three"], None, np.array(["one", "three"])),
    ],
)
def test_shapes_and_contents(asked: Any, dtype: Any, expected: Any) -> None:
    """A shape gives zeros, anything else its own content, with shape, type and order."""
    array = mp.shared_array(asked, dtype)
    assert isinstance(array, np.ndarray)
    assert isinstance(array, SharedArray)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)
    assert array.flags.f_contiguous == np.array(expected, order="K").flags.f_contiguous


def test_everybody_sees_it(pool: Any) -> None:
    """Slices and other views travel as handles too, and keep what they are."""
    array = mp.shared_array((4, 6), "i8")
    pool.apply(_set, (array, 1))
    assert (array == 1).all()
    pool.apply(_set, (array[1:3, ::2], 2))
    assert array[1:3, ::2].sum() == 12
    assert array.sum() == 24 + 6
    pool.apply(_set, (array.T[0], 3))
    assert array[0, 0] == 3
    pool.apply(_set, (array[::-1, ::-1][0, 0:1], 4))
    assert array[3, 5] == 4
    pool.apply(_set, (array.view("u8").reshape(-1)[:1], 5))
    assert array[0, 0] == 5
    part = array[::-2, 1:]
    part.flags.writeable = False
    assert pool.apply(_kind, (part,)) == ("SharedArray", part.shape, part.strides, False)
    back = pool.apply(same, (array,))
    back[2, 2] = 99
    assert array[2, 2] == 99


def test_a_worker_makes_one(pool: Any) -> None:
    """It outlives its maker's hold of it."""
    array = pool.apply(mp.shared_array, ([1, 2, 3],))
    assert list(array) == [1, 2, 3]
    pool.apply(_set, (array, 7))
    assert list(array) == [7, 7, 7]


def test_what_is_computed_is_ordinary() -> None:
    """Results are plain arrays with memory of their own, and are sent as such."""
    array = mp.shared_array(np.arange(20_000.0))
    for result in (array + 1, np.sin(array), array[[1, 2]], array[array > 5], array.sum(axis=0)):
        assert not isinstance(result, SharedArray)
    array += 1
    assert isinstance(array, SharedArray)
    copied = array.copy()
    again = pickle.loads(pickle.dumps(copied))
    again[0] = 50
    assert array[0] == 1
    assert copied[0] == 1
    assert copy.deepcopy(array)[0] == 1
    plain = np.asarray(array)
    assert not isinstance(plain, SharedArray)
    queue = mp.Queue()
    queue.put(plain)
    snapshot = queue.get()
    array[0] = 77
    assert snapshot[0] == 1


def test_its_memory_lives_as_long_as_anybody_uses_it(pool: Any) -> None:
    """A slice keeps all of it, and the last one lets go."""
    # A worker that comes later takes memory of its own.
    pool.map(meet, [mp.Barrier(2)] * 2, 1)
    pool.apply(_set, (mp.shared_array(1), 1))
    before = live_bytes()
    array = mp.shared_array(100_000)
    part = array[5:]
    del array
    assert live_bytes() > before
    pool.apply(_set, (part, 3))
    assert part.sum() == 3 * 99_995
    del part
    while live_bytes() > before:
        pool.apply(same, (1,))


def _fill(array: Any, start: int, stop: int) -> None:
    array[start:stop] = np.arange(start, stop)


def test_processes_fill_it(ctx: Any) -> None:
    """As an argument of processes, under each start method."""
    array = mp.shared_array(1000, "i4")
    children = [ctx.Process(target=_fill, args=(array, i, i + 250)) for i in range(0, 1000, 250)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert (array == np.arange(1000)).all()


@pytest.mark.parametrize(
    ("asked", "dtype", "error", "message"),
    [
        (3, object, TypeError, "Python objects"),
        ([None, "x"], None, TypeError, "Python objects"),
        (-1, None, ValueError, "0 or more"),
        ((2, -2), None, ValueError, "0 or more"),
        (3, "no such type", TypeError, "no such type"),
        (1 << 60, None, MemoryError, "no shared memory left"),
    ],
)
def test_bad_input(asked: Any, dtype: Any, error: type[Exception], message: str) -> None:
    """What can't be shared is an error that says what to do."""
    with pytest.raises(error, match=message):
        mp.shared_array(asked, dtype)


def test_without_numpy() -> None:
    """There is a clear error, and the rest of the package does without."""
    program = """
        import sys
        sys.modules["numpy"] = None
        import allcores as mp
        try:
            mp.shared_array(3)
        except ModuleNotFoundError as error:
            assert "pip install numpy" in str(error), error
        else:
            raise SystemExit("no error")
        assert mp.put([1]).get() == [1]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=150)


@pytest.mark.watchdog(220)
def test_very_many_need_no_descriptors() -> None:
    """100,000 arrays, and as many handles sent, where a process may have 256 open files."""
    program = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        import allcores as mp
        arrays = [mp.shared_array(4, "i4") for _ in range(100_000)]
        def add(some):
            for array in some:
                array += 1
        with mp.Pool(2) as pool:
            pool.map(add, [arrays[i : i + 1000] for i in range(0, 100_000, 1000)])
        assert all(array[3] == 1 for array in arrays)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=200)
