"""`make mutants`: small changes to the statistics and the decisions, one at a time; the tests must notice each.

A seeded sample of all changes that the operators below can make to `phase4/analysis` and `phase4/rollout/decide.py` is
tried for half an hour. A mutant is compiled in a child of its own and never written anywhere; it is killed by a failing
test, an error or a test that does not end. Survivors are printed, and docs/mutants.md says of each that is known why it
may live: usually because nothing that can be observed depends on it.

    python -m tests.mutants [--minutes 30] [--seed 1] [--only eprocess] [--workers 2]
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import hypothesis  # noqa: F401  loaded before the forks, so that it costs once, as what follows; nothing of the product
import numpy as np  # noqa: F401
import polars as pl  # noqa: F401
import pytest
import scipy.stats  # noqa: F401

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "mutants.md"
TARGETS = [*sorted((ROOT / "phase4" / "analysis").glob("[!_]*.py")), ROOT / "phase4" / "rollout" / "decide.py"]
LEAST = 0.9
NOTICED, BROKEN = 1, 3
"""Exit statuses of a child; 0 = the tests noticed nothing."""
TIMEOUT_S = 120
ALL_TESTS = ["tests/unit/analysis", "tests/unit/rollout", "tests/properties/test_analysis.py"]
COMPARED = (
    "alarms",
    "asymptotic",
    "cusum",
    "group_sequential",
    "likelihood_ratios",
    "methods",
    "mixtures",
    "rank_test",
    "raw_rules",
)
NEAR_TESTS = {
    "decide": ("tests/unit/rollout/test_decide.py", "tests/properties/test_rollout.py"),
    **dict.fromkeys(COMPARED, ("tests/unit/analysis/test_methods.py",)),
    **dict.fromkeys(
        ("budget", "interval", "observation", "sample_ratio"), ("tests/unit/analysis/test_small_parts.py",)
    ),
    **dict.fromkeys(("latency", "moments", "thresholds"), ("tests/unit/analysis/test_latency.py",)),
    **dict.fromkeys(("paths", "moments_block"), ("tests/unit/analysis/test_block.py",)),
    "dispersion_block": ("tests/unit/analysis/test_dispersion.py",),
}
"""Tests that are run first, by module; by default tests/unit/analysis/test_<module>.py."""

COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
CALLS = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change at one place."""

    path: Path
    line: int
    number: int
    """Which of the changes that can be made to the file."""
    what: str

    @property
    def name(self) -> str:
        """Where it is, for people; lines move, so `what` has the code as well."""
        return f"{self.path.relative_to(ROOT)}:{self.line}  {self.what}"


class Changer(ast.NodeTransformer):
    """Walks over a file; counts the changes that can be made, and makes the one that is wanted."""

    def __init__(self, wanted: int | None = None) -> None:
        """Make change number `wanted`, none for None."""
        self.wanted = wanted
        self.found: list[tuple[int, str]] = []

    def _offer(self, node: ast.AST, changed: ast.AST) -> ast.AST:
        number = len(self.found)
        self.found.append((node.lineno, f"{_words(node)}  ->  {_words(changed)}"))  # type: ignore[attr-defined]
        return ast.copy_location(changed, node) if number == self.wanted else node

    def visit(self, node: ast.AST) -> ast.AST:
        """Change what is inside first, then the node itself; what types and people read is left alone."""
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                node.value = self.visit(node.value)  # type: ignore[assignment]
            return node
        if isinstance(node, ast.FunctionDef):
            node.body = [self.visit(each) for each in node.body]  # type: ignore[misc]
            node.args.defaults = [self.visit(each) for each in node.args.defaults]  # type: ignore[misc]
            node.args.kw_defaults = [None if d is None else self.visit(d) for d in node.args.kw_defaults]  # type: ignore[misc]
            return node
        if isinstance(node, ast.ClassDef):
            node.body = [self.visit(each) for each in node.body]  # type: ignore[misc]
            return node
        if isinstance(node, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom | ast.JoinedStr):
            return node
        if isinstance(node, ast.Call) and _name(node.func) in {"TypeVar", "cast"}:
            return node
        return self._change(self.generic_visit(node))

    def _change(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.If):
            number = len(self.found)
            self.found.append((node.lineno, f"if {_words(node.test)}:  ->  if not (...)"))
            if number == self.wanted:
                node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            return node
        changed = _operator(node) or _operand(node)
        return node if changed is None else self._offer(node, changed)


