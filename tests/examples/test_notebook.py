"""Each example runs in the cells of a real notebook, under every start method, without a guard."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from programs import PROGRAMS, TOP_LINE, Program

METHODS = ["fork", "spawn", "forkserver"]


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


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """What each cell printed on standard output."""
    return [
        "".join(out["text"] for out in cell["outputs"] if out.get("name") == "stdout")
        for cell in notebook.cells
    ]


def as_notebook(method: str) -> nbformat.NotebookNode:
    """All programs one after the other, as a reader would go through them in one kernel."""
    notebook = nbformat.v4.new_notebook()
    first = f"import allcores\nallcores.set_start_method({method!r})\nprint({TOP_LINE!r})"
    sources = [first, *(cell for program in PROGRAMS for cell in program.cells())]
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return notebook


def lines_from_parent(program: Program, text: str) -> str:
    """What the kernel itself printed: a child's line may reach the page late, in a later cell."""
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith(("child:", "client"))
    )


@pytest.mark.watchdog(120)
@pytest.mark.parametrize("method", METHODS)
def test_notebook(method: str, tmp_path: Path) -> None:
    """Every cell prints what it has to, children's lines arrive, and no cell writes an error."""
    notebook = as_notebook(method)
    client = NotebookClient(
        notebook, timeout=60, kernel_name="tested", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = printed(notebook)
    assert outputs[0].strip() == TOP_LINE
    for number, program in enumerate(PROGRAMS):
        definitions, body = outputs[1 + 2 * number : 3 + 2 * number]
        assert lines_from_parent(program, definitions) == ""
        expected = lines_from_parent(program, program.expected)
        Program(program.name, "", expected).check(lines_from_parent(program, body))
    everything = "".join(outputs)
    assert everything.count("child: pid") == 1
    assert everything.count("client got: 6") == 1
    assert everything.count(TOP_LINE) == 1
