"""The tracker of named resources: ``multiprocessing.resource_tracker``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.resource_tracker as _std
import sys

sys.modules[__name__] = _std
