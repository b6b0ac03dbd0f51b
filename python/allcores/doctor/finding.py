"""One thing the doctor looked at, and what it thinks of it."""

from typing import Literal, NamedTuple

__all__ = ["Finding", "Verdict", "size"]

Verdict = Literal["ok", "note", "bad"]


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        name: What was looked at.
        value: What was found, for a reader.
        verdict: ``ok``; ``note``: costs speed or features; ``bad``: allcores can't work like this.
        advice: What it means and what to do; empty when all is well.
        data: ``value`` for programs, as a plain number or in bytes; None when ``value`` will do.
    """

    name: str
    value: str
    verdict: Verdict = "ok"
    advice: str = ""
    data: int | float | bool | None = None


def size(number: int) -> str:
    """Write a number of bytes for a reader."""
    value, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024 or unit == "PiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.1f} {unit}"
