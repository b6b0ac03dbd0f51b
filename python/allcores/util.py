"""Logging, finalizers and other tools: ``multiprocessing.util``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.util as _std
import sys

sys.modules[__name__] = _std
