"""cloudpickle is there for what it knows best, and imported when that comes up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import email
import sys
import email.mime.text
import allcores as mp

factor = 3

def triple(x):
    return factor * x

def nested(x):
    def inner():
        return email.mime.text.MIMEText(x).get_payload()
    return inner()

class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x

def keys(mapping): return sorted(mapping)

if __name__ == "__main__":
    with mp.get_context(METHOD).Pool(1) as pool:
        print(pool.map(triple, [1, 2]), pool.apply(nested, ("a",)))
        print(pool.map(lambda x: x + factor, [1]), pool.apply(len, (range(3),)))
        print("cloudpickle" in sys.modules)
        print(pool.apply(Point, (1,)) == Point(1), pool.apply(keys, ({"a": 1}.keys(),)))
        print("cloudpickle" in sys.modules)
        import cloudpickle, module_beside
        cloudpickle.register_pickle_by_value(module_beside)
        print(pool.apply(module_beside.five))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_functions_travel_without_it(tmp_path: Path, method: str) -> None:
    (tmp_path / "module_beside.py").write_text("def five(): return 5\n")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("METHOD", repr(method)))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[3, 6] a",
        "[4] 3",
        "False",
        "True ['a']",
        "True",
        "5",
    ]


def test_all_its_reducers_are_reached() -> None:
    import cloudpickle
    from allcores.launch import reduce

    known = cloudpickle.Pickler.dispatch_table.maps[0]
    assert {kind.__module__ for kind in known} <= set(reduce._ITS_MODULES)
