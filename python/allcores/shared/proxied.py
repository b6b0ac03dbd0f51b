"""What programs call on a manager's objects besides their methods: names of ``BaseProxy``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Proxied"]


class Proxied:
    """Has what a proxy of the standard library has for classes derived from it, and for others."""

    __slots__ = ()

    def _getvalue(self) -> Any:
        """Return a copy that belongs to this process."""
        return self.copy()  # type: ignore[attr-defined]

    def _callmethod(
        self, methodname: str, args: tuple[Any, ...] = (), kwds: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a method by its name."""
        return getattr(self, methodname)(*args, **(kwds or {}))
