"""Pools: ``multiprocessing.pool``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.pool as _std
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.pool import *  # noqa: F403

sys.modules[__name__] = _std
