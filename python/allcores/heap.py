"""The standard library's shared memory heap: ``multiprocessing.heap``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.heap as _std
import sys

sys.modules[__name__] = _std
