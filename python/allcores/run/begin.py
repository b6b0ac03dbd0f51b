"""What happens in the program's interpreter before the program."""

from __future__ import annotations

import atexit
from typing import Any


def begin(settings: dict[str, Any]) -> None:
    """Put allcores in the place of multiprocessing, and take notes for the report.

    Args:
        settings: from command.py.
    """
    if settings["report"]:
        from allcores.run import report

        # Registered first, to be called last: after pools have been ended.
        atexit.register(report.begin(settings["program"]))
    from allcores.run import replace

    replace.install(settings["keep"], settings["method"])
