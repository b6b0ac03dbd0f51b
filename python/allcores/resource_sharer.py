"""Descriptors handed to processes that ask: ``multiprocessing.resource_sharer``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.resource_sharer as _std
import sys

sys.modules[__name__] = _std