def _operator(node: ast.AST) -> ast.AST | None:
    """Return an expression with another operator, None where there is none to change."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARE:
            return ast.Compare(node.left, [COMPARE[type(op)]()], node.comparators)
        case ast.BinOp(op=op) if type(op) in ARITHMETIC and not _is_type(node):
            return ast.BinOp(node.left, ARITHMETIC[type(op)](), node.right)
        case ast.BoolOp(op=op):
            return ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            return node.operand
        case ast.IfExp():
            return ast.IfExp(node.test, node.orelse, node.body)
        case _:
            return None


def _operand(node: ast.AST) -> ast.AST | None:
    """Return another constant, or a call of the opposite function."""
    match node:
        case ast.Constant(value=bool(value)):
            return ast.Constant(not value)
        case ast.Constant(value=int(value)):
            return ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            return ast.Constant(value * 1.5 if value else 1.0)
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            return ast.Call(ast.Name(CALLS[name], ast.Load()), node.args, node.keywords)
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in CALLS:
            return ast.Call(ast.Attribute(value, CALLS[name], ast.Load()), node.args, node.keywords)
        case _:
            return None


def _words(node: ast.AST) -> str:
    return re.sub(r"\s+", " ", ast.unparse(ast.fix_missing_locations(node)))[:90]


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _is_type(node: ast.BinOp) -> bool:
    """Return whether `a | b` is a union of types."""
    names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
    return isinstance(node.op, ast.BitOr) and all(
        name[:1].isupper() or name in {"int", "float", "str"} for name in names
    )


def mutants_of(path: Path) -> list[Mutant]:
    """Return every change that can be made to a file."""
    changer = Changer()
    changer.visit(ast.parse(path.read_text(encoding="utf-8")))
    return [Mutant(path, line, number, what) for number, (line, what) in enumerate(changer.found)]


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module with one change, and leaves all others to the usual loaders."""

    def __init__(self, mutant: Mutant) -> None:
        """Take the change."""
        self.mutant = mutant
        self.module = ".".join(mutant.path.relative_to(ROOT).with_suffix("").parts)

    def find_spec(self, name: str, _path: object, _target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return where the module comes from."""
        return (
            importlib.util.spec_from_loader(name, self, origin=str(self.mutant.path)) if name == self.module else None
        )

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed code as the module."""
        tree = ast.parse(self.mutant.path.read_text(encoding="utf-8"))
        changed = ast.fix_missing_locations(Changer(self.mutant.number).visit(tree))
        exec(compile(changed, str(self.mutant.path), "exec"), module.__dict__)


def near(path: Path) -> list[str]:
    """Return the tests that are run first."""
    named = NEAR_TESTS.get(path.stem, (f"tests/unit/analysis/test_{path.stem}.py",))
    return [each for each in named if (ROOT / each).exists()]


def child(mutant: Mutant | None, path: Path, scratch: Path) -> None:
    """Run the tests in this process, with the change; the exit status says whether they noticed. Never returns."""
    status = BROKEN
    try:
        status = _noticed(mutant, path, scratch)
    except Exception:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


def _noticed(mutant: Mutant | None, path: Path, scratch: Path) -> int:
    with (scratch / f"{os.getpid()}.txt").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        if mutant is not None:
            sys.meta_path.insert(0, Loader(mutant))
        options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "not slow"]
        options += [f"--basetemp={scratch / str(os.getpid())}"]
        for tests in filter(None, (near(path), ALL_TESTS)):
            status = pytest.main([*options, *tests])
            if status in {
                pytest.ExitCode.INTERNAL_ERROR,
                pytest.ExitCode.USAGE_ERROR,
                pytest.ExitCode.NO_TESTS_COLLECTED,
            }:
                return BROKEN
            if status:
                return NOTICED
    return 0


def start(mutant: Mutant | None, path: Path, scratch: Path) -> int:
    """Return the process id of a child that runs the tests."""
    pid = os.fork()
    if pid == 0:
        child(mutant, path, scratch)
    return pid


def tried(sample: Sequence[Mutant], scratch: Path, *, seconds: float, workers: int) -> Iterator[tuple[Mutant, bool]]:
    """Yield mutants with whether they were killed, until the time is over; a few are tried at once."""
    end = time.monotonic() + seconds
    waiting = iter(sample)
    running: dict[int, tuple[Mutant, float]] = {}
    while True:
        while len(running) < workers and time.monotonic() < end:
            mutant = next(waiting, None)
            if mutant is None:
                break
            running[start(mutant, mutant.path, scratch)] = (mutant, time.monotonic())
        if not running:
            return
        for pid, (mutant, begun) in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done and time.monotonic() - begun > TIMEOUT_S:
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
                done = pid
            if done:
                del running[pid]
                if os.waitstatus_to_exitcode(status) == BROKEN:
                    raise RuntimeError(f"the tests could not be run: {scratch / f'{pid}.txt'}, {mutant.name}")
                yield mutant, status != 0
        time.sleep(0.02)


def known() -> dict[str, str]:
    """Return the survivors that docs/mutants.md explains: file and change -> reason."""
    if not PAGE.exists():
        return {}
    rows = re.findall(r"^\| `([^`]+)` \| `(.+?)` \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {f"{file}  {what}": why for file, what, why in rows}


def main(arguments: list[str]) -> int:
    """Try a sample; exit status 1 if too few are killed or a survivor has no reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", help="one module, for example eprocess")
    args = parser.parse_args(arguments)
    os.chdir(ROOT)
    paths = [path for path in TARGETS if args.only in {None, path.stem}]
    sample = [mutant for path in paths for mutant in mutants_of(path)]
    random.Random(args.seed).shuffle(sample)
    print(f"{len(sample):,} changes can be made to {len(paths)} files; {args.minutes:g} min of them, seed {args.seed}")
    done, survivors = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            _, status = os.waitpid(start(None, path, Path(folder)), 0)
            if status:
                print(f"the tests of {path.name} fail without any change", file=sys.stderr)
                return 2
        for mutant, is_killed in tried(sample, Path(folder), seconds=60.0 * args.minutes, workers=args.workers):
            done += 1
            if not is_killed:
                survivors.append(mutant)
                print(f"  alive after {done}: {mutant.name}", flush=True)
    return _report(done, survivors, known())


def _report(done: int, survivors: list[Mutant], reasons: dict[str, str]) -> int:
    if not done:
        print("no mutant was tried in this time", file=sys.stderr)
        return 2
    killed = done - len(survivors)
    print(f"\n{killed} of {done} killed: {killed / done:.1%} (at least {LEAST:.0%})")
    unknown = 0
    for mutant in sorted(survivors, key=lambda each: each.name):
        why = reasons.get(f"{mutant.path.relative_to(ROOT)}  {mutant.what}")
        unknown += why is None
        print(f"  {mutant.name}\n      {why or 'NO REASON in docs/mutants.md'}")
    return 1 if killed < LEAST * done or unknown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
