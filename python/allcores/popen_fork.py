"""How a process is started by fork: the public face of ``allcores.launch.fork``."""

from allcores.launch.fork import Popen

__all__ = ["Popen"]
