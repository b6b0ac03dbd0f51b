"""A function travels once to each worker, as long as it is the same; and never an old one."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from allcores import errors
from pool_tools import blocks, eventually


class Counted:
    """Notes each time that it is unpacked, in its process."""

    unpacked = 0

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (self.data,)


def _unpack(data: bytes) -> Counted:
    Counted.unpacked += 1
    return Counted(data)


def times_unpacked(_: object) -> tuple[int, int]:
    return os.getpid(), Counted.unpacked


@pytest.mark.parametrize("form", ["map", "imap", "apply", "apply_async"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_content_that_stays_is_unpacked_once(ctx: Any, form: str, size: int) -> None:
    big = Counted(b"x" * size)

    def use(x: int) -> int:
        return len(big.data) + x

    with ctx.Pool(2) as pool:
        for _ in range(5):
            if form == "apply":
                assert [pool.apply(use, (x,)) for x in range(5)] == [size + x for x in range(5)]
            elif form == "apply_async":
                results = [pool.apply_async(use, (x,)) for x in range(5)]
                assert [result.get() for result in results] == [size + x for x in range(5)]
            else:
                found = list(getattr(pool, form)(use, range(5)))
                assert found == [size + x for x in range(5)]
        seen = dict(pool.map(times_unpacked, range(50), 1))
    pool.join()
    # One of a single call is remembered from the second time on.
    assert max(seen.values()) <= (1 if form in ("map", "imap") else 2)


def test_content_that_changes_is_sent_again(pool: Any) -> None:
    box = [1]

    def use(x: int) -> int:
        return box[0] * x

    for factor in (1, 2, 1, 3, 3, 1):
        box[0] = factor
        assert pool.map(use, range(5)) == [factor * x for x in range(5)]
        assert pool.apply(use, (7,)) == factor * 7


def test_many_functions_in_turn(forked: Any) -> None:
    def adder(number: int) -> Any:
        return lambda x: x + number

    functions = [adder(n) for n in range(20)]
    for _ in range(3):
        for number, function in enumerate(functions):
            assert forked.map(function, range(3)) == [number, number + 1, number + 2]
            assert forked.apply(function, (1,)) == number + 1


def is_all_right(folder: Path, program: str) -> None:
    """Run a program, which has to print that all is right, and nothing else."""
    import subprocess

    file = folder / "program.py"
    file.write_text(textwrap.dedent(program))
    found = subprocess.run([sys.executable, file], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("all right\n", "")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_globals_of_main_are_those_of_the_call(method: str, tmp_path: Path) -> None:
    program = f"""
        import allcores as mp
        ctx = mp.get_context({method!r})
        factor = 1
        def use(x):
            return factor * x
        other = lambda x: -factor * x
        with ctx.Pool(2) as pool:
            for factor in (1, 2, 1, 3, 1, 1):
                assert pool.map(use, range(5)) == [factor * x for x in range(5)], factor
                assert pool.map(other, range(5)) == [-factor * x for x in range(5)], factor
                assert pool.apply(use, (7,)) == factor * 7
        pool.join()
        print("all right")
    """
    is_all_right(tmp_path, program)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_functions_refer_to_is_as_it_is_at_the_call(method: str, tmp_path: Path) -> None:
    program = f"""
        import allcores as mp
        ctx = mp.get_context({method!r})
        class Outer:
            gone = True
            class Inner:
                x = 1
        def make():
            class Local:
                x = 1
            return Local
        Local = make()
        def use(x=1):
            return x
        class Uses:
            use = staticmethod(use)
        table = {{"use": use}}
        def all_of_them():
            return Outer.Inner.x, hasattr(Outer, "gone"), Local.x, table["use"](), Uses.use()
        def closures(pool):
            Mine = make()
            def read():
                return Mine.x
            def write():
                Mine.x += 10
            found = [pool.apply(read)]
            pool.apply(write)
            found.append(pool.apply(read))
            Mine.x = 2
            found.append(pool.apply(read))
            return found
        with ctx.Pool(1) as pool:
            assert pool.apply(all_of_them) == (1, True, 1, 1, 1)
            Outer.Inner.x = 2
            del Outer.gone
            Local.x = 2
            use.__defaults__ = (2,)
            assert pool.apply(all_of_them) == (2, False, 2, 2, 2)
            assert closures(pool) == [1, 11, 2]
        pool.join()
        print("all right")
    """
    is_all_right(tmp_path, program)


def test_what_a_pool_remembers_ends_with_it(fork: Any) -> None:
    before = blocks()
    data = bytes(1_000_000)
    with fork.Pool(2) as pool:
        for n in range(12):
            assert pool.map(lambda x, n=n: len(data) + x + n, range(3)) == [
                1_000_000 + n + x for x in range(3)
            ]
    pool.join()
    del pool
    eventually(lambda: blocks() <= before)


def test_a_function_that_can_not_travel_says_so(forked: Any) -> None:
    lock = __import__("threading").Lock()
    with pytest.raises(errors.NotPicklable, match="lock"):
        forked.map(lambda x: (x, lock), range(3))
