"""Workers start all at once, before they have anything to do, and with what others imported."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import allcores
import leftovers
import pytest
from allcores.launch import blank, learn
from allcores.task import between, crew
from pool_tools import eventually


@pytest.fixture(params=["spawn", "forkserver"])
def ctx(request: pytest.FixtureRequest) -> Any:
    """The start methods with processes that can be started ahead."""
    return allcores.get_context(request.param)


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_child_that_was_started_ahead_is_the_next_process(ctx: Any) -> None:
    method = ctx.get_start_method()
    with blank.ahead(method, 2):
        assert blank.count(method) == 2
        process = ctx.Process(target=os._exit, args=(7,))
        process.start()
        assert blank.count(method) == 1
        process.join()
        assert process.exitcode == 7
    assert blank.count(method) == 0


def test_a_child_that_was_started_ahead_has_the_arguments_descriptors(ctx: Any) -> None:
    reader, writer = allcores.Pipe(duplex=False)
    with blank.ahead(ctx.get_start_method(), 1), writer:
        process = ctx.Process(target=writer.send, args=("here",))
        process.start()
        assert reader.recv() == "here"
        process.join()
    reader.close()


def test_workers_of_a_pool_that_is_not_made_after_all_end(ctx: Any) -> None:
    with pytest.raises(ZeroDivisionError), blank.ahead(ctx.get_start_method(), 2):
        raise ZeroDivisionError
    before = leftovers.children()
    program = f"""
        import allcores
        try:
            allcores.get_context({ctx.get_start_method()!r}).Pool(2, maxtasksperchild=-1)
        except ValueError:
            print("refused")
    """
    assert run(program) == "refused\n"
    new = leftovers.children() - before
    eventually(lambda: all(leftovers.is_zombie(pid) for pid in new))
    leftovers.reap_adopted(new)


def test_workers_are_asked_for_before_the_program_imports_a_pool(ctx: Any) -> None:
    program = f"""
        import sys
        import allcores
        from allcores.launch import interpreter

        start = interpreter.start

        def watched(*args):
            found.append(sorted(heavy & sys.modules.keys()))
            return start(*args)

        heavy = {{"allcores.pool", "allcores.task", "multiprocessing.pool", "tempfile"}}
        found = []
        interpreter.start = watched
        with allcores.get_context({ctx.get_start_method()!r}).Pool(2) as pool:
            assert pool.map(abs, [-1]) == [1]
        print(found[0], heavy <= sys.modules.keys())
    """
    assert run(program) == "[] True\n"


def test_later_children_of_the_fork_server_find_loaded_what_the_first_went_without() -> None:
    program = """
        import allcores

        def loaded(name):
            import sys
            return name in sys.modules

        name = "allcores.connection"
        context = allcores.get_context("forkserver")
        with context.Pool(1, maxtasksperchild=1) as pool:
            print(pool.apply(loaded, (name,)))
            while not pool.apply(loaded, (name,)):
                pass
        print("later")
    """
    assert run(program) == "False\nlater\n"


def test_the_fork_server_imports_what_workers_had_to(tmp_path: Path) -> None:
    """But not what leaves a thread or a file behind, which its children would not have."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "good.py").write_text("print('imported')\n")
    (folder / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    (folder / "opening.py").write_text("file = open(__file__)\n")
    (folder / "failing.py").write_text(
        "import sys\nif sys.argv[0] == '-c' and len(sys.argv) > 1:\n    sys.exit(1)\n"
    )
    program = f"""
        import sys
        sys.path.insert(0, {str(folder)!r})
        import allcores

        def task(name):
            had = name in sys.modules
            __import__(name)
            return had

        names = ["threaded", "opening", "failing", "good"]
        with allcores.get_context("forkserver").Pool(1, maxtasksperchild=len(names)) as pool:
            had = []
            while not had or not had[-1]:
                had = pool.map(task, names, 1)
            for _ in range(5):
                assert pool.map(task, names, 1) == had
        print(had)
    """
    lines = run(program).splitlines()
    assert lines[-1] == "[False, False, False, True]"


def test_a_waiting_worker_imports_what_another_had_to(
    ctx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both are to be kept, however late they leave and however few cores there are.
    monkeypatch.setattr(crew, "_PART_S", 60.0)
    monkeypatch.setattr("allcores.task.reserve.IDLE_S", 600.0)
    monkeypatch.setattr("allcores.task.reserve.cpu_count", lambda: 2)

    def load(barrier: Any, which: int) -> int:
        between.IDLE_S = 600.0  # type: ignore[attr-defined]
        if which == 0:
            import colorsys  # noqa: F401
        barrier.wait()
        return os.getpid()

    def look(barrier: Any) -> tuple[int, bool]:
        barrier.wait()
        return os.getpid(), "colorsys" in sys.modules

    both = allcores.Barrier(2)
    with ctx.Pool(2) as pool:
        pids = set(pool.starmap(load, [(both, 0), (both, 1)], 1))
    with ctx.Pool(2) as pool:
        found = dict(pool.map(look, [allcores.Barrier(2)] * 2, 1))
    assert found == dict.fromkeys(pids, True)


def test_lessons_are_cut_at_packages_and_kept_short() -> None:
    modules = [(f"package{i // 100}.module{i}", "/" + "x" * 50) for i in range(300)]
    batches = learn.batches(modules)
    assert [module for batch in batches for module in batch] == modules
    for batch in batches:
        assert len({name.partition(".")[0] for name, _ in batch}) == 1
        assert sum(len(name) + len(origin) for name, origin in batch) < 4000


def test_recycling_is_silent(ctx: Any) -> None:
    program = f"""
        import allcores
        with allcores.get_context({ctx.get_start_method()!r}).Pool(2, maxtasksperchild=3) as pool:
            print(pool.map(abs, range(60), 1) == list(range(60)))
    """
    assert run(program) == "True\n"
