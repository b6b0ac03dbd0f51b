"""The demo's measurements are right."""

from __future__ import annotations

from pathlib import Path

import pytest
from allcores.demo.measure import TOP, measure, measure_source

SOURCE = b"""\
import os.path as where

def outer(first, *rest, **named):
    if first and rest or named:          # if, and, or
        for item in rest:                # for
            while item:                  # while
                item -= 1
    elif first:                          # if
        return [x for x in rest if x]    # comprehension, if
    else:
        try:
            pass
        except ValueError:               # except
            pass

    def inner():
        return 1 if first else 2         # conditional expression
    return inner(**named)

class Thing:
    async def method(self):
        async with self as me:
            match me.attribute:
                case 1:                  # case
                    pass
                case _:                  # case
                    pass
"""


def test_measures() -> None:
    """Branches, nesting, lines and identifiers of a small file, counted by hand."""
    record = measure_source("a.py", SOURCE)
    assert record.error is None
    assert record.lines == SOURCE.count(b"\n")
    assert record.functions == 3
    by_name = {function.name: function for function in record.top}
    assert {name: f.branches for name, f in by_name.items()} == {
        "outer": 9,
        "method": 2,
        "inner": 1,
    }
    assert {name: f.depth for name, f in by_name.items()} == {"outer": 3, "method": 2, "inner": 0}
    assert (by_name["outer"].line, by_name["outer"].lines) == (3, 16)
    assert record.branches == 12
    assert record.depth == 4  # function, if, for, while; class, method, with, match
    names = "first rest named item x ValueError inner outer Thing method self me attribute"
    assert record.identifiers == len({*names.split(), "os.path"})


def test_long_elif_chains_are_not_deep() -> None:
    """An elif is as deep as its if; an if below an else is one deeper."""
    chain = b"if a: pass\n" + b"elif b: pass\n" * 50
    assert measure_source("a.py", chain).depth == 1
    assert measure_source("a.py", b"if a: pass\nelse:\n  if b: pass\n").depth == 2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"def broken(:\n", "SyntaxError"),
        (b"x = 1\0\n", None),
        (b"# coding: no-such-codec\n", "SyntaxError"),
        (b"(" * 10_000 + b")" * 10_000, None),
        (b"x = '\xff'\n", "SyntaxError"),
    ],
)
def test_bad_files_are_counted(tmp_path: Path, content: bytes, error: str | None) -> None:
    """A file that can't be parsed gives a record naming the error (None: depends on Python)."""
    path = tmp_path / "bad.py"
    path.write_bytes(content)
    record = measure(str(path)).record
    assert record.error is not None
    assert error is None or record.error == error
    assert record.functions == record.lines == 0


def test_missing_file_is_counted(tmp_path: Path) -> None:
    """A file that vanished after it was listed is no reason to stop."""
    assert measure(str(tmp_path / "gone.py")).record.error == "FileNotFoundError"


def test_only_the_most_branching_travel() -> None:
    """A record stays small, however many functions a file has."""
    source = b"".join(
        b"def f%d():\n  return %s\n" % (i, b" or ".join([b"x"] * i)) for i in range(1, 40)
    )
    record = measure_source("a.py", source)
    assert record.functions == 39
    assert [function.name for function in record.top] == ["f39", "f38", "f37", "f36", "f35"][:TOP]


def test_empty_file() -> None:
    """An empty file has no lines; a last line counts without its newline."""
    assert measure_source("a.py", b"").lines == 0
    assert measure_source("a.py", b"x").lines == 1
