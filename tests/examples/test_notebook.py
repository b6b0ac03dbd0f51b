"""Each example runs in the cells of a real notebook, under every start method, without a guard."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from programs import PROGRAMS, TOP_LINE, first_lines

METHODS = ["fork", "spawn", "forkserver"]
# A loaded machine takes ten times as long as a free one.
SECONDS = 200


@pytest.fixture(scope="module", autouse=True)
def kernel_spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A kernel of the very Python that runs the tests, whatever kernels the machine has."""
    folder = tmp_path_factory.mktemp("jupyter")
    spec = folder / "data" / "kernels" / "tested"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [
                    sys.executable,
                    *("-m", "ipykernel_launcher", "-f", "{connection_file}"),
                ],
                "display_name": "tested",
                "language": "python",
            }
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(folder / "data"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        patch.setenv("JUPYTER_CONFIG_DIR", str(folder / "config"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        yield


class Notebook:
    """A running kernel, and everything that it ever sent to the page."""

    def __init__(self, client: NotebookClient) -> None:
        self.client = client
        self.messages: list[dict[str, Any]] = []
        receive = client.kc.iopub_channel.get_msg

        async def recorded(*args: Any, **kwargs: Any) -> dict[str, Any]:
            message: dict[str, Any] = await receive(*args, **kwargs)
            self.messages.append(message)
            return message

        client.kc.iopub_channel.get_msg = recorded

    def run(self, source: str) -> str:
        """Run a cell and return what it printed. An error in it is raised here."""
        cell = nbformat.v4.new_code_cell(source)
        self.client.nb.cells.append(cell)
        self.client.execute_cell(cell, len(self.client.nb.cells) - 1)
        return "".join(out["text"] for out in cell["outputs"] if out.get("name") == "stdout")

    def everything(self, stream: str) -> str:
        """What arrived on a stream so far, whichever cell it was for."""
        return "".join(
            message["content"]["text"]
            for message in self.messages
            if message["msg_type"] == "stream" and message["content"]["name"] == stream
        )

    def wait_for(self, count: int) -> None:
        """Run empty cells until so many characters have arrived, a pid counted as one.

        The watchdog ends it when they never do.
        """
        while len(plain(self.everything("stdout"))) < count:
            self.run("pass")


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """A notebook without a cell, in a kernel that just started."""
    # ipykernel leaves the standard streams of children alone when it believes to be under test.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        # Of a cell, of the kernel's start, and of what a cell printed after it is done: 4 seconds
        # if nothing is said, after which the rest is dropped.
        timeout=SECONDS,
        startup_timeout=SECONDS,
        iopub_timeout=SECONDS,
        kernel_name="tested",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    with client.setup_kernel():
        yield Notebook(client)


def plain(text: str) -> str:
    """Replace each pid, and what stands for any, by the same character."""
    return re.sub(r"(?<=pid )(\d+|<number>)", "#", text)


def is_mix(text: str, one: str, other: str) -> bool:
    """Whether a text consists of two others, each in its order."""
    if len(text) != len(one) + len(other):
        return False
    taken = {0}  # of `one`; the rest is of `other`
    for index, char in enumerate(text):
        by_one = {n + 1 for n in taken if one[n : n + 1] == char}
        taken = by_one | {n for n in taken if other[index - n : index - n + 1] == char}
    return bool(taken)


@pytest.mark.watchdog(SECONDS + 20)
@pytest.mark.parametrize("method", METHODS)
def test_notebook(method: str, notebook: Notebook) -> None:
    """The programs run one after the other, children's lines arrive, standard error is empty."""
    notebook.run(first_lines(method))
    lines = [TOP_LINE]
    for program in PROGRAMS:
        for part in program.definitions_and_body():
            notebook.run(part)
        lines += program.expected.splitlines()
    # `print` writes the parts of a line one after the other, and the kernel mixes those of its own
    # with what arrives from children, at any time.
    of_children = [line for line in lines if line.startswith(("child: pid", "client got:"))]
    others = [line for line in lines if line not in of_children]
    mine, theirs = (plain("\n".join([*some, ""])) for some in (others, of_children))
    notebook.wait_for(len(mine) + len(theirs))
    everything = notebook.everything("stdout")
    assert is_mix(plain(everything), mine, theirs), everything
    assert notebook.everything("stderr") == ""


@pytest.mark.watchdog(SECONDS + 20)
@pytest.mark.parametrize("method", METHODS)
def test_prints_of_tasks_are_in_the_cell_that_started_them(method: str, notebook: Notebook) -> None:
    """A task's print is in the output of the cell of its call, though another cell runs by then."""
    notebook.run(
        f"import allcores\nallcores.set_start_method({method!r})\nevent = allcores.Event()\n"
        "def work(name):\n    event.wait()\n    print('task of', name)\n"
        "pool = allcores.Pool(1)"
    )
    assert notebook.run("print('first')\nresult = pool.apply_async(work, ('first',))") == "first\n"
    assert "task of second" in notebook.run(
        "event.set(); result.get(); pool.apply(work, ('second',))"
    )
    notebook.wait_for(len("first\ntask of first\ntask of second\n"))
    cells: dict[str, str] = {}
    for message in notebook.messages:
        if message["msg_type"] == "stream":
            cell = message["parent_header"]["msg_id"]
            cells[cell] = cells.get(cell, "") + message["content"]["text"]
    assert sorted(cells.values()) == ["first\ntask of first\n", "task of second\n"]
    notebook.run("pool.close(); pool.join()")
    assert notebook.everything("stderr") == ""
