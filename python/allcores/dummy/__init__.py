"""The interface of the package on threads: ``multiprocessing.dummy``.

The module is the standard library's own object under this name, so that its state is one.
"""

import multiprocessing.dummy as _std
import sys

import allcores.dummy.connection  # noqa: F401

sys.modules[__name__] = _std
