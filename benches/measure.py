"""Measure one case once and print the figure: `python -m benches.measure lock allcores`."""

import importlib
import sys
import warnings

from benches.cases import CASES
from benches.peers import PEERS


def main() -> None:
    name, library = sys.argv[1:]
    # Forking while the standard library's queue has its thread is part of what is compared.
    warnings.simplefilter("ignore", DeprecationWarning)
    case = CASES[name]
    if case.needs:
        for module in PEERS[library].modules:
            importlib.import_module(module)
    figure = case.measure(PEERS[library] if case.needs else importlib.import_module(library))
    # A line of its own: libraries print as well.
    print(f"\nfigure {figure}", flush=True)


if __name__ == "__main__":
    main()
