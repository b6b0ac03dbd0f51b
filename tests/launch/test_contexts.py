"""Contexts and start methods are the standard library's to look at, and kept apart from it."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import subprocess
import sys
from collections.abc import Iterator

import allcores as mp
import pytest


@pytest.fixture(autouse=True)
def unset_start_method() -> Iterator[None]:
    mp.set_start_method(None, force=True)
    yield
    mp.set_start_method(None, force=True)


def test_every_public_name_is_there() -> None:
    missing = [name for name in multiprocessing.__all__ if not hasattr(mp, name)]
    assert missing == []
    assert [name for name in multiprocessing.__all__ if name not in mp.__all__] == []
    assert all(hasattr(mp, name) for name in mp.__all__)


SUBMODULES = (
    "connection context dummy dummy.connection forkserver heap managers pool popen_fork "
    "popen_forkserver popen_spawn_posix process queues reduction resource_sharer "
    "resource_tracker shared_memory sharedctypes spawn synchronize util"
)


@pytest.mark.parametrize("name", SUBMODULES.split())
def test_submodules_can_be_imported(name: str) -> None:
    code = f"import allcores.{name} as m; import allcores; assert m is allcores.{name}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=150)


def test_forkserver_is_the_default_and_first() -> None:
    assert mp.get_all_start_methods() == ["forkserver", "fork", "spawn"]
    assert mp.get_start_method(allow_none=True) is None
    assert mp.get_start_method() == "forkserver"


def test_start_method_is_set_once_and_the_standard_library_keeps_its_own() -> None:
    before = multiprocessing.get_start_method(allow_none=True)
    mp.set_start_method("spawn")
    assert mp.get_start_method() == "spawn"
    with pytest.raises(RuntimeError, match="context has already been set"):
        mp.set_start_method("fork")
    mp.set_start_method("fork", force=True)
    assert mp.get_start_method() == "fork"
    assert multiprocessing.get_start_method(allow_none=True) == before


def test_unknown_method_names_the_known() -> None:
    with pytest.raises(ValueError, match=r"cannot find context for 'xxx'.*'spawn'"):
        mp.get_context("xxx")
    with pytest.raises(ValueError, match="cannot set start method of concrete context"):
        mp.get_context("spawn").set_start_method("fork")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_isinstance_of_the_standard_classes(method: str) -> None:
    context = mp.get_context(method)
    assert isinstance(context, multiprocessing.context.BaseContext)
    assert context.get_start_method() == method
    process = context.Process()
    assert isinstance(process, multiprocessing.process.BaseProcess)
    standard = multiprocessing.get_context(method).Process
    assert isinstance(process, standard)
    assert type(process).__name__ == standard.__name__


def test_default_process_is_a_multiprocessing_process() -> None:
    assert isinstance(mp.Process(), multiprocessing.Process)


def test_import_is_light() -> None:
    code = (
        "import sys, allcores; "
        "heavy = {'numpy', 'cloudpickle', 'tqdm', 'concurrent.futures', 'ctypes', 'asyncio'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=150
    )
    assert done.stdout == "[]\n"
