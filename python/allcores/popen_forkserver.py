"""How a process is started by forkserver: the public face of ``allcores.launch.forkserver``."""

from allcores.launch.forkserver import Popen

__all__ = ["Popen"]
