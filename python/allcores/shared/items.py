"""What shared containers hold: pickles, where a word of the core doesn't do."""

from __future__ import annotations

import sys
from typing import Any

from allcores import pickling

__all__ = ["pack"]


def pack(item: Any, what: str) -> tuple[bytes, list[int]]:
    """Pickle an item, for the core; `what` it is opens the message of an error."""
    managers = sys.modules.get("multiprocessing.managers")
    if managers is not None:
        _keep(item, managers.BaseProxy)
    return pickling.pack(item, what)


# Proxies for objects in a manager's server that this process has put into containers. The server
# frees an object with its last proxy, and a pickle in a container counts for none: without these
# it would be gone by the time that somebody reads it.
_kept: dict[Any, Any] = {}


def _keep(item: Any, proxy: type) -> None:
    if isinstance(item, proxy):
        token: Any = item._token  # type: ignore[attr-defined]
        _kept[token.address, token.id] = item
    elif type(item) in (list, tuple):
        for part in item:
            _keep(part, proxy)
    elif type(item) is dict:
        for part in item.values():
            _keep(part, proxy)
