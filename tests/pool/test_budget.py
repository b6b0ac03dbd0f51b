"""Workers share the cores out: default counts, threads of libraries, and random numbers."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
from allcores import budget, cpus, get_context
from threadpoolctl import threadpool_info, threadpool_limits

NAMES = [*budget._VARIABLES, "GOTO_NUM_THREADS"]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has set nothing himself."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Call it to have so many cores, here and in forked children."""

    def have(count: int) -> None:
        monkeypatch.setattr(cpus, "affinity_count", lambda: count)
        monkeypatch.setattr(cpus.cgroup, "cpu_quota", lambda: None)

    return have


def usable(_: Any = None) -> int:
    return cpus.cpu_count()


def variables(_: Any = None) -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def blas_threads(_: Any = None) -> list[int]:
    return [found["num_threads"] for found in threadpool_info()]


def default_size_within(_: Any = None) -> tuple[int, int, dict[str, str]]:
    with get_context("fork").Pool() as pool:
        found = pool._processes, pool.apply(usable), pool.apply(variables)
    pool.join()
    return found


def size_of_four(_: Any = None) -> list[int]:
    with get_context("fork").Pool(4) as pool:
        found = pool._processes, pool.apply(usable)
    pool.join()
    return list(found)


@pytest.mark.parametrize(
    ("machine", "workers", "share"), [(8, 2, 4), (8, 3, 2), (2, 2, 1), (2, 16, 1), (8, 8, 1)]
)
def test_a_worker_has_its_share(
    fork: Any, cores: Any, machine: int, workers: int, share: int
) -> None:
    """Of c cores, each of n workers may use max(1, c // n)."""
    cores(machine)
    with fork.Pool(workers) as pool:
        assert pool.apply(usable) == share
    pool.join()


def test_the_share_under_each_start_method(ctx: Any) -> None:
    """However a worker starts, it knows its share before anything of the user's runs there."""
    with ctx.Pool(cpus.cpu_count()) as pool:
        assert pool.apply(usable) == 1
        assert set(pool.apply(variables).values()) == {"1"}
    pool.join()
    assert variables() == {}


def test_a_pool_in_a_pool_stays_within_the_budget(fork: Any, cores: Any) -> None:
    """The default size of a worker's own pool is the worker's share, and so on downwards."""
    cores(8)
    with fork.Pool(2) as pool:
        size, share, names = pool.apply(default_size_within)
        assert (size, share) == (4, 1)
        assert names["OMP_NUM_THREADS"] == "1"
        assert pool.apply(variables)["OMP_NUM_THREADS"] == "4"
        # Who says how many gets as many.
        assert pool.apply(size_of_four) == [4, 1]
    pool.join()


def test_a_pool_in_a_pool_works(ctx: Any) -> None:
    """Workers may have pools under each start method."""
    with ctx.Pool(2) as pool:
        assert pool.map(default_size_within, range(2)) == [(1, 1, pool.apply(variables))] * 2
    pool.join()


def test_the_executors_workers_too(fork: Any, cores: Any) -> None:
    """An executor's workers share the cores out like a pool's."""
    from allcores import ProcessPoolExecutor

    cores(8)
    with ProcessPoolExecutor(4, fork) as executor:
        assert executor.submit(usable).result() == 2


def test_plain_processes_have_it_all(fork: Any, cores: Any) -> None:
    """A process that is nobody's worker keeps within no share, but a worker's does."""
    cores(8)
    queue = fork.SimpleQueue()
    process = fork.Process(target=lambda: queue.put((usable(), variables())))
    process.start()
    assert queue.get() == (8, {})
    process.join()


def test_the_count_of_the_machine_is_what_it_is(forked: Any) -> None:
    """mp.cpu_count() is documented as the machine's, also in a worker."""
    import allcores

    assert forked.apply(allcores.cpu_count) == os.cpu_count()


def test_what_the_user_has_set_stays(fork: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the user's is left alone, and so are those that defer to it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with fork.Pool(2) as pool:
        found = pool.apply(variables)
        nested = pool.apply(default_size_within)[2]
    pool.join()
    assert found["OMP_NUM_THREADS"] == nested["OMP_NUM_THREADS"] == "5"
    assert set(found) == {"OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"}

    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    with fork.Pool(2) as pool:
        found = pool.apply(variables)
    pool.join()
    assert found.pop("MKL_NUM_THREADS") == "3"
    assert set(found.values()) == {str(max(1, cpus.cpu_count() // 2))}


@pytest.mark.skipif(not blas_threads(), reason="this numpy has no threads of its own")
def test_threads_of_a_library_that_is_loaded(fork: Any) -> None:
    """A worker that was forked with a library keeps it within its share; the parent's stays."""
    with threadpool_limits(2):
        if set(blas_threads()) != {2}:
            pytest.skip("the library has but one thread here")
        with fork.Pool(cpus.cpu_count()) as pool:
            assert set(pool.apply(blas_threads)) == {1}
        pool.join()
        assert set(blas_threads()) == {2}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_threads_of_a_library_that_is_loaded_later(method: str, cores: Any) -> None:
    """A library that a task, or the unpickling of an initializer, loads has the worker's share."""
    cores(1)
    with get_context(method).Pool(1, numpy.geterr) as pool:
        if method == "spawn":  # (the fork server may have it already, and a thread that sleeps)
            # It never had others, which it would have if the variables had come too late.
            assert pool.apply(os.listdir, ["/proc/self/task"]) == [str(pool._pool[0].pid)]
        assert set(pool.apply(blas_threads)) <= {1}
    pool.join()


def test_nothing_is_imported_for_nothing(tmp_path: Any) -> None:
    """A worker without numeric libraries loads nothing to limit them."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys
            import allcores as mp

            mp.set_start_method(sys.argv[1])
            with mp.Pool(1) as pool:
                found = pool.apply(lambda: {"numpy", "threadpoolctl", "random"} & set(sys.modules))
            print(sorted(found))
            """
        )
    )
    for method in ("fork", "forkserver", "spawn"):
        done = subprocess.run(
            [sys.executable, program, method], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() in ("[]", "['random']"), (method, done.stderr)


# Random numbers.


def draws(_: Any = None) -> tuple[float, float]:
    return random.random(), float(numpy.random.random())


def seed_everything() -> None:
    random.seed(1)
    numpy.random.seed(1)


def test_each_worker_draws_numbers_of_its_own(ctx: Any) -> None:
    """No two workers, and none and its parent, have the same streams."""
    seed_everything()
    expected = draws()
    seed_everything()
    with ctx.Pool(1) as first, ctx.Pool(1) as second:
        seen = [expected, *(pool.apply(draws) for pool in (first, second))]
    for pool in (first, second):
        pool.join()
    assert len({plain for plain, _ in seen}) == 3, seen
    assert len({legacy for _, legacy in seen}) == 3, seen
    # The parent's streams go on as if there had been no worker.
    assert draws() == expected


def test_an_initializer_that_seeds_has_its_way(fork: Any) -> None:
    """Streams are made new before the initializer, not after it."""
    seed_everything()
    expected = draws()
    with fork.Pool(1, seed_everything) as pool:
        assert pool.apply(draws) == expected
    pool.join()
