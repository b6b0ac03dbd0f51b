"""ctypes objects in shared memory: the names of ``multiprocessing.sharedctypes``.

What is behind them is in ``allcores.shared.values``.
"""

import multiprocessing.sharedctypes as _std
from typing import Any as _Any

from allcores.shared.values import (
    Array,
    RawArray,
    RawValue,
    Synchronized,
    SynchronizedArray,
    SynchronizedBase,
    SynchronizedString,
    Value,
    copy,
    synchronized,
    typecode_to_type,
)

__all__ = [
    "Array",
    "RawArray",
    "RawValue",
    "Synchronized",
    "SynchronizedArray",
    "SynchronizedBase",
    "SynchronizedString",
    "Value",
    "copy",
    "synchronized",
    "typecode_to_type",
]


def __getattr__(name: str) -> _Any:
    # Names that were never documented, and are used all the same.
    return getattr(_std, name)
