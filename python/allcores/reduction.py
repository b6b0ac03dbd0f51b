"""Pickling and passing of descriptors between processes: ``multiprocessing.reduction``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.reduction as _std
import sys

sys.modules[__name__] = _std
