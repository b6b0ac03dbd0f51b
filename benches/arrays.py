"""A task that needs NumPy: the worker imports it with this module."""

from __future__ import annotations

import numpy


def total(number: int) -> int:
    return int(numpy.arange(number).sum())
