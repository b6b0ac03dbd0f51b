"""``allcores doctor``: what matters about this machine, and what would hurt.

``python``, ``machine``, ``limits`` and ``system`` each look at one side and return findings;
``report`` shows them. Nothing is changed, started or left behind.
"""

from allcores.doctor.report import examine, run

__all__ = ["examine", "run"]
