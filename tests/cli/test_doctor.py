"""``allcores doctor`` tells what it finds and what would hurt."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import cgroup_trees as trees
import pytest
from allcores import cli, cpus, doctor
from allcores.doctor import machine, probes
from allcores.doctor.finding import Finding, size
from allcores.doctor.limits import limits
from allcores.doctor.report import render

SECTIONS = {"cores", "python", "memory", "limits", "operating system", "packages"}


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    """Index findings."""
    return {finding.name: finding for finding in findings}


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Every finding is a line, and the report ends with a verdict."""
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    for section in SECTIONS:
        assert f"{section.capitalize()}\n" in text
    for name in ("by affinity", "by cgroup quota", "GIL", "start methods", "open files", "memfd"):
        assert f" {name} " in text
    assert text.splitlines()[-1].startswith("allcores works here")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs."""
    assert cli.main(["doctor", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data.pop("ok") is True
    assert set(data) == SECTIONS
    usable = data["cores"]["usable (the default number of workers)"]
    assert usable["data"] == cpus.cpu_count()
    assert data["operating system"]["futex"]["value"] == "works"


def test_bad_news_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stops allcores is marked, explained, and makes the command fail."""
    bad = [Finding("memfd", "refused", "bad", "Allow it.")]
    monkeypatch.setattr("allcores.doctor.probes.probes", lambda: bad)
    assert doctor.run() == 1
    text = capsys.readouterr().out
    assert " X memfd" in text
    assert "     Allow it." in text
    assert "One thing stops allcores" in text


def test_looking_leaves_nothing_and_imports_nothing() -> None:
    """Versions are looked up without importing packages, and no descriptor stays open."""
    code = (
        "import os, sys; from allcores.doctor import examine\n"
        "from allcores.doctor import probes\n"
        "before = sorted(os.listdir('/proc/self/fd')); probes.probes()\n"
        "assert sorted(os.listdir('/proc/self/fd')) == before\n"
        "examine()\n"
        "print({'numpy', 'cloudpickle', 'tqdm', 'psutil', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_cores_in_a_container(tmp_path: Path) -> None:
    """A quota below the affinity is pointed out with the file that sets it."""
    root = trees.v2(tmp_path, "/", {"cpu.max": "50000 100000"})
    quota = by_name(machine.cores(root))["by cgroup quota"]
    assert (quota.value, quota.verdict, quota.data) == ("0.5", "note", 0.5)
    assert "cpu.max" in quota.advice


def test_memory_in_a_container(tmp_path: Path) -> None:
    """The cgroup's limit, what is left of it, little free memory and strict overcommit."""
    files = {"memory.max": str(512 << 20), "memory.current": str(128 << 20)}
    root = trees.v2(tmp_path, "/", files)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 102400 kB\n")
    (tmp_path / "proc/sys/vm").mkdir(parents=True)
    (tmp_path / "proc/sys/vm/overcommit_memory").write_text("2\n")
    found = by_name(machine.memory(root))
    assert found["total"].value == "8 GiB"
    assert found["available"].verdict == "note"
    assert found["cgroup limit"].value == "512 MiB, 384 MiB left"
    assert found["overcommit"].verdict == "note"


def test_memory_unknown(tmp_path: Path) -> None:
    """A system without /proc is no error."""
    found = by_name(machine.memory(str(tmp_path)))
    assert found["total"].value == "unknown on this system"
    assert found["cgroup limit"].value == "no limit"


def test_container_hints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers are recognised by what they leave visible."""
    (tmp_path / ".dockerenv").write_text("")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("container", "docker")
    found = by_name(machine.system(str(tmp_path)))["container"].value
    assert found.startswith("Docker, Kubernetes")
    assert found.lower().count("docker") == 1


def test_limits_are_those_of_the_process() -> None:
    """The numbers are the current soft limits; a low one gets advice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert by_name(limits())["open files"].data == soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        low = by_name(limits())["open files"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (low.data, low.verdict) == (100, "note")
    assert "ulimit -n" in low.advice


def test_no_shm(tmp_path: Path) -> None:
    """Without /dev/shm: what then fails is said, and that ours does not need it."""
    missing = by_name(probes.probes(str(tmp_path / "shm")))[str(tmp_path / "shm")]
    assert (missing.value, missing.verdict) == ("missing", "note")


def test_refused_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that forbids memfd stops allcores, and the report says so."""

    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    found = by_name(probes.probes())["memfd"]
    assert found.verdict == "bad"
    assert "refused: Operation not permitted" in found.value


def test_verdict_counts() -> None:
    """One or several notes, or none."""
    note, ok = Finding("a", "b", "note", "c"), Finding("d", "e")
    assert render({"x": [ok]}).endswith("nothing stands in its way.")
    assert render({"x": [ok, note]}).endswith("One thing to know: see the ! above.")
    assert render({"x": [note, note]}).endswith("2 things to know: see the ! above.")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (8 << 30, "8 GiB"), (250 << 50, "250 PiB")],
)
def test_size(number: int, text: str) -> None:
    """Sizes are written for readers."""
    assert size(number) == text


def test_broken_pipe() -> None:
    """A reader that goes away (``| head -1``) causes no traceback."""
    program = subprocess.Popen(
        [sys.executable, "-m", "allcores", "doctor"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    error = program.stderr.read()
    program.stderr.close()
    assert program.wait(timeout=150) in (0, 1)
    assert "Traceback" not in error
    assert "BrokenPipe" not in error
