"""The code that users are shown runs, and prints what they are shown."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A loaded machine takes ten times as long as a free one.
SECONDS = 200


class Block(NamedTuple):
    """A program on a page, and what the page says it prints (None: nothing is said)."""

    page: str
    line: int
    source: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    found: list[Block] = []
    fences = list(FENCE.finditer(text))
    for fence, after in zip_longest(fences, fences[1:]):
        if fence[1] != "python":
            continue
        follows = (
            after is not None
            and after[1] == "output"
            and not text[fence.end() : after.start()].strip()
        )
        line = text.count("\n", 0, fence.start()) + 2
        name = str(page.relative_to(ROOT))
        found.append(Block(name, line, fence[2], after[2] if after and follows else None))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def test_pages_have_code() -> None:
    """The pattern that finds the blocks finds them: the README alone has three."""
    assert sum(block.page == "README.md" for block in BLOCKS) >= 3


@pytest.mark.watchdog(SECONDS + 20)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block(block: Block, tmp_path: Path) -> None:
    """A block is a whole program: it runs as a script without warnings and prints what is shown."""
    path = tmp_path / "block.py"
    path.write_text(block.source)
    result = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=SECONDS,
    )
    assert (result.returncode, result.stderr) == (0, "")
    if block.output is not None:
        assert result.stdout == block.output


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """A link from a page of the checkout to a file leads to one. (mkdocs checks those in docs/.)"""
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (ROOT / target).exists()] == []
