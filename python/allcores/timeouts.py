"""Timeouts as programs pass them: seconds, or None for as long as it takes."""

from __future__ import annotations

import math

# More than 31 years is as good as for ever, and more than what waiting functions can take.
_LONGEST_S = 1e9


def seconds(timeout: float | None) -> float | None:
    """Return a timeout that any waiting function understands.

    Args:
        timeout: what the program passed. Anything that is a number; None, and what is too
            long to be true, for ever.

    Raises:
        TypeError: it is no number.
        ValueError: it is not a number, by its own account: NaN.
    """
    if timeout is None:
        return None
    try:
        if math.isnan(timeout):
            raise ValueError("timeout must be a number of seconds, not NaN")
        return float(timeout) if timeout < _LONGEST_S else None
    except OverflowError:
        return None if timeout > 0 else 0.0
    except TypeError:
        raise TypeError(
            f"timeout must be a number of seconds or None, not {type(timeout).__name__}"
        ) from None
