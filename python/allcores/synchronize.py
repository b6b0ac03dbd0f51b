"""Locks, events and their like: ``multiprocessing.synchronize``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.synchronize as _std
import sys

sys.modules[__name__] = _std
