"""The tests can be imported by name in a child, as spawn needs it."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent.parent


def test_module_names_are_unique() -> None:
    files = [path.name for path in TESTS.rglob("*.py") if "__pycache__" not in path.parts]
    names = Counter(
        name for name in files if name not in ("conftest.py", "__init__.py", "__main__.py")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_nobody_imports_a_conftest() -> None:
    """There are several: which one a child got would be chance."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert "conftest" not in names, path
