"""What is built for users has no place in it where a test can kill a process."""

from __future__ import annotations

import re
from pathlib import Path

import allcores._core as core

SOURCE = Path(__file__).resolve().parents[2] / "crates" / "allcores-core" / "src"


def test_the_extension_has_no_crash_points() -> None:
    """`crash_point!` is nothing in a build without debug assertions, which this is."""
    names: set[bytes] = set()
    for file in SOURCE.rglob("*.rs"):
        names.update(re.findall(rb'crash_point!\("([^"]+)"\);', file.read_bytes()))
    assert len(names) > 200
    assert core.__file__ is not None
    built = Path(core.__file__).read_bytes()
    # So the bytes are searched rightly: the text of an error is there.
    assert b"release of a lock that nobody holds" in built
    left = sorted(name for name in names if name in built)
    assert not left, "the core was built with debug assertions; build it with `make clean demo`"
