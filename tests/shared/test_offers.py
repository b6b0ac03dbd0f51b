"""A program that is no child joins by address, and nobody else does."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import stat
import subprocess
import sys

import allcores as mp
import pytest
from allcores import _core

KEY = b"of this test"


def program(source: str, *arguments: str) -> subprocess.Popen[str]:
    """A program of its own, which has nothing of this one."""
    return subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


JOINS = """
import sys
import allcores as mp
offered = mp.shared.join(sys.argv[1], b"of this test")
counts, nested, queue = offered["counts"], offered["nested"], offered["queue"]
for _ in range(1000):
    counts.add("all")
nested["list"].append("from outside")
queue.put(mp.shared.list(["made outside"]))
with mp.Pool(1) as pool:
    pool.apply(counts.add, ("by a worker",))
"""


def test_a_program_joins():
    counts, nested = mp.shared.dict(), mp.shared.dict(list=[])
    queue = mp.Queue()
    objects = {"counts": counts, "nested": nested, "queue": queue}
    with mp.shared.offer(objects, authkey=KEY) as offer:
        folder = os.path.dirname(offer.address)
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        guests = [program(JOINS, offer.address) for _ in range(2)]
        for _ in range(1000):
            counts.add("all")
        made = [queue.get(timeout=150), queue.get(timeout=150)]
        for guest in guests:
            assert guest.communicate(timeout=150) == ("", "")
            assert guest.returncode == 0
    assert not os.path.exists(folder)
    assert counts == {"all": 3000, "by a worker": 2}
    assert nested == {"list": ["from outside"] * 2}
    # What it made lives on here.
    assert made == [["made outside"]] * 2


DIES = """
import os, signal, sys
import allcores as mp
offered = mp.shared.join(sys.argv[1], b"of this test")
offered["lock"].acquire()
with offered["list"].lock:
    offered["list"].append("inside")
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_a_guest_that_is_killed_leaves_nothing_locked():
    lock, shared = mp.Lock(), mp.shared.list()
    with mp.shared.offer({"lock": lock, "list": shared}, authkey=KEY) as offer:
        guest = program(DIES, offer.address)
        assert guest.stdout.readline() == "inside\n"
        assert not lock.acquire(False)
        guest.send_signal(signal.SIGKILL)
        guest.communicate()
        assert lock.acquire(timeout=150)
        assert lock.owner_died
        assert shared == ["inside"]
        with shared.lock:
            assert shared.lock.owner_died


JOINS_AGAIN = """
import sys
import allcores as mp
from allcores import _core
for _ in range(2):
    offered = mp.shared.join(sys.argv[1], b"of this test")
with offered["lock"]:
    print(_core.owner(), flush=True)
    sys.stdin.read()
"""


def test_a_guest_that_joins_again_is_not_taken_for_dead():
    lock = mp.Lock()
    with mp.shared.offer({"lock": lock}, authkey=KEY) as offer:
        guest = program(JOINS_AGAIN, offer.address)
        owner = int(guest.stdout.readline())
        assert _core.is_alive(owner)
        _core.recover()
        assert lock.locked()
        assert not lock.owner_died
        assert guest.communicate(timeout=150) == ("", "")
        assert guest.returncode == 0
    assert not lock.locked()


TRIES = """
import sys
import allcores as mp
from allcores import _core
{before}
try:
    mp.shared.join(sys.argv[1], {key!r})
except Exception as error:
    print(type(error).__name__, _core.has_arena())
"""


@pytest.mark.parametrize(
    ("before", "key", "error"),
    [
        ("", b"another", "AuthenticationError False"),
        ("", None, "AuthenticationError False"),
        ("", "text", "TypeError False"),
        ("mp.Lock()", KEY, "RuntimeError True"),
        ("sys.argv[1] += '-'", KEY, "FileNotFoundError False"),
    ],
)
def test_who_does_not_get_in(before, key, error):
    with mp.shared.offer({"n": 1}, authkey=KEY) as offer:
        guest = program(TRIES.format(before=before, key=key), offer.address)
        out, err = guest.communicate(timeout=150)
        assert (out.strip(), err) == (error, "")


def test_who_does_not_know_the_key_is_told_nothing():
    """Not even the memory's descriptor: what comes is a challenge, and then the end."""
    with mp.shared.offer({"n": 1}, authkey=KEY) as offer:
        for answer in b"", b"x" * 16, pickle.dumps("x"):
            with socket.socket(socket.AF_UNIX) as link:
                link.connect(offer.address)
                link.sendall(len(answer).to_bytes(4, "big") + answer)
                got, descriptors = b"", []
                while True:
                    message, more, _, _ = socket.recv_fds(link, 4096, 4)
                    got, descriptors = got + message, descriptors + more
                    if not message:
                        break
                assert not descriptors
                assert b"#CHALLENGE#" in got
                assert b"#WELCOME#" not in got


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user")
def test_another_user_does_not_get_in(tmp_path):
    with mp.shared.offer({"n": 1}, authkey=KEY) as offer:
        become = "import os; import allcores.shared.offers; os.setuid(65534)"
        guest = program(TRIES.format(before=become, key=KEY), offer.address)
        assert guest.communicate(timeout=150)[0].split()[0] == "PermissionError"
        # Nor if the folder lets it: the kernel says who it is.
        os.chmod(os.path.dirname(offer.address), 0o777)
        os.chmod(offer.address, 0o777)
        guest = program(TRIES.format(before=become, key=KEY), offer.address)
        assert guest.communicate(timeout=150)[0].split()[0] == "PermissionError"


def test_addresses_that_are_refused(tmp_path):
    open_folder = tmp_path / "open"
    open_folder.mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="chmod 700"):
        mp.shared.offer({}, str(open_folder / "socket"))
    os.chmod(open_folder, 0o700)
    with mp.shared.offer({}, str(open_folder / "socket")):
        with pytest.raises(OSError, match="in use"):
            mp.shared.offer({}, str(open_folder / "socket"))
    assert list(open_folder.iterdir()) == []
    with pytest.raises(TypeError, match="bytes"):
        mp.shared.offer({}, authkey="text")
    with pytest.raises(mp.errors.NotPicklable, match="offer"):
        mp.shared.offer({"file": sys.stdout})


# The thread that welcomes guests is one that a fork leaves out.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_does_not_keep_the_offer_open():
    ctx = mp.get_context("fork")
    with mp.shared.offer({"n": 1}, authkey=KEY) as offer:
        stop = ctx.Event()
        child = ctx.Process(target=stop.wait)
        child.start()
    with pytest.raises(FileNotFoundError):
        mp.shared.join(offer.address, KEY)
    stop.set()
    child.join()
    assert mp.shared.list([1]) == [1]
