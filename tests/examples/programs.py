"""The programs of `examples/`, and the forms in which the tests run them."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "examples"
TOP_LINE = "top-level line"


@dataclass(frozen=True)
class Program:
    """One folder of `examples/`."""

    name: str
    source: str
    expected: str

    def definitions_and_body(self) -> tuple[str, str]:
        """Split the source where the imports, functions and classes end."""
        lines = self.source.splitlines(keepends=True)
        for node in ast.parse(self.source).body:
            definition = isinstance(
                node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
            ) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            if not definition:
                return "".join(lines[: node.lineno - 1]), "".join(lines[node.lineno - 1 :])
        raise ValueError(f"{self.name} does nothing")

    def form(self, method: str, *, guarded: bool) -> str:
        """The program under a start method, with or without a guard around what it does.

        A first line prints, and prints before any guard: that it comes out once shows that no child
        ran the program again.
        """
        definitions, body = self.definitions_and_body()
        if guarded:
            body = 'if __name__ == "__main__":\n' + textwrap.indent(body, "    ")
        return f"{first_lines(method)}\n{definitions}{body}"

    def check(self, output: str) -> None:
        """Compare what was printed with `expected.txt`, in which `<number>` is any number."""
        pattern = re.escape(self.expected).replace("<number>", r"\d+")
        assert re.fullmatch(pattern, output), f"printed:\n{output}\nexpected:\n{self.expected}"


def first_lines(method: str) -> str:
    """What is put before a program: the start method, and a line that has to come out once."""
    return f"import allcores\nallcores.set_start_method({method!r})\nprint({TOP_LINE!r})\n"


def read(folder: Path) -> Program:
    """Read one example."""
    return Program(
        folder.name,
        (folder / "program.py").read_text(),
        (folder / "expected.txt").read_text(),
    )


PROGRAMS = [read(path.parent) for path in sorted(FOLDER.glob("*/program.py"))]
