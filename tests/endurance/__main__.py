"""Pools that hold out: ``python -m tests.endurance``, a part of ``make soak``.

A thousand workers are killed at random moments during maps of ten thousand tasks with retries,
every twentieth of ten thousand tasks kills its worker, and workers are replaced every third of
100,000 tasks. Every result has to be right, nothing may be left.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import leftovers

from tests.endurance.runs import deaths, kills, recycling


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="(default %(default)s)")
    parser.add_argument("--tasks", type=int, default=10_000, help="of a map (default %(default)s)")
    parser.add_argument("--recycled", type=int, default=100_000, help="(default %(default)s)")
    parser.add_argument("--methods", default="fork,forkserver", help="(default %(default)s)")
    parser.add_argument("--seed", type=int, help="(default: random)")
    options = parser.parse_args()
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    leftovers.become_subreaper()
    for method in options.methods.split(","):
        print(kills(method, options.tasks, options.kills, seed), flush=True)
        print(deaths(method, options.tasks, seed), flush=True)
        print(recycling(method, options.recycled), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
