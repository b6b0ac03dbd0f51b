"""The fork server: the public face of ``allcores.launch.forkserver``."""

from allcores.launch.forkserver import (
    _forkserver as _forkserver,
)
from allcores.launch.forkserver import (
    ensure_running,
    get_inherited_fds,
    set_forkserver_preload,
)

__all__ = ["ensure_running", "get_inherited_fds", "set_forkserver_preload"]
