"""Runs in a process of its own: lists aimed tests, or runs those of one class.

    inside.py list OUT MODULE...
    inside.py run OUT MODULE CLASS

It appends a JSON object a line to OUT. Children that were forked have the descriptor, too, and are
kept from writing.
"""

from __future__ import annotations

import json
import os
import sys
import time
import unittest
from typing import Any


def load(name: str) -> Any:
    """Import a module of tests after what these need of this process."""
    from test.support import script_helper

    # Scripts are started with -I unless the environment is needed; it is, for PYTHONPATH.
    script_helper.interpreter_requires_environment = lambda: True
    __import__(name)
    return sys.modules[name]


def list_tests(out: str, names: list[str]) -> None:
    """Write the classes of tests and the names of their tests."""
    loader = unittest.TestLoader()
    found = []
    for name in names:
        module = load(name)
        for attribute, item in sorted(vars(module).items()):
            if not (isinstance(item, type) and issubclass(item, unittest.TestCase)):
                continue
            if item.__module__ == name and (tests := loader.getTestCaseNames(item)):
                method = getattr(item, "start_method", None) or getattr(item, "ctx", None)
                found.append([name, attribute, method, list(tests)])
    with open(out, "w", encoding="utf-8") as file:
        json.dump(found, file)


class Result(unittest.TestResult):
    """Says at once what happens, so that it is known should the process not live to its end.

    Args:
        out: the file to append to.
    """

    def __init__(self, out: str) -> None:
        super().__init__()
        self.owner = os.getpid()
        self.fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.worst: tuple[str, str] | None = None
        self.began = 0.0

    def say(self, *what: Any) -> None:
        if os.getpid() == self.owner:
            os.write(self.fd, (json.dumps(what) + "\n").encode())

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.worst = None
        self.began = time.monotonic()
        self.say("begin", test._testMethodName)

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)
        outcome, reason = self.worst or ("passed", "")
        self.say("end", test._testMethodName, outcome, reason, time.monotonic() - self.began)

    def _note(self, test: Any, outcome: str, reason: str) -> None:
        if not isinstance(test, unittest.TestCase):
            # setUpClass, tearDownModule and their like.
            self.say("around", str(test), outcome, reason)
        elif self.worst is None or self.worst[0] == "skipped":
            self.worst = outcome, reason

    def addFailure(self, test: Any, err: Any) -> None:
        self._note(test, "failed", one_line(err))

    def addError(self, test: Any, err: Any) -> None:
        self._note(test, "failed", one_line(err))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._note(test, "failed", one_line(err))

    def addSkip(self, test: Any, reason: str) -> None:
        # That of a subtest doesn't make the test one that was skipped.
        if not hasattr(test, "test_case"):
            self._note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._note(test, "failed", "it was expected to fail")


def one_line(err: Any) -> str:
    """Return exception, message and the line of the test on one line."""
    kind, value, trace = err
    text = " ".join(str(value).split())
    if len(text) > 300:
        # Long messages mostly quote what a script printed, the reason last.
        text = f"{text[:150]} ... {text[-150:]}"
    place = ""
    while trace is not None:
        name = os.path.basename(trace.tb_frame.f_code.co_filename)
        if name.startswith(("test_", "_test_")):
            place = f" ({name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{kind.__name__}: {text}{place}"


def run_class(out: str, module: str, name: str, *only: str) -> None:
    import faulthandler
    import signal

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell without job control starts what runs in the background so; tests interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Asked for before the process is ended.
    stacks = open(out + ".stacks", "w")  # noqa: SIM115
    faulthandler.register(signal.SIGUSR2, file=stacks, all_threads=True)
    result = Result(out)
    cls = getattr(load(module), name)
    names = unittest.TestLoader().getTestCaseNames(cls)
    unittest.TestSuite(cls(test) for test in names if not only or test in only).run(result)
    result.say("done")


if __name__ == "__main__":
    if sys.argv[1] == "list":
        list_tests(sys.argv[2], sys.argv[3:])
    else:
        run_class(*sys.argv[2:])
