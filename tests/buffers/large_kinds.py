"""Large objects of every kind, and how to change and compare them."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from large_things import NUMBERS, N


class Thing(NamedTuple):
    """A kind of object."""

    make: Callable[[], Any]
    change: Callable[[Any], None] | None  # None: it can't be changed
    equal: Callable[[Any, Any], bool]
    aside: bool = True  # whether its memory goes beside the pickle


def _set(obj: Any) -> None:
    obj[0] = obj[1]


def _clear(obj: Any) -> None:
    obj[0] = 0


def _frame(**columns: Any) -> Callable[[], pd.DataFrame]:
    return lambda: pd.DataFrame(columns)


def _change_frame(frame: pd.DataFrame) -> None:
    frame.iloc[0, 0] = frame.iloc[1, 0]


def _same(one: Any, other: Any) -> bool:
    return bool(one == other)


def _same_array(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and one.shape == other.shape and (one == other).all())


def _same_frame(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return bool(one.equals(other) and (one.dtypes == other.dtypes).all())


TEXTS = [f"text {i}" for i in range(N)]

THINGS = {
    "ndarray": Thing(lambda: NUMBERS.copy(), _set, _same_array),
    "Fortran order": Thing(lambda: np.asfortranarray(NUMBERS.reshape(50, -1)), _set, _same_array),
    "with gaps": Thing(lambda: np.arange(2 * N)[::2], _set, _same_array),
    "broadcast": Thing(lambda: np.broadcast_to(NUMBERS[:100], (500, 100)), None, _same_array),
    "times": Thing(lambda: np.arange(N).astype("M8[s]"), _set, _same_array),
    "records": Thing(lambda: np.ones(N, dtype=[("a", "i4"), ("b", "f8")]), _clear, _same_array),
    "texts": Thing(lambda: np.array(TEXTS), _set, _same_array),
    "objects": Thing(lambda: np.array([None, 1] * N, dtype=object), _set, _same_array, False),
    "array": Thing(lambda: array("d", NUMBERS), _set, _same),
    "memoryview": Thing(lambda: memoryview(NUMBERS.reshape(50, -1).copy()), None, _same),
    "bytes": Thing(lambda: bytes(range(256)) * 1000, None, _same, False),
    "bytearray": Thing(lambda: bytearray(range(256)) * 1000, _set, _same, False),
    "DataFrame": Thing(
        _frame(a=NUMBERS, b=np.arange(N), c=[True, False] * (N // 2)), _change_frame, _same_frame
    ),
    "DataFrame of Arrow": Thing(
        lambda: pd.DataFrame({"t": pd.array(TEXTS, "string[pyarrow]"), "n": NUMBERS}),
        _change_frame,
        _same_frame,
    ),
    "DataFrame of objects": Thing(
        lambda: pd.DataFrame({"t": pd.Series(TEXTS, dtype=object)}),
        _change_frame,
        _same_frame,
        False,
    ),
    "Arrow table": Thing(lambda: pa.table({"n": NUMBERS, "t": TEXTS}), None, _same),
    "nested": Thing(
        lambda: {"a": [NUMBERS.copy(), (NUMBERS.astype("i4"), "text")]},
        lambda x: _set(x["a"][0]),
        lambda x, y: (
            _same_array(x["a"][0], y["a"][0])
            and _same_array(x["a"][1][0], y["a"][1][0])
            and x["a"][1][1] == y["a"][1][1]
        ),
    ),
}


def changed(name: str, obj: Any) -> Any:
    """Change what arrived, and return it: what a task does."""
    change = THINGS[name].change
    assert change is not None
    change(obj)
    return obj
