"""joblib's own tests of parallel calls, taken from the installed package, with this backend.

``python -m tests.joblib_backend.suite`` runs them twice, and prints what failed and why: the tests
that are for every backend that there is; and those for loky, with this backend in its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
# Loaded into the run as a plug-in.
PLUGIN = """
import os
import allcores
import joblib.parallel
if os.environ["ALLCORES_AS"] == "loky":
    backends = joblib.parallel.BACKENDS
    backends["loky"] = backends.pop("allcores")
"""
# Which of the tests. Those of the first have no process of loky's in them, which leaves files
# behind, and doesn't know this backend unless allcores is imported there.
CHOSEN = {
    "allcores": "allcores and not loky and not multiprocessing and not back_compat",
    "loky": "loky",
}
_NOT_LOKY = "asserts the class, or the nested one, of loky"
_FILES = "asserts that large arrays travel through files; here they don't"
_NESTS = "asserts that loky warns of what it can't do: to be nested below others"
_SHARES = "asserts the error of two calls that have to share one executor; here each has its own"
# Tests that may fail, and why.
EXPECTED = {
    "allcores": {},
    "loky": {
        "test_nested_parallel_warnings": _NESTS,
        "test_backend_context_manager": _NOT_LOKY,
        "test_nested_backend_context_manager": _NOT_LOKY,
        "test_nested_parallelism_limit": _NOT_LOKY,
        "test_auto_memmap_on_arrays_from_generator": _FILES,
        "test_memmapping_leaks": _FILES,
        "test_multiple_generator_call_separated_gc": _SHARES,
    },
}
# Tests that want a thing within two seconds, ten or twenty, which a busy machine may miss.
HURRIED = {
    "test_abort_backend",
    "test_multiple_generator_call",
    "test_multiple_generator_call_managed",
    "test_parallel_timeout_fail_with_generator",
}


def run(name: str, seconds: float) -> tuple[int, dict[str, str]]:
    """Run the tests that are about a backend; return how many, and which failed.

    Those that failed and are HURRIED are done once more, by themselves.

    Args:
        name: "allcores", or "loky" with this backend in its place.
        seconds: after which they are ended.
    """
    import joblib

    tests = str(Path(joblib.__file__).parent / "test" / "test_parallel.py")
    count, failed = _run(name, seconds, ["-k", CHOSEN[name], tests])
    again = [test for test in failed if test.partition("[")[0] in HURRIED]
    if again:
        done, still = _run(name, seconds, [f"{tests}::{test}" for test in again])
        assert done == len(again)
        for test in again:
            if test not in still:
                print(f"{test}: passed when it was done again; at first: {failed.pop(test)}")
    return count, failed


def _run(name: str, seconds: float, which: list[str]) -> tuple[int, dict[str, str]]:
    """Run some of the tests once; return how many, and which failed.

    Args:
        name: "allcores", or "loky" with this backend in its place.
        seconds: after which they are ended.
        which: the arguments that choose them.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "plugin.py").write_text(PLUGIN)
        (Path(folder) / "pytest.ini").write_text("[pytest]\n")
        environ = os.environ | {"PYTHONPATH": folder, "ALLCORES_AS": name}
        environ.pop("PYTEST_CURRENT_TEST", None)
        options = ["-p", "plugin", "-p", "no:cacheprovider", "-q"]
        where = ["-c", "pytest.ini", "--rootdir", folder, "--junitxml", "found.xml"]
        with open(Path(folder) / "output", "w+") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *where, *which],
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                process.wait(seconds)
            finally:
                # Some of these tests leave processes of loky's behind.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            said = output.read()
        found = Path(folder) / "found.xml"
        if not found.exists():
            raise RuntimeError(f"joblib's tests did not run:\n{said}")
        cases = list(ElementTree.parse(found).iter("testcase"))
    failed = {
        case.get("name", ""): problem.get("message", "")
        for case in cases
        for problem in case
        if problem.tag in ("failure", "error")
    }
    return len(cases), failed


def unexpected(name: str, failed: dict[str, str]) -> dict[str, str]:
    """Return those that failed without a reason.

    Args:
        name: as for `run`.
        failed: from `run`.
    """
    known = EXPECTED[name]
    return {
        test: message
        for test, message in failed.items()
        if test not in known and test.partition("[")[0] not in known
    }


def main() -> int:
    """Run all, and print a table."""
    bad = 0
    for name, known in EXPECTED.items():
        count, failed = run(name, 600)
        wrong = unexpected(name, failed)
        bad += len(wrong)
        print(f"{name}: {count} tests, {len(failed)} failed, {len(wrong)} without a reason")
        for test, message in failed.items():
            reason = known.get(test) or known.get(test.partition("[")[0]) or f"FAILED: {message}"
            print(f"  {test}: {reason}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
