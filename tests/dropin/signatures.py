"""Whether one signature takes every call that another takes, and means the same by it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def signature_of(function: Any) -> Signature | None:
    """Return a callable's signature; None if it has none that can be seen."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def parse(text: str) -> Signature:
    """Return the signature that a text such as ``(value=1, *, lock=True)`` describes."""
    space: dict[str, Callable[..., Any]] = {}
    exec(f"def described{text}: pass", {}, space)
    return inspect.signature(space["described"])


def missing(wanted: Signature, got: Signature) -> list[str]:
    """Return what a call for `wanted` may say that `got` doesn't take, or takes as something else.

    More parameters than wanted are fine, as long as they need not be given.

    Args:
        wanted: the documented signature.
        got: the one to look at.
    """
    found = []
    there = dict(got.parameters)
    kinds = {parameter.kind for parameter in there.values()}
    order = [name for name, one in there.items() if one.kind in POSITIONAL]
    place = 0
    for name, one in wanted.parameters.items():
        if one.kind is Parameter.VAR_POSITIONAL:
            if one.kind not in kinds:
                found.append(f"no *{name}")
            continue
        if one.kind is Parameter.VAR_KEYWORD:
            if one.kind not in kinds:
                found.append(f"no **{name}")
            continue
        if one.kind is Parameter.POSITIONAL_ONLY:
            if place < len(order):
                name = order[place]
            elif Parameter.VAR_POSITIONAL in kinds:
                continue
        other = there.get(name)
        if other is None:
            if one.kind is Parameter.KEYWORD_ONLY and Parameter.VAR_KEYWORD in kinds:
                continue
            if {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD} <= kinds:
                continue
            found.append(f"no parameter {name}")
            continue
        if one.kind in POSITIONAL:
            if other.kind not in POSITIONAL:
                found.append(f"{name} can't be given by position")
            elif place >= len(order) or order[place] != name:
                found.append(f"{name} is not parameter number {place + 1}")
            place += 1
        if one.kind is not Parameter.POSITIONAL_ONLY and other.kind is Parameter.POSITIONAL_ONLY:
            found.append(f"{name} can't be given by name")
        if one.default is not Parameter.empty and other.default != one.default:
            found.append(f"the default of {name} is {other.default!r}, not {one.default!r}")
    wanted_names = set(wanted.parameters) | set(order[:place])
    for name, other in there.items():
        if name in wanted_names or other.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            continue
        if other.default is Parameter.empty:
            found.append(f"{name} has to be given")
    return found
