"""The work of the demo: parse one Python file and measure it.

Plain Python on plain data, as in countless real programs: nothing here knows whether it runs alone,
in a thread or in a worker process. A task is a path, small to send; its result a short record.

Branches are McCabe's decision points ("A Complexity Measure", 1976): a function's cyclomatic
complexity is its branches plus one.
"""

import ast
import time
from typing import NamedTuple

__all__ = ["TOP", "FileRecord", "Function", "Measured", "measure", "measure_source"]

# How many functions the demo shows. A file reports as many, as all of them may be in one file.
TOP = 5


class Function(NamedTuple):
    """One function or method: where it is, how long, how branching and how deeply nested."""

    branches: int
    lines: int
    depth: int
    path: str
    line: int
    name: str


class FileRecord(NamedTuple):
    """What was found in one file; ``error`` is the exception's name when it could not be parsed."""

    path: str
    lines: int = 0
    functions: int = 0
    branches: int = 0
    depth: int = 0
    identifiers: int = 0
    top: tuple[Function, ...] = ()
    error: str | None = None


class Measured(NamedTuple):
    """A file's record, with the processor time it took (which differs from run to run)."""

    record: FileRecord
    cpu_seconds: float


def measure(path: str) -> Measured:
    """Read, parse and measure a file; when that can't be done, the record says so."""
    start = time.thread_time()
    try:
        with open(path, "rb") as file:
            record = measure_source(path, file.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # ValueError: null bytes. RecursionError and MemoryError: the parser's own limits on
        # nesting, which some files of CPython's test suite exceed on purpose.
        record = FileRecord(path, error=type(error).__name__)
    return Measured(record, time.thread_time() - start)


class _Tally:
    """What has been counted so far in one function, or in the file outside of functions."""

    __slots__ = ("branches", "depth", "node", "outer_depth")

    def __init__(self, node: "ast.FunctionDef | ast.AsyncFunctionDef | None", outer: int) -> None:
        self.node = node
        self.outer_depth = outer
        self.branches = 0
        self.depth = 0


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar),
    *(ast.Match, ast.ClassDef, *_FUNCTIONS),
)
_DECISIONS = (
    *(ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler),
    ast.match_case,
)
# The field that holds an identifier, for the kinds of node that have one.
_NAMES: dict[type[ast.AST], str] = {
    ast.Name: "id",
    ast.Attribute: "attr",
    ast.arg: "arg",
    ast.keyword: "arg",
    ast.alias: "name",
    ast.ClassDef: "name",
    ast.FunctionDef: "name",
    ast.AsyncFunctionDef: "name",
}
# Nodes without children or names of their own: most of a tree, and not worth a turn of the loop.
_LEAVES = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.Constant)


def measure_source(path: str, source: bytes) -> FileRecord:
    """Parse and measure source text; raises what ``ast.parse`` raises.

    The walk keeps its own stack, so that deep nesting can't exhaust Python's.
    """
    tree = ast.parse(source, path)
    outside = _Tally(None, 0)
    tallies: list[_Tally] = []
    names: set[str] = set()
    deepest = 0
    stack: list[tuple[ast.AST, int, _Tally]] = [(tree, 0, outside)]
    while stack:
        node, depth, tally = stack.pop()
        kind = type(node)
        field = _NAMES.get(kind)
        if field is not None:
            name = getattr(node, field)
            if name is not None:  # **kwargs in a call is a keyword without a name
                names.add(name)
        inner = depth
        if isinstance(node, _BLOCKS):
            inner = depth + 1
            deepest = max(deepest, inner)
            if isinstance(node, _FUNCTIONS):
                tally = _Tally(node, inner)
                tallies.append(tally)
            tally.depth = max(tally.depth, inner - tally.outer_depth)
        tally.branches += _decisions(node)
        for child in _children(node):
            # elif is an If in the else branch of another, in the same column: no deeper than that.
            chained = kind is ast.If and type(child) is ast.If and _same_column(node, child)
            stack.append((child, depth if chained else inner, tally))
    return FileRecord(
        path=path,
        lines=source.count(b"\n") + (not source.endswith(b"\n") and bool(source)),
        functions=len(tallies),
        branches=outside.branches + sum(tally.branches for tally in tallies),
        depth=deepest,
        identifiers=len(names),
        top=_top(path, tallies),
    )


def _children(node: ast.AST) -> list[ast.AST]:
    """List a node's children, without those that never matter here."""
    children: list[ast.AST] = []
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, list):
            children += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST) and not isinstance(value, _LEAVES):
            children.append(value)
    return children


def _decisions(node: ast.AST) -> int:
    """Return how many ways to go on this node adds."""
    if isinstance(node, _DECISIONS):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return 0


def _same_column(outer: ast.AST, inner: ast.AST) -> bool:
    return getattr(outer, "col_offset", None) == getattr(inner, "col_offset", None)


def _top(path: str, tallies: list[_Tally]) -> tuple[Function, ...]:
    """Return the file's most branching functions, in an order that is the same every time."""
    functions = [
        Function(
            branches=tally.branches,
            lines=(tally.node.end_lineno or tally.node.lineno) - tally.node.lineno + 1,
            depth=tally.depth,
            path=path,
            line=tally.node.lineno,
            name=tally.node.name,
        )
        for tally in tallies
        if tally.node is not None
    ]
    return tuple(sorted(functions, reverse=True)[:TOP])
