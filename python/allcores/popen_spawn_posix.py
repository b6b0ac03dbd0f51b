"""How a process is started by spawn: the public face of ``allcores.launch.spawn``."""

from allcores.launch.spawn import Popen

__all__ = ["Popen"]
