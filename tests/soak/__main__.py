"""The soak from the command line: ``python -m tests.soak --kills 50000``; see README.md."""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import random
import signal
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep

# Some helpers lie beside this folder.
sys.path.insert(0, str(Path(__file__).parent.parent))

import leftovers
from allcores import _core

from tests.soak.company import PATIENCE_S, Violation
from tests.soak.judge import Round
from tests.soak.measures import Measures
from tests.soak.stations import Station
from tests.soak.stations.containers import Lists
from tests.soak.stations.dicts import Dicts
from tests.soak.stations.leases import Leases
from tests.soak.stations.locks import Locks, Semaphores
from tests.soak.stations.pools import Pools
from tests.soak.stations.queues import Queues
from tests.soak.stations.waits import Barriers, Conditions, Events

KINDS: list[type[Station]] = [
    Queues, Locks, Semaphores, Events, Conditions, Barriers, Lists, Dicts, Pools, Leases
]  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="in all (default %(default)s)")
    parser.add_argument("--seconds", type=float, help="end after so long, however many kills")
    parser.add_argument("--rate", type=float, default=100, help="events a second, in the mean")
    parser.add_argument("--round-kills", type=int, default=250, help="(default %(default)s)")
    parser.add_argument("--seed", type=int, help="of the rounds' choices (default: random)")
    parser.add_argument("--first-round", type=int, default=0, help="repeat a run from here on")
    parser.add_argument("--keep-going", action="store_true", help="after a violation, too")
    parser.add_argument("--only", help="kinds of stations, e.g. Queues,Locks; at least one")
    parser.add_argument("--json", help="write counts and times to this file")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    leftovers.become_subreaper()
    # A judge that waits for ever says where, and ends; so does everybody else then.
    faulthandler.register(signal.SIGALRM, chain=True)
    kinds = [kind for kind in KINDS if options.only is None or kind.__name__ in options.only]
    measures = Measures()
    complaints = tempfile.TemporaryFile("ab+")  # noqa: SIM115
    # What the first use of everything leaves for good comes before the first count.
    _core.Event()
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    start = monotonic()
    number = options.first_round
    kills = violations = 0
    while kills < options.kills and monotonic() - start < (options.seconds or 1e9):
        dice = random.Random(f"{seed}/{number}")
        stations = choose(kinds, dice)
        begin = monotonic()
        this = Round(stations, dice, measures, complaints.fileno())
        try:
            this.run(min(options.round_kills, options.kills - kills), options.rate)
            # The supervisor's thread, which has one, goes when it has seen that nobody is left.
            patience = monotonic() + PATIENCE_S
            while len(os.listdir("/proc/self/fd")) > descriptors:
                if monotonic() > patience:
                    raise Violation("the judge has more descriptors open than before the round")
                sleep(0.01)
        except Violation as violation:
            print(f"\nVIOLATION in round {number} of seed {seed}: {this.describe()},")
            print(f"after {kills + this.kills} kills, {this.kills} of them in this round:\n")
            print(violation)
            print(f"\nTo try again: --seed {seed} --first-round {number}", flush=True)
            violations += 1
            if not options.keep_going:
                return 1
            del stations
            gc.collect()
            descriptors = len(os.listdir("/proc/self/fd"))
        kills += this.kills
        rate = this.kills / (monotonic() - begin)
        print(f"round {number}: {kills} kills, {rate:.0f}/s, {this.describe()}", flush=True)
        number += 1
    seconds = monotonic() - start
    rounds = number - options.first_round
    print(f"\n{kills} kills in {seconds:.0f} s, {rounds} rounds, {violations} of them violated")
    print(measures.report())
    if options.json:
        result = {"seed": seed, "kills": kills, "violations": violations, "seconds": seconds}
        result |= {"counts": measures.counts, "times": measures.percentiles()}
        Path(options.json).write_text(json.dumps(result))
    return int(violations > 0)


def choose(kinds: list[type[Station]], dice: random.Random) -> list[Station]:
    """Two queues and three others, or what was asked for."""
    chosen = [Queues, Queues] if Queues in kinds else []
    others = [kind for kind in kinds if kind is not Queues]
    chosen += dice.sample(others, min(3, len(others)))
    return [kind(dice) for kind in chosen]


if __name__ == "__main__":
    sys.exit(main())
