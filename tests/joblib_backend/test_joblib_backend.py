"""joblib on this backend, whichever of the two is imported first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import suite

import allcores  # isort: skip
import joblib
from allcores.errors import WorkerDied
from allcores.joblib.backend import AllcoresBackend
from joblib import Parallel, delayed

ROOT = Path(__file__).resolve().parents[2]
# A loaded machine takes ten times as long as a free one.
pytestmark = pytest.mark.watchdog(220)


def python(*arguments: str, cwd: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=200,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("first", ["joblib", "allcores", "joblib.parallel"])
def test_order_of_imports(first: str, tmp_path: Path) -> None:
    """joblib knows the backend, and `import allcores` imports nothing of joblib."""
    (tmp_path / "program.py").write_text(
        textwrap.dedent(
            f"""
            import {first}
            import allcores, sys
            assert {first!r} != "allcores" or "joblib" not in sys.modules
            import joblib
            with joblib.parallel_config(backend="allcores"):
                print(joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(i, 2) for i in range(5)))
            print(joblib.parallel.DEFAULT_BACKEND)
            """
        )
    )
    assert python("program.py", cwd=tmp_path) == "[0, 1, 4, 9, 16]\nloky\n"


def test_a_program_of_joblibs_under_run(tmp_path: Path) -> None:
    """`allcores run` makes it the default; loky and joblib's own pool work as they do."""
    (tmp_path / "program.py").write_text(
        textwrap.dedent(
            """
            from joblib import Parallel, delayed
            import multiprocessing
            def worker(item):
                return type(multiprocessing.current_process()).__module__.partition(".")[0]
            if __name__ == "__main__":
                for backend in (None, "loky", "multiprocessing"):
                    parallel = Parallel(n_jobs=2, backend=backend)
                    print(set(parallel(delayed(worker)(item) for item in "ab")))
            """
        )
    )
    result = python("-m", "allcores", "run", "program.py", cwd=tmp_path)
    assert result == "{'allcores'}\n{'joblib'}\n{'multiprocessing'}\n"


@pytest.fixture(autouse=True)
def config() -> Any:
    with joblib.parallel_config(backend="allcores"):
        yield


def fail(item: int) -> int:
    if item == 3:
        raise ValueError("three")
    return item


def test_exceptions() -> None:
    """What a call raises is raised, and the next calls work."""
    with Parallel(n_jobs=2) as parallel:
        with pytest.raises(ValueError, match="three"):
            parallel(delayed(fail)(item) for item in range(10))
        assert parallel(delayed(fail)(item) for item in range(3)) == [0, 1, 2]


def test_what_a_failed_call_had_not_submitted_is_not_done_in_the_next() -> None:
    """joblib cuts its input into batches for all workers, and submits them one by one."""
    from joblib.parallel import BatchedCalls

    with Parallel(n_jobs=2) as parallel:
        with pytest.raises(ValueError, match="three"):
            parallel(delayed(fail)(item) for item in range(10))
        # As it is when an error comes just then.
        nested = parallel._backend.get_nested_backend()
        parallel._ready_batches.put(BatchedCalls([(fail, (9,), {})], nested))
        assert parallel(delayed(fail)(item) for item in range(3)) == [0, 1, 2]


def test_a_timeout_ends_what_runs() -> None:
    """A call that overruns its timeout raises, and its worker is ended."""
    with pytest.raises(allcores.TimeoutError):
        Parallel(n_jobs=2, timeout=0.2)(delayed(time.sleep)(item) for item in (0, 1000))


def test_a_death() -> None:
    """A worker that dies fails the call with its name, and no other worker ends."""

    def die(item: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDied):
        Parallel(n_jobs=2)(delayed(die)(item) for item in range(2))


def test_generators() -> None:
    """Results come one by one, in order or as they are there."""
    results = Parallel(n_jobs=2, return_as="generator")(delayed(fail)(i) for i in (0, 1, 2, 4))
    assert next(results) == 0
    assert list(results) == [1, 2, 4]
    results = Parallel(n_jobs=2, return_as="generator_unordered")(
        delayed(fail)(i) for i in range(3)
    )
    assert sorted(results) == [0, 1, 2]


def inner(item: int) -> tuple[str, int, int]:
    parallel = Parallel(n_jobs=-1)
    name, jobs = type(parallel._backend).__name__, parallel._effective_n_jobs()
    return name, jobs, sum(parallel(delayed(abs)(-i) for i in range(item)))


def test_nested_calls_share_the_cores() -> None:
    """A call in a call with n_jobs=-1 gets what its worker may use, not all cores again."""
    cores = allcores.cpus.cpu_count()
    count = max(2, cores)
    for name, jobs, value in Parallel(n_jobs=count)(delayed(inner)(4) for _ in range(count)):
        assert (name, jobs, value) == ("AllcoresBackend", max(1, cores // count), 6)


@pytest.mark.parametrize("size", [1, 3, "auto"])
def test_batches(size: Any) -> None:
    """However calls are put together, their results are in order."""
    calls = (delayed(abs)(-item) for item in range(200))
    assert Parallel(n_jobs=2, batch_size=size)(calls) == list(range(200))


def threads() -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def test_inner_max_num_threads() -> None:
    """It is what libraries in the workers may use."""
    with joblib.parallel_config(backend="allcores", inner_max_num_threads=3):
        assert Parallel(n_jobs=2)(delayed(threads)() for _ in range(2)) == ["3", "3"]


def test_options() -> None:
    """Options of the executor can be given; an unknown one is named."""
    context = allcores.get_context("spawn")
    with joblib.parallel_config(backend="allcores", mp_context=context, max_memory="4 GiB"):
        names = Parallel(n_jobs=2)(delayed(kind)() for _ in range(2))
    assert names == ["SpawnProcess"] * 2
    with pytest.raises(TypeError, match="no option 'wokers'"):
        AllcoresBackend(wokers=2)
    with pytest.raises(TypeError, match="no option 'idle_worker_timeout'"):
        Parallel(n_jobs=2, idle_worker_timeout=3)([delayed(abs)(1)])
    with pytest.raises(ValueError, match="n_jobs"):
        Parallel(n_jobs=0)([delayed(abs)(1)])


def kind() -> str:
    return type(allcores.current_process()).__name__


@pytest.mark.watchdog(920)
def test_joblibs_own_tests() -> None:
    """Those that joblib has for every backend pass, but for the ones with a reason."""
    count, failed = suite.run("allcores", 900)
    assert count > 50
    assert suite.unexpected("allcores", failed) == {}


def test_the_example(tmp_path: Path) -> None:
    """The example folder runs, and prints what it says."""
    folder = ROOT / "examples" / "joblib"
    assert python(str(folder / "search.py"), cwd=tmp_path) == (folder / "expected.txt").read_text()
