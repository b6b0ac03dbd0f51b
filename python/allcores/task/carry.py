"""Context variables, and filters of warnings, go with a task: the pool's side and the worker's.

Where there are none, a function goes as it is. Else it goes in a wrapper (`Carried`), which gives
each call what was around the caller.

A variable is known by where it is (launch/variables.py). One that is at no such place, or whose
value can't be pickled, stays at home.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any, NamedTuple

from allcores import pickling
from allcores.launch import variables
from allcores.launch.variables import Place
from allcores.task.function import is_seeded

__all__ = ["Carried", "Filter", "Load", "context_entries", "filters", "is_ours", "wrap"]

# A filter, as in `warnings.filters`.
Filter = tuple[Any, ...]

# They are about this process.
_STAY = ("allcores", "ipykernel", "IPython", "asyncio", "_pytest")
# The value of such a type never changes, so it is the same as long as it is the same object.
_CONSTANT = (type(None), bool, int, float, complex, str, bytes)
_DECIMAL = "decimal_context"

# Values that can't travel, as long as they live.
_unfit: dict[ContextVar[Any], weakref.ref[Any]] = {}


class Load(NamedTuple):
    """What a function takes along.

    Attributes:
        variables: where they are, their names and defaults, and their values.
        decimal: the context of `decimal`, if it is not the usual one.
        filters: of warnings; None for those that the worker has.
    """

    variables: tuple[tuple[Place, str, tuple[Any, ...], Any], ...] = ()
    decimal: Any = None
    filters: tuple[Filter, ...] | None = None


def context_entries(context: Context) -> tuple[tuple[Any, ...], Any, bool]:
    """Return what there is to carry of a context: variables, decimal's context.

    Args:
        context: of the caller.

    Returns:
        As in `Load`; and whether the same objects would give the same again.
    """
    found = []
    decimal = None
    constant = True
    for variable, value in context.items():
        if variable.name == _DECIMAL and type(value).__module__ == "decimal":
            decimal = _unusual(value)
            constant = constant and decimal is None
            continue
        place = variables.place_of(variable)
        if place is None or place[0].partition(".")[0] in _STAY:
            continue
        constant = constant and type(value) in _CONSTANT
        default = () if place[2] is None else variables.default_of(variable)
        if not all(_travels(variable, needed) for needed in (value, *default)):
            continue
        found.append((place, variable.name, default, value))
    return tuple(found), decimal, constant


def _travels(variable: ContextVar[Any], value: Any) -> bool:
    """Tell whether a value can be pickled, and is plain enough to be pickled for each call.

    Nothing is tried that duplicates descriptors, as sockets do: that would be for nothing.
    """
    if type(value) in _CONSTANT:
        return True
    unfit = _unfit.get(variable)
    if unfit is not None and unfit() is value:
        return False
    if pickling.is_plain(value):
        return True
    try:
        _unfit[variable] = weakref.ref(value)
    except TypeError:
        pass  # it is tried again next time
    return False


def _unusual(value: Any) -> Any:
    from allcores.task.between import arithmetic

    module = sys.modules["decimal"]
    return None if arithmetic(value) == arithmetic(module.DefaultContext) else value.copy()


def is_ours(error: BaseException) -> bool:
    """Tell whether the traceback of an exception begins in a wrapper."""
    start = error.__traceback__
    return start is not None and start.tb_frame.f_code is Carried.__call__.__code__


def wrap(func: Callable[..., Any], load: Load) -> Any:
    """Return a function that takes something along.

    Args:
        func: the function.
        load: what it takes along.
    """
    if is_seeded(func):  # that wrapper is to be the outer one
        return type(func)(Carried(func.func, load), func.seed)
    return Carried(func, load)


class Carried:
    """A function, and what was around its caller.

    Args:
        func: the user's.
        load: what it takes along.
    """

    def __init__(self, func: Callable[..., Any], load: Load) -> None:
        self.func = func
        self.load = load
        self.__qualname__: str = getattr(func, "__qualname__", None) or repr(func)
        self._context: Context | None = None

    def __reduce__(self) -> Any:
        return Carried, (self.func, self.load)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, in a context of its own.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
        """
        context = self._context
        if context is None:
            context = self._context = _unpacked(self.load)
        if self.load.filters is None:
            return context.copy().run(self.func, *args, **kwargs)
        with warnings.catch_warnings():
            set_filters(self.load.filters)
            return context.copy().run(self.func, *args, **kwargs)


def filters() -> list[Filter]:
    """Return the filters of warnings that there are: the list itself."""
    module: Any = warnings
    found: list[Filter] = module.filters
    return found


def set_filters(wanted: tuple[Filter, ...]) -> None:
    """Have these filters of warnings and no others.

    Args:
        wanted: as in `warnings.filters`.
    """
    warnings.resetwarnings()  # which also tells the C side that they are others now
    filters().extend(wanted)


def _unpacked(load: Load) -> Context:
    context = Context()
    for place, name, default, value in load.variables:
        variable = variables.find(place, name, default)
        if variable is not None:
            context.run(variable.set, value)
    if load.decimal is not None:
        import decimal

        context.run(decimal.setcontext, load.decimal)
    return context
