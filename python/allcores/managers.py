"""Managers: ``multiprocessing.managers``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.managers as _std
import sys

sys.modules[__name__] = _std
