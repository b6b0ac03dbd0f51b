"""ctypes objects in shared memory: ``multiprocessing.sharedctypes``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.sharedctypes as _std
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import *  # noqa: F403

sys.modules[__name__] = _std
