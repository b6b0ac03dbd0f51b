"""Starting children as fresh interpreters: the public face of ``allcores.launch``."""

from allcores.launch.command import freeze_support, get_executable, set_executable
from allcores.launch.prepare import get_preparation_data

__all__ = ["freeze_support", "get_executable", "get_preparation_data", "set_executable"]
