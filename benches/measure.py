"""Measure one case once and print the figure: `python -m benches.measure lock allcores`."""

import importlib
import sys
import warnings

from benches.cases import CASES


def main() -> None:
    case, library = sys.argv[1:]
    # Forking while the standard library's queue has its thread is part of what is compared.
    warnings.simplefilter("ignore", DeprecationWarning)
    print(CASES[case].measure(importlib.import_module(library)))


if __name__ == "__main__":
    main()
