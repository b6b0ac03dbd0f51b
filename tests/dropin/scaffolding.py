"""What is changed in CPython's tests besides where names come from, and why.

Only scaffolding: no line here changes what a test claims.
"""

from __future__ import annotations

# Name, pattern, replacement, reason.
CHANGES = [
    (
        "helpers end",
        r"\bmultiprocessing\.util\._cleanup_tests\b",
        '__import__("aimed").cleanup',
        "at the end of a module the standard library's fork server is stopped, then its tracker is "
        "waited for; ours has to be stopped as well, as it holds the tracker's pipe",
    ),
    (
        "class of the cause",
        r"self\.assertIs\(type\(cause\), futures\.process\._RemoteTraceback\)",
        "self.assertEqual(type(cause).__name__.lstrip('_'), 'RemoteTraceback')",
        "the class of an exception's remote traceback is private there; here it is "
        "multiprocessing.pool's for the executor, too",
    ),
    (
        "no -S",
        r"\[sys\.executable, '-E', '-S', '-O', '-c', prog\]",
        "[sys.executable, '-O', '-B', '-W', 'ignore', '-c', prog]",
        "under -S nothing outside the standard library can be imported; other flags are to be "
        "inherited instead",
    ),
    (
        "no -E",
        r"\[sys\.executable,(\s*)'-E', '-c'",
        r"[sys.executable,\1'-c'",
        "the scripts have to find this package and the aimed tests by PYTHONPATH",
    ),
    (
        "shorter sleeps of threads",
        r"args = \[support\.LONG_TIMEOUT for i in range\(10_000\)\]",
        "args = [1 if self.TYPE == 'threads' else support.LONG_TIMEOUT for i in range(10_000)]",
        "threads can't be ended: the test would wait five minutes for what one of them has begun; "
        "later versions of the test sleep shorter themselves",
    ),
]
