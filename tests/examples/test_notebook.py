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
from programs import PROGRAMS, TOP_LINE, Program, first_lines

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

    def wait_for(self, text: str) -> None:
        """Run empty cells until the text has arrived; the watchdog ends it when it never does."""
        while text not in self.everything("stdout"):
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


def from_parent(text: str) -> str:
    """What the kernel itself prints. A child's text may reach the page anywhere in it.

    `print` writes a line and its end one after the other, and the kernel mixes what its own
    code writes with what arrives from its children in between.
    """
    text = re.sub(r"child: pid (\d+|<number>)|client got: \d+", "", text)
    for start in ("child: pid", "client got:"):
        if start in text:  # and its number came apart from it
            text = re.sub(r"^ ?\d+\n", "", text.replace(start, ""), count=1, flags=re.MULTILINE)
    return "".join(line for line in text.splitlines(keepends=True) if line.strip())


@pytest.mark.watchdog(SECONDS + 20)
@pytest.mark.parametrize("method", METHODS)
def test_notebook(method: str, notebook: Notebook) -> None:
    """The programs run one after the other, children's lines arrive, standard error is empty."""
    first = notebook.run(first_lines(method))
    assert first.strip() == TOP_LINE
    for program in PROGRAMS:
        definitions, body = program.definitions_and_body()
        assert from_parent(notebook.run(definitions)) == ""
        expected = Program(program.name, "", from_parent(program.expected))
        expected.check(from_parent(notebook.run(body)))
    notebook.wait_for("child: pid")
    notebook.wait_for("client got: 6")
    everything = notebook.everything("stdout")
    assert [everything.count(text) for text in (TOP_LINE, "child: pid", "client got")] == [1, 1, 1]
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
    notebook.wait_for("task of first")
    cells: dict[str, str] = {}
    for message in notebook.messages:
        if message["msg_type"] == "stream":
            cell = message["parent_header"]["msg_id"]
            cells[cell] = cells.get(cell, "") + message["content"]["text"]
    assert sorted(cells.values()) == ["first\ntask of first\n", "task of second\n"]
    notebook.run("pool.close(); pool.join()")
    assert notebook.everything("stderr") == ""
