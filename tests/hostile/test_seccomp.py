"""A sandbox refuses a system call: another way is taken, or the error says what to do.

Each row of the table refuses one call, or several that belong together, from before allcores is
loaded, and runs a program that uses processes, a pool, locks, queues and lists, and kills some. It
never hangs, and leaves nothing behind.
"""

from __future__ import annotations

import json

import pytest
from hostile_run import LIMIT_S, run
from seccomp import Rule

pytestmark = pytest.mark.watchdog(LIMIT_S + 20)

SEAL = Rule("fcntl", 1, value=1033)  # F_ADD_SEALS
SHARED_FUTEX = Rule("futex", 1, mask=128, value=0)  # without FUTEX_PRIVATE_FLAG
REMOVE = Rule("madvise", 2, value=9)  # MADV_REMOVE
SHARED_MAPPING = Rule("mmap", 3, mask=1, value=1)
NEW_PROCESS = [
    Rule("fork"),
    Rule("vfork"),
    Rule("clone", 0, mask=0x10000, value=0),  # without CLONE_THREAD
    Rule("clone3"),
]
NEW_THREAD = [Rule("clone", 0, mask=0x10000, value=0x10000), Rule("clone3")]

# Refused calls, and the fallbacks that the program reports.
WORKS: dict[str, tuple[list[Rule], str]] = {
    "memfd_create": ([Rule("memfd_create")], "fcntl(F_ADD_SEALS) memfd_create"),
    "seals": ([SEAL], "fcntl(F_ADD_SEALS)"),
    "fallocate": ([Rule("fallocate")], "fallocate"),
    "fallocate, MADV_REMOVE": ([Rule("fallocate"), REMOVE], "fallocate"),
    "seals, fallocate": ([SEAL, Rule("fallocate")], "fallocate fcntl(F_ADD_SEALS)"),
    "memfd_create, fallocate": (
        [Rule("memfd_create"), Rule("fallocate")],
        "fallocate fcntl(F_ADD_SEALS) memfd_create",
    ),
    "futex": ([SHARED_FUTEX], "futex"),
    "pidfd_open": ([Rule("pidfd_open")], "pidfd_open"),
    "eventfd": ([Rule("eventfd2")], "eventfd"),
    "getrandom": ([Rule("getrandom")], "getrandom"),
    "madvise": ([Rule("madvise")], ""),
    "F_SETOWN": ([Rule("fcntl", 1, value=8)], ""),
    "sched_getaffinity": ([Rule("sched_getaffinity")], ""),
    "prctl": ([Rule("prctl")], ""),
}

# Refused calls, and what the error has to say.
FAILS: dict[str, tuple[list[Rule], tuple[str, ...]]] = {
    "F_SETLK": ([Rule("fcntl", 1, value=6)], ("fcntl(F_SETLK)", "seccomp", "allcores doctor")),
    "F_GETLK": ([Rule("fcntl", 1, value=5)], ("fcntl(F_GETLK)", "seccomp", "allcores doctor")),
    "mmap": ([SHARED_MAPPING], ("mmap", "seccomp", "allcores doctor")),
    "socketpair": ([Rule("socketpair")], ("socketpair", "seccomp", 'set_start_method("spawn")')),
    "sendmsg": ([Rule("sendmsg")], ("sendmsg", "seccomp", 'set_start_method("spawn")')),
    "pipe2": ([Rule("pipe2")], ("pipe", "seccomp", "allcores doctor")),
    "fork": (NEW_PROCESS, ("clone", "seccomp", "allcores doctor")),
    "thread": (NEW_THREAD, ("can't start new thread", "seccomp", "pids-limit")),
    "poll": ([Rule("poll")], ("poll", "PermissionError")),
}

PROGRAM = """
import errno, sys
import programme
from seccomp import Rule, install
install({rules!r}, errno.{errno})
sys.exit(programme.main({method!r}))
"""


@pytest.mark.parametrize("errno", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("name", WORKS)
def test_another_way_is_taken(name: str, errno: str) -> None:
    """What is refused has a fallback; the results are right, and the fallback is reported."""
    rules, fallbacks = WORKS[name]
    # To fork means to end the supervisor's thread, and joining a thread takes a shared futex in
    # the C library, which aborts without it.
    method = "fork" if errno == "ENOSYS" and name != "futex" else "forkserver"
    done = run(PROGRAM.format(rules=rules, errno=errno, method=method))
    assert done.code == 0, done
    assert done.out == f"fallbacks: {fallbacks}".rstrip() + "\nall right\n"
    assert done.err == ""


@pytest.mark.parametrize("errno", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("name", FAILS)
def test_the_error_says_what_to_do(name: str, errno: str) -> None:
    """Where there is no other way the error names the call, the likely cause and a remedy."""
    rules, words = FAILS[name]
    done = run(PROGRAM.format(rules=rules, errno=errno, method="forkserver"))
    assert done.code in (1, 3), done
    for word in words:
        if word == "PermissionError" and errno == "ENOSYS":
            continue
        assert word in done.err, done.err
    assert "panicked" not in done.err


def test_only_the_child_is_in_a_sandbox() -> None:
    """A child that may not call fallocate makes memory longer that its parent began."""
    done = run(
        """
import errno
import allcores as mp
from seccomp import Rule, install

def grow(shared):
    install([Rule("fallocate")], errno.EPERM)
    for n in range(8):
        shared.append(bytes([n]) * (1 << 20))

shared = mp.Manager().list()
child = mp.get_context("fork").Process(target=grow, args=(shared,))
child.start(); child.join()
assert child.exitcode == 0, child.exitcode
assert [item == bytes([n]) * (1 << 20) for n, item in enumerate(shared)] == [True] * 8
shared.append("still here")
print(len(shared))
"""
    )
    assert (done.code, done.out, done.err) == (0, "9\n", "")


def test_the_fork_server_may_not_fork() -> None:
    """Its refusal arrives as an error in who asked, and the server goes on answering."""
    done = run(
        """
import allcores as mp
mp.set_forkserver_preload(["refuse_forks"], on_error="fail")
for _ in range(2):
    try:
        mp.get_context("forkserver").Process(target=print).start()
    except PermissionError as error:
        print("fork server" in str(error), "seccomp" in error.__notes__[0])
"""
    )
    assert (done.code, done.out, done.err) == (0, "True True\nTrue True\n", "")


def test_the_doctor_reports_what_is_refused() -> None:
    """What is done another way is a note, no obstacle."""
    done = run(
        """
import errno, json, sys
from seccomp import Rule, install
install(
    [Rule("memfd_create"), Rule("fallocate"), Rule("pidfd_open"), Rule("fcntl", 1, value=1033)],
    errno.EPERM,
)
from allcores import doctor
sys.exit(doctor.run(as_json=True))
"""
    )
    assert done.code == 0, done
    found = json.loads(done.out)["operating system"]
    for name, words in (
        ("memfd", "instead: a file without a name in "),
        ("pidfd", "refused"),
        ("fallocate", "refused; instead: each page is touched"),
    ):
        assert words in found[name]["value"]
        assert found[name]["verdict"] == "note"
    assert found["byte locks"]["verdict"] == "ok"
