"""The tests that allcores doesn't pass and isn't meant to, one by one, and why.

INTERNAL: the test reads, replaces or asserts something of the standard library that isn't
documented, as its subject. DIFFERENT: the test asks for what allcores exists to be without, or for
what the documentation of Python 3.14 no longer says.

The keys are patterns for ``Class.test``. What passes all the same counts as passed.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

INTERNAL = {
    "TestPoolNotLeakOnFailure.test_release_unused_processes": (
        "builds a pool on a mock in place of a context, and wants its Process called just as "
        "CPython's pool does"
    ),
    "TestResourceTracker.test_resource_tracker": (
        "makes a semaphore that has a name and waits for the tracker to unlink it: there are no "
        "named semaphores, and nothing to track"
    ),
    "TestResourceTracker.test_resource_tracker_sig*": (
        "wants the tracker to warn of a semaphore that leaked: ours can't leak"
    ),
    "TestSimpleQueue.test_closed": "reads SimpleQueue._reader and ._writer: there is no pipe",
    "_TestImportStar.*": (
        "wants the package to consist of exactly the files that CPython's has, Windows' included"
    ),
    "WithProcessesTestFinalize.test_finalize": (
        "wants no finalizers but its own to be registered; the fork server has one"
    ),
    "ProcessPool*ExecutorTest.test_python_finalization_error": (
        "refuses the second thread that CPython's executor starts; ours starts one"
    ),
    "ProcessPool*ExecutorTest.test_idle_process_reuse_*": (
        "counts ProcessPoolExecutor._processes: CPython starts them one by one, here all start at "
        "once"
    ),
    "ProcessPool*ShutdownTest.test_processes_terminate": (
        "counts ProcessPoolExecutor._processes, as above"
    ),
    "ProcessPool*ShutdownTest.test_del_shutdown": (
        "joins ProcessPoolExecutor._executor_manager_thread and closes ._call_queue"
    ),
    "ProcessPool*ShutdownTest.test_shutdown_no_wait": (
        "joins ProcessPoolExecutor._executor_manager_thread and closes ._call_queue"
    ),
    "FailingInitializerResourcesTest.*": (
        "stops the standard library's resource tracker and asks for its exit code"
    ),
}

DIFFERENT = {
    "TestStartMethod.test_get_all": (
        "before Python 3.14 it wants fork or spawn to be the first of the start methods. The first "
        "is the default, and the default is forkserver here, as in 3.14"
    ),
    "TestSyncManagerTypes.test_pool": (
        "passes a manager's pool to another process. It is the pool of the process that made it, "
        "without a server; what another process needs is a pool of its own"
    ),
    "TestStartMethod.test_mixed_startmethod": (
        "wants a lock of the fork context to be refused by the others; here any lock goes anywhere"
    ),
    "TestNoForkBomb.*": (
        'wants a script without `if __name__ == "__main__"` to fail; here it works'
    ),
    "With*TestPoolWorkerErrors.test_unpickleable_result": (
        "returns a lambda and wants that to fail; here it arrives. What really can't be pickled "
        "still raises MaybeEncodingError"
    ),
    "With*TestQueue.test_queue_feeder_donot_stop_onexc": (
        "puts what can't be pickled and wants put() to lose it; here put() raises"
    ),
    "ProcessPool*ExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": (
        "wants workers that are replaced to be spawned unless told otherwise; here the fork server "
        "starts them, as fresh and sooner"
    ),
}


def known(test: str) -> tuple[str, str] | None:
    """Return the pattern by which a test is listed, and why; None if it should be passed."""
    for pattern, reason in {**INTERNAL, **DIFFERENT}.items():
        if fnmatchcase(test, pattern):
            return pattern, reason
    return None


def kind(test: str, what: str) -> str:
    """Say how an outcome counts: passed, skipped, internal, different or failing.

    Args:
        test: ``Class.test``.
        what: its outcome: "passed", "skipped", "failed" or "hung".
    """
    if what in ("passed", "skipped"):
        return what
    if any(fnmatchcase(test, pattern) for pattern in INTERNAL):
        return "internal"
    if any(fnmatchcase(test, pattern) for pattern in DIFFERENT):
        return "different"
    return "failing"
