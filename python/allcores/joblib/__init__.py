"""allcores as a backend of joblib, and so of scikit-learn: ``parallel_config(backend="allcores")``.

joblib learns of it whether it is imported before or after allcores, and nothing of joblib is
imported for that. backend.py has the backend.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["announce", "be_default", "register"]

# The module of joblib's that has the list of backends.
_MODULE = "joblib.parallel"

_is_default = False


def announce() -> None:
    """Have joblib know of the backend: now where it is loaded, else once it is."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    register()


def be_default() -> None:
    """Be the backend that joblib takes where the program names none."""
    global _is_default
    _is_default = True
    register()


def register() -> None:
    """Tell joblib, where it is loaded."""
    module = sys.modules.get(_MODULE)
    # One that is being imported just now has no function yet, and comes by `_Finder`.
    if module is not None and hasattr(module, "register_parallel_backend"):
        _register(module)


def _register(module: Any) -> None:
    backend = sys.modules.get("allcores.joblib.backend")
    if backend is not None and not hasattr(backend, "AllcoresBackend"):
        return  # it is what imports joblib just now, and registers itself at its end
    from allcores.joblib.backend import AllcoresBackend

    module.register_parallel_backend("allcores", AllcoresBackend, make_default=_is_default)


class _Finder:
    """Hears when joblib is imported; it finds nothing itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> Any:
        """Return how the others find a module, with us called at the end of its import.

        Args:
            name: of the module.
            path: where its package is.
            target: a module that is loaded again.
        """
        if name != _MODULE:
            return None
        for finder in sys.meta_path:
            if isinstance(finder, _Finder):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                _follow(spec.loader)
                return spec
        return None


def _follow(loader: Any) -> None:
    run = getattr(loader, "exec_module", None)
    if run is None:
        return

    def exec_module(module: ModuleType) -> None:
        run(module)
        _register(module)

    try:
        loader.exec_module = exec_module
    except AttributeError:
        pass  # a loader of somebody's own: then joblib doesn't know of this backend
