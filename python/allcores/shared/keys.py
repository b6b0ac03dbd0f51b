"""What makes keys of a shared dict equal, in every process.

The core compares keys by bytes. It makes them itself from ints, floats, texts, bytes, tuples
and frozensets; `reduce` says for other kinds which of those they amount to: ``Decimal(1)`` is 1,
a date is its name and a number. Where only an object's own ``__eq__`` can tell, it says
what class that comes from, and the dict asks it.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import numbers
import pathlib
import sys
import types
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["reduce"]

# A name of what the part is, or None when the part says all; "?" when only Python can tell.
Reduced = tuple[str | None, Any]

_EPOCH = datetime.datetime(1, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
# Decimals with larger exponents are compared with other Decimals only: as an int one would
# fill the memory.
_LARGEST_EXPONENT = 100_000

_known: WeakKeyDictionary[type, Callable[[Any], Reduced]] = WeakKeyDictionary()


def reduce(key: Any) -> Reduced:
    """Return what a hashable object amounts to as a key."""
    cls = type(key)
    how = _known.get(cls)
    if how is None:
        how = _known[cls] = _way(cls)
    return how(key)


def _way(cls: type) -> Callable[[Any], Reduced]:
    for base, how in _WAYS:
        if issubclass(cls, base) and _compares_like(cls, base):
            return how
    if cls.__module__ == "numpy":
        scalar = _numpy_way(cls)
        if scalar is not None:
            return scalar
    if issubclass(cls, enum.Enum) and cls.__eq__ is object.__eq__:
        return _flag if issubclass(cls, enum.Flag) else _member
    if issubclass(cls, type) and cls.__eq__ is object.__eq__:
        return _named
    if _is_plain_dataclass(cls):
        return _dataclass
    if issubclass(cls, numbers.Rational) and not issubclass(cls, (int, Fraction)):
        return _rational
    return _itself


def _compares_like(cls: type, base: type) -> bool:
    return cls.__eq__ is base.__eq__ and cls.__hash__ is base.__hash__


def _itself(key: Any) -> Reduced:
    """Ask the object itself; among those whose ``__eq__`` comes from the same class."""
    mro = type(key).__mro__
    first = next((c for c in reversed(mro[:-1]) if "__eq__" in vars(c)), mro[0])
    return "?", f"{first.__module__}.{first.__qualname__}"


def _int(key: int) -> Reduced:
    return None, int.__int__(key)


def _float(key: float) -> Reduced:
    return None, float.__float__(key)


def _str(key: str) -> Reduced:
    return None, str.__str__(key)


def _bytes(key: bytes) -> Reduced:
    return None, bytes(memoryview(key))


def _tuple(key: tuple[Any, ...]) -> Reduced:
    return None, tuple(tuple.__iter__(key))


def _frozenset(key: frozenset[Any]) -> Reduced:
    return None, frozenset(frozenset.__iter__(key))


def _complex(key: complex) -> Reduced:
    return ("complex", (key.real, key.imag)) if key.imag else (None, key.real)


def _ratio(numerator: int, denominator: int) -> Reduced:
    if denominator == 1:
        return None, numerator
    if denominator & (denominator - 1) == 0:
        try:
            as_float = numerator / denominator
        except OverflowError:
            pass
        else:
            if as_float.as_integer_ratio() == (numerator, denominator):
                return None, as_float
    return "ratio", (numerator, denominator)


def _rational(key: Any) -> Reduced:
    return _ratio(int(key.numerator), int(key.denominator))


def _decimal(key: Decimal) -> Reduced:
    if not key.is_finite():
        return None, float(key)
    if key and abs(key.adjusted()) > _LARGEST_EXPONENT:
        sign, digits, exponent = key.as_tuple()
        text = "".join(map(str, digits))
        zeros = len(text) - len(text.rstrip("0"))
        return "decimal", (sign, text.strip("0"), int(exponent) + zeros)
    return _ratio(*key.as_integer_ratio())


def _datetime(key: datetime.datetime) -> Reduced:
    # Python hashes and compares without the fold, where the time zone doesn't care for it.
    offset = key.replace(fold=0).utcoffset()
    since = key.replace(tzinfo=None, fold=0) - _EPOCH
    if offset is None:
        return "datetime", since // _MICROSECOND
    if key.replace(fold=1).utcoffset() != offset:
        return _itself(key)
    return "instant", (since - offset) // _MICROSECOND


def _date(key: datetime.date) -> Reduced:
    return "date", key.toordinal()


def _time(key: datetime.time) -> Reduced:
    if key.utcoffset() is not None:
        return _itself(key)
    return "time", (key.hour, key.minute, key.second, key.microsecond)


def _timedelta(key: datetime.timedelta) -> Reduced:
    return "timedelta", key // _MICROSECOND


def _uuid(key: uuid.UUID) -> Reduced:
    return "uuid", key.int


def _posix_path(key: pathlib.PurePath) -> Reduced:
    return "posix path", str(key)


def _windows_path(key: pathlib.PurePath) -> Reduced:
    return "windows path", str(key).lower()


def _range(key: range) -> Reduced:
    return "range", (len(key), *key[:1], *([key.step] if len(key) > 1 else []))


def _member(key: enum.Enum) -> Reduced:
    return "member", (type(key).__module__, type(key).__qualname__, key.name)


def _flag(key: enum.Flag) -> Reduced:
    return "flag", (type(key).__module__, type(key).__qualname__, key.value)


def _named(key: Any) -> Reduced:
    """A class or a function: its name, if that leads to it."""
    found: Any = sys.modules.get(key.__module__)
    for part in key.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is key and key.__module__ not in ("__main__", "__mp_main__"):
        return "named", (key.__module__, key.__qualname__)
    return _itself(key)


def _dataclass(key: Any) -> Reduced:
    cls = type(key)
    values = tuple(getattr(key, field.name) for field in _compared(cls))
    return "dataclass", (cls.__module__, cls.__qualname__, values)


def _compared(cls: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.compare]


def _is_plain_dataclass(cls: type) -> bool:
    """Whether instances are equal as `dataclasses` makes them: same class, same fields.

    A class may have an ``__eq__`` of its own, so the code is compared with a generated one.
    """
    params = vars(cls).get("__dataclass_params__")
    own = vars(cls).get("__eq__")
    if params is None or not params.eq or not isinstance(own, types.FunctionType):
        return False
    names = [field.name for field in _compared(cls)]
    model: Any = dataclasses.make_dataclass("Model", names).__eq__
    theirs, ours = own.__code__, model.__code__
    return all(
        getattr(theirs, part) == getattr(ours, part)
        for part in ("co_code", "co_names", "co_consts", "co_varnames", "co_freevars")
    )


def _numpy_way(cls: type) -> Callable[[Any], Reduced] | None:
    np = sys.modules["numpy"]
    if issubclass(cls, np.timedelta64):
        return None
    if issubclass(cls, (np.bool_, np.integer)):
        return lambda key: (None, int(key))
    if issubclass(cls, (np.float16, np.float32, np.float64)):
        return lambda key: (None, float(key))
    if issubclass(cls, np.floating):
        return _long_double
    if issubclass(cls, np.complexfloating):
        return lambda key: _complex(complex(key))
    if issubclass(cls, np.str_):
        return lambda key: (None, str(key))
    if issubclass(cls, np.bytes_):
        return lambda key: (None, bytes(key))
    return None


def _long_double(key: Any) -> Reduced:
    as_float = float(key)
    if as_float == key or as_float != as_float:
        return None, as_float
    return _ratio(*key.as_integer_ratio())


_WAYS: list[tuple[type, Callable[[Any], Reduced]]] = [
    (int, _int),
    (str, _str),
    (tuple, _tuple),
    (float, _float),
    (bytes, _bytes),
    (frozenset, _frozenset),
    (complex, _complex),
    (Decimal, _decimal),
    (Fraction, _rational),
    (datetime.datetime, _datetime),
    (datetime.date, _date),
    (datetime.time, _time),
    (datetime.timedelta, _timedelta),
    (uuid.UUID, _uuid),
    (pathlib.PurePosixPath, _posix_path),
    (pathlib.PureWindowsPath, _windows_path),
    (range, _range),
    (types.FunctionType, _named),
    (types.BuiltinFunctionType, _named),
]
