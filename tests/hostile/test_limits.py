"""Tight limits: a smaller arena, a clear error, and everything goes on after some was freed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_run import LIMIT_S, run
from machine import can_mount, memory_group

pytestmark = pytest.mark.watchdog(LIMIT_S + 20)

ERRORS = ("ulimit -n", "ulimit -u", "ulimit -v", "MemoryError", "ArenaFull")

PROGRAM = """
import sys
import machine, programme
machine.limit({name!r}, {value})
sys.exit(programme.main({method!r}))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_AS", 1 << 30),
        ("RLIMIT_AS", 4 << 30),
        ("RLIMIT_FSIZE", 64 << 20),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_MEMLOCK", 0),
    ],
)
def test_enough_to_work(name: str, value: int, method: str) -> None:
    """Under these limits everything works."""
    done = run(PROGRAM.format(name=name, value=value, method=method))
    assert (done.code, done.out) == (0, "fallbacks:\nall right\n"), done


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RLIMIT_NOFILE", 20),
        ("RLIMIT_NOFILE", 12),
        ("RLIMIT_AS", 160 << 20),
        ("RLIMIT_AS", 256 << 20),
    ],
)
def test_hardly_enough(name: str, value: int, method: str) -> None:
    """Under these it works, or an error says which limit it was."""
    done = run(PROGRAM.format(name=name, value=value, method=method))
    if done.code == 0:
        assert done.out == "fallbacks:\nall right\n"
    else:
        assert done.code in (1, 3), done
        assert any(word in done.err for word in ERRORS) or of_an_import(done.err), done
        assert "panicked" not in done.err


def of_an_import(err: str) -> bool:
    """Whether it was Python that could not open a module: then the system's words are all there is.

    That is so where children have ended early, and the program comes as far as to its pool.
    """
    frames = [line for line in err.splitlines() if line.startswith('  File "')]
    in_import = bool(frames) and frames[-1].startswith('  File "<frozen importlib')
    return in_import and "Too many open files" in err


FILL = "import machine, filling\n{prepare}\nfilling.main()"


@pytest.mark.parametrize("value", [("RLIMIT_AS", 512 << 20), ("RLIMIT_FSIZE", 32 << 20)])
def test_full_by_a_limit(value: tuple[str, int]) -> None:
    """A full arena is a MemoryError; what is in it stays right, and goes on once some is freed."""
    done = run(FILL.format(prepare=f"machine.limit{value!r}"))
    assert (done.code, done.out, done.err) == (0, "filled\n", "")


needs_mounts = pytest.mark.skipif(not can_mount(), reason="may not mount file systems here")

# No memfd; a little room in /dev/shm is the only place there is.
LITTLE_ROOM = """
import errno, os
from seccomp import Rule, install
os.environ["TMPDIR"] = "/dev/shm"
machine.hide("/dev/shm", "12m", "/tmp", "/var/tmp")
install({rules!r}, errno.EPERM)
"""


@needs_mounts
@pytest.mark.skipif(
    any(Path(__file__).is_relative_to(folder) for folder in ("/tmp", "/var/tmp", "/dev/shm")),
    reason="hides the folder that this checkout is in",
)
@pytest.mark.parametrize("fallocate", ["fallocate", "no fallocate"])
def test_full_file_system(fallocate: str) -> None:
    """A file system that fills up is a MemoryError, and no SIGBUS, with and without fallocate."""
    from seccomp import Rule

    rules = [Rule("memfd_create")] + [Rule("fallocate")] * (fallocate == "no fallocate")
    done = run(FILL.format(prepare=LITTLE_ROOM.format(rules=rules)))
    assert (done.code, done.out, done.err) == (0, "filled\n", "")


@needs_mounts
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_without_dev_shm(method: str) -> None:
    """Nothing needs `/dev/shm`."""
    done = run(
        f"""
import sys
import machine, programme
machine.hide("/mnt", "1m", "/dev/shm")
sys.exit(programme.main({method!r}))
"""
    )
    assert (done.code, done.out, done.err) == (0, "fallbacks:\nall right\n", "")


@needs_mounts
def test_without_memfd_and_dev_shm(tmp_path: Path) -> None:
    """The arena is a file on disk then, which no folder shows, and that is said."""
    done = run(
        f"""
import errno, os
import machine
from seccomp import Rule, install
os.environ["TMPDIR"] = {str(tmp_path)!r}
os.environ.pop("XDG_RUNTIME_DIR", None)
machine.hide("/mnt", "1m", "/dev/shm")
install([Rule("memfd_create")], errno.ENOSYS)
import allcores as mp
from allcores import _core
shared = mp.Manager().list([1, 2, 3])
print(list(shared), os.listdir({str(tmp_path)!r}))
print(_core.fallbacks()["memfd_create"])
"""
    )
    assert done.code == 0, done
    lines = done.out.splitlines()
    assert lines[0] == "[1, 2, 3] []"
    assert lines[1].startswith(f"a file without a name in {tmp_path} (")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with 96 MiB of memory."""
    made = memory_group(f"allcores-test-{os.getpid()}")
    if made is None:
        pytest.skip("no control group for memory can be made here")
    group, file = made
    try:
        (group / file).write_text(str(96 << 20))
        yield group
    finally:
        group.rmdir()


def test_memory_group(small_group: Path) -> None:
    """At a container's limit there is a MemoryError before the kernel kills anybody."""
    prepare = f"import os; open({str(small_group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
    done = run(FILL.format(prepare=prepare))
    assert (done.code, done.out, done.err) == (0, "filled\n", "")
