"""CPython's own tests of multiprocessing and of the process pool, run against allcores.

python -m tests.dropin                        all of it; results go to build/dropin
python -m tests.dropin --only '*TestPool'     some classes
python -m tests.dropin --page docs/dropin.md  a page from the results in build/dropin
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fnmatch
import json
import platform
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.dropin import page
from tests.dropin.aim import PACKAGE, Aimed, NotHere
from tests.dropin.classes import CLASS_S, Class, Outcome, list_classes, run_class
from tests.dropin.known import kind
from tests.dropin.page import SUITES

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "dropin"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.dropin",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suites", default=",".join(SUITES), help="of %(default)s")
    parser.add_argument("--only", action="append", help="pattern of Class or Class.test")
    parser.add_argument(
        "--limit", type=float, default=CLASS_S, help="seconds a class (%(default)s)"
    )
    parser.add_argument("--tests", type=Path, help="a folder like CPython's Lib/test, to look in")
    parser.add_argument("--page", type=Path, help="write this page from the results there are")
    return parser.parse_args()


def chosen(found: list[Class], suite: str, only: list[str] | None) -> list[Class]:
    """Return the classes of a suite, with those of their tests that are asked for."""
    result = []
    for cls in found:
        if suite == "executor":
            if not cls.name.startswith(("ProcessPool", "FailingInitializerResources")):
                continue
        elif cls.method not in (None, suite):
            continue
        if only is not None and not any(fnmatch.fnmatchcase(cls.name, one) for one in only):
            ids = {test: f"{cls.name}.{test}" for test in cls.tests}
            cls = cls._replace(
                tests=[t for t, i in ids.items() if any(fnmatch.fnmatchcase(i, o) for o in only)]
            )
        if cls.tests:
            result.append(cls)
    return result


def run_suite(
    suite: str, only: list[str] | None = None, tests: Path | None = None, limit: float = CLASS_S
) -> dict[str, object]:
    """Run one suite; return its results.

    Args:
        suite: a start method, or "executor".
        only: patterns of the classes or tests to run; None for all.
        tests: a folder to look for the tests in.
        limit: seconds for each class.

    Raises:
        NotHere: no interpreter here came with the tests.
    """
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="dropin-", ignore_cleanup_errors=True) as folder:
        aimed = Aimed(Path(folder))
        if suite == "executor":
            source = aimed.futures(tests)
            modules = aimed.futures_modules()
        else:
            source = aimed.multiprocessing(tests)
            modules = [f"{PACKAGE}.test_multiprocessing_{suite}"]
            if (aimed.package / "test_multiprocessing_main_handling.py").exists():
                modules.append(f"{PACKAGE}.test_multiprocessing_main_handling")
        for cls in chosen(list_classes(aimed.root, modules), suite, only):
            found, printed = run_class(aimed.root, cls, limit)
            for test, outcome in found.items():
                outcomes[f"{cls.name}.{test}"] = outcome
            counts = Counter(kind(f"{cls.name}.{test}", one.what) for test, one in found.items())
            print(f"  {cls.name:<48} " + ", ".join(f"{n} {what}" for what, n in counts.items()))
            for test, one in found.items():
                if kind(f"{cls.name}.{test}", one.what) == "failing":
                    print(f"    {test}: {one.what}: {one.why}")
                elif one.what == "passed" and one.why:
                    print(f"    {test}: {one.why}")
            for line in printed.splitlines():
                if line.startswith("Warning -- "):
                    print(f"    {line}")
            sys.stdout.flush()
    return {"source": source, "changes": sorted(aimed.used), "outcomes": outcomes}


def keep(suites: dict[str, object]) -> None:
    """Write the results of some suites to this Python's file, in the place of older ones."""
    version = platform.python_version()
    release = ".".join(platform.release().split(".")[:2])
    path = RESULTS / f"{version}.json"
    RESULTS.mkdir(parents=True, exist_ok=True)
    older = json.loads(path.read_text())["suites"] if path.exists() else {}
    found = {suite: suites.get(suite, older.get(suite)) for suite in SUITES}
    record = {
        "python": version,
        "system": f"{platform.system()} {release}, {platform.machine()}",
        "date": datetime.date.today().isoformat(),
        "suites": {suite: result for suite, result in found.items() if suite in suites | older},
    }
    path.write_text(json.dumps(record, indent=1))
    print(f"results: {path.relative_to(ROOT)}")


def main() -> int:
    options = arguments()
    if options.page is not None:
        options.page.write_text(page.write(RESULTS))
        return 0
    failing = 0
    suites: dict[str, object] = {}
    for suite in options.suites.split(","):
        print(f"== Python {platform.python_version()}, {suite}")
        try:
            result = run_suite(suite, options.only, options.tests, options.limit)
        except NotHere as missing:
            print(f"  no interpreter here came with {missing}; name a folder with --tests")
            suites[suite] = None
            continue
        suites[suite] = result
        outcomes = result["outcomes"]
        assert isinstance(outcomes, dict)
        counts = Counter(kind(test, one.what) for test, one in outcomes.items())
        failing += counts["failing"]
        print(f"  {suite}: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    if options.only is None:
        keep(suites)
    return 1 if failing else 0


def _ended(signum: int, frame: object) -> None:
    sys.exit(128 + signum)  # run_class ends what it has started


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _ended)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
