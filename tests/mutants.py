"""`make mutants`: small changes to the statistics and the decisions, one at a time; the tests must notice each.

A seeded sample of all changes that the operators below can make to `phase4/analysis` and `phase4/rollout/decide.py` is
tried for half an hour. A mutant is compiled in a child of its own and never written anywhere; it is killed by a failing
test, an error or a test that does not end. Survivors are printed, and docs/mutants.md says of each that is known why it
may live: usually because nothing that can be observed depends on it.

Left alone are types, messages, what is raised, assertions (`zip(strict=True)` is one), arguments of decorators
(`lru_cache` and `dataclass`) and `astype(copy=False)`: no right program behaves differently without them.

    python -m tests.mutants [--minutes 30] [--seed 1] [--after 0] [--only eprocess] [--workers 2]
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import hypothesis  # loaded before the forks, so that it costs once, as what follows; nothing of the product
import numpy as np  # noqa: F401
import polars as pl  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
from hypothesis import Phase

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "mutants.md"
TARGETS = [*sorted((ROOT / "phase4" / "analysis").rglob("[!_]*.py")), ROOT / "phase4" / "rollout" / "decide.py"]
LEAST = 0.9
SHORT = 20
"""Characters below which a change is named with the code around it."""
NOTICED, BROKEN = 1, 3
"""Exit statuses of a child; 0 = the tests noticed nothing."""
TIMEOUT_S = 90
"""For one set of tests."""
PROFILE = "mutants"
hypothesis.settings.register_profile(
    PROFILE, derandomize=True, deadline=None, database=None, phases=(Phase.explicit, Phase.generate)
)  # nobody reads the examples, so that none is made smaller
ALL_TESTS = ["tests/unit/analysis", "tests/unit/rollout", "tests/properties/test_analysis.py"]
COMPARED = (
    "alarms",
    "asymptotic",
    "cusum",
    "group_sequential",
    "likelihood_ratios",
    "mann_whitney",
    "methods",
    "mixtures",
    "raw_rules",
)
NEAR_TESTS = {
    **dict.fromkeys(COMPARED, ("test_methods",)),
    "block": ("test_block", "test_latency", "test_skew"),
    "block_base": ("test_block", "test_latency", "test_skew", "test_dispersion"),
    "block_kinds": ("test_block", "test_latency", "test_skew", "test_dispersion"),
    "binomial": ("test_planning",),
    "budget": ("test_small_parts", "../rollout/test_plan"),
    "counting": ("test_guardrails", "test_latency", "test_dispersion", "test_skew"),
    "columns": ("test_small_parts", "test_block", "test_latency", "../rollout/test_judge"),
    "dispersion": ("test_dispersion", "test_many"),
    "dispersion_block": ("test_dispersion",),
    "guardrail_state": ("test_guardrails", "test_dispersion", "test_latency", "test_saved"),
    "interval": ("test_small_parts", "test_vectors"),
    "latency": ("test_latency", "test_saved"),
    "moments": ("test_latency", "test_saved"),
    "moments_block": ("test_latency", "test_block"),
    "observation": ("test_small_parts", "test_guardrails"),
    "paths": ("test_block", "test_dispersion", "../../properties/test_analysis"),
    "planning": ("test_planning", "test_vectors"),
    "power": ("test_planning", "../rollout/test_forecast"),
    "reading": ("test_guardrails", "test_latency", "test_dispersion", "test_skew"),
    "searching": ("test_planning",),
    "sample_ratio_block": ("test_skew",),
    "sample_ratio": ("test_small_parts", "test_vectors", "test_skew"),
    "specs": ("test_guardrails", "test_skew", "../rollout/test_document", "../rollout/test_plan"),
    "thresholds": ("test_latency",),
    "decide": ("../rollout/test_decide", "../../properties/test_rollout"),
}
"""Tests that are run first, by module, from tests/unit/analysis; by default test_<module>.py there."""

COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
UNSEEN = {"strict", "copy"}
"""Keywords that are left as they are: `zip(strict=True)` asserts, `astype(copy=False)` saves a copy."""
CALLS = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change at one place."""

    path: Path
    line: int
    number: int
    """Which of the changes that can be made to the file."""
    what: str
    inside: str
    """The code around a short change; "" where `what` is enough."""

    @property
    def change(self) -> str:
        """What docs/mutants.md calls it."""
        return f"{self.what}  in  {self.inside}" if self.inside else self.what

    @property
    def name(self) -> str:
        """Where it is, for people; lines move, so `change` has the code as well."""
        return f"{self.path.relative_to(ROOT)}:{self.line}  {self.change}"


class Changer(ast.NodeTransformer):
    """Walks over a file; counts the changes that can be made, and makes the one that is wanted."""

    def __init__(self, wanted: int | None = None) -> None:
        """Make change number `wanted`, none for None."""
        self.wanted = wanted
        self.found: list[tuple[int, str, str]] = []
        """(line, what, inside)"""
        self._around: list[ast.AST] = []

    def _offer(self, node: ast.AST, changed: ast.AST) -> ast.AST:
        number, words = len(self.found), _words(node)
        inside = _place(self._around) if len(words) < SHORT else ""
        self.found.append((node.lineno, f"{words}  ->  {_words(changed)}", inside))  # type: ignore[attr-defined]
        return ast.copy_location(changed, node) if number == self.wanted else node

    def visit(self, node: ast.AST) -> ast.AST:
        """Change what is inside first, then the node itself; what types and people read is left alone."""
        self._around.append(node)
        try:
            return self._visit(node)
        finally:
            self._around.pop()

    def _visit(self, node: ast.AST) -> ast.AST:
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
        if isinstance(node, ast.keyword) and node.arg in UNSEEN:
            return node
        if isinstance(node, ast.Call) and _name(node.func) in {"TypeVar", "cast"}:
            return node
        return self._change(self.generic_visit(node))

    def _change(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.If):
            number = len(self.found)
            self.found.append((node.lineno, f"if {_words(node.test)}:  ->  if not (...)", ""))
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


def _place(around: Sequence[ast.AST]) -> str:
    """Return the code of the nearest expression around the last node that is long enough, or of its statement."""
    for node in reversed(around[:-1]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            return node.name
        if isinstance(node, ast.stmt) or (isinstance(node, ast.expr) and len(_words(node)) >= SHORT):
            return _words(node)
    return ""


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
    return [Mutant(path, line, number, what, inside) for number, (line, what, inside) in enumerate(changer.found)]


def sampled(mutants: Sequence[Mutant], seed: int) -> list[Mutant]:
    """Return the changes in an order drawn by the seed; an edit of the code moves those alone that it touches."""
    seen: Counter[str] = Counter()
    keys = {}
    for mutant in mutants:
        name = f"{mutant.path.relative_to(ROOT)} {mutant.what}"
        keys[mutant] = hashlib.sha256(f"{seed} {seen[name]} {name}".encode()).digest()
        seen[name] += 1
    return sorted(mutants, key=keys.__getitem__)


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module with one change, and leaves all others to the usual loaders."""

    def __init__(self, mutant: Mutant) -> None:
        """Take the change."""
        self.mutant = mutant
        self.module = _module(mutant.path)

    def find_spec(self, name: str, _path: object, _target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return where the module comes from."""
        return (
            importlib.util.spec_from_loader(name, self, origin=str(self.mutant.path)) if name == self.module else None
        )

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed code as the module."""
        tree = ast.parse(self.mutant.path.read_text(encoding="utf-8"))
        module.__file__ = str(self.mutant.path)  # doctest asks for it
        changed = ast.fix_missing_locations(Changer(self.mutant.number).visit(tree))
        exec(compile(changed, str(self.mutant.path), "exec"), module.__dict__)


def near(path: Path) -> list[str]:
    """Return the tests that are run first, the module's own examples among them."""
    named = NEAR_TESTS.get(path.stem, (f"test_{path.stem}",))
    doctests = str(path.relative_to(ROOT))
    return [doctests, *(os.path.normpath(f"tests/unit/analysis/{each}.py") for each in named)]


def far(path: Path) -> list[str]:
    """Return the tests that are run when those notice nothing: all others that come to import the module."""
    module = _module(path)
    files = [file for place in ALL_TESTS for file in ([ROOT / place] if place.endswith(".py") else _tests(place))]
    return [
        name for file in files if module in _reach(file) and (name := str(file.relative_to(ROOT))) not in near(path)
    ]


def _tests(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("test_*.py"))


@cache
def _reach(file: Path) -> frozenset[str]:
    """Return the modules of the product and of the tests that a file imports, and those import, and so on."""
    found: set[str] = set()
    waiting = [file]
    while waiting:
        for module in _imports(waiting.pop()) - found:
            found.add(module)
            place = ROOT.joinpath(*module.split("."))
            waiting += [each for each in (place.with_suffix(".py"), place / "__init__.py") if each.exists()]
    return frozenset(found)


@cache
def _imports(file: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = {name for name in names if name.split(".")[0] in {"phase4", "tests"}}
    return frozenset(ours | {name.rpartition(".")[0] for name in ours} - {""})


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def child(mutant: Mutant | None, runs: Sequence[Sequence[str]], scratch: Path) -> None:
    """Run the tests in this process, with the change; the exit status says whether they noticed. Never returns."""
    status = BROKEN
    try:
        status = _noticed(mutant, runs, scratch)
    except Exception:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


def _noticed(mutant: Mutant | None, runs: Sequence[Sequence[str]], scratch: Path) -> int:
    with (scratch / f"{os.getpid()}.txt").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        if mutant is not None:
            sys.meta_path.insert(0, Loader(mutant))
        options = [
            "-x",
            "-q",
            "--doctest-modules",
            "--assert=plain",
            "-p",
            "no:cacheprovider",
            "-o",
            "addopts=",
            "-m",
            "not slow",
        ]
        options += [f"--hypothesis-profile={PROFILE}", f"--basetemp={scratch / str(os.getpid())}"]
        for tests in filter(None, runs):
            signal.alarm(TIMEOUT_S)  # ends the process
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


def start(mutant: Mutant | None, runs: Sequence[Sequence[str]], scratch: Path) -> int:
    """Return the process id of a child that runs the tests, one set after the other."""
    pid = os.fork()
    if pid == 0:
        child(mutant, runs, scratch)
    return pid


def tried(sample: Sequence[Mutant], scratch: Path, *, seconds: float, workers: int) -> Iterator[tuple[Mutant, bool]]:
    """Yield mutants with whether they were killed, until the time is over; a few are tried at once."""
    end = time.monotonic() + seconds
    waiting = iter(sample)
    running: dict[int, Mutant] = {}
    while True:
        while len(running) < workers and time.monotonic() < end:
            mutant = next(waiting, None)
            if mutant is None:
                break
            running[start(mutant, (near(mutant.path), far(mutant.path)), scratch)] = mutant
        if not running:
            return
        for pid, mutant in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
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
    page = PAGE.read_text(encoding="utf-8").replace(r"\|", "|")
    rows = re.findall(r"^\| `([^`]+)` \| `(.+?)` \| (.+?) \|$", page, flags=re.MULTILINE)
    return {f"{file}  {what}": why for file, what, why in rows}


def main(arguments: list[str]) -> int:
    """Try a sample; exit status 1 if too few are killed or a survivor has no reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--after", type=int, default=0, help="leave out so many of the sample: an earlier run had them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", help="one module, for example eprocess")
    args = parser.parse_args(arguments)
    os.chdir(ROOT)
    paths = [path for path in TARGETS if args.only in {None, path.stem}]
    sample = sampled([mutant for path in paths for mutant in mutants_of(path)], args.seed)
    print(f"{len(sample):,} changes can be made to {len(paths)} files; {args.minutes:g} min of them, seed {args.seed}")
    done, survivors = 0, []
    with tempfile.TemporaryDirectory() as folder:
        if not _stands(paths, Path(folder)):
            print("the tests fail without any change", file=sys.stderr)
            return 2
        for mutant, is_killed in tried(
            sample[args.after :], Path(folder), seconds=60.0 * args.minutes, workers=args.workers
        ):
            done += 1
            if not is_killed:
                survivors.append(mutant)
                print(f"  alive after {done}: {mutant.name}", flush=True)
    return _report(done, survivors, known())


def _stands(paths: Sequence[Path], scratch: Path) -> bool:
    """Return whether the tests pass without a change: once, for they are the same for every module."""
    tests = {*ALL_TESTS, *(each for path in paths for each in near(path))}
    _, status = os.waitpid(start(None, [sorted(tests)], scratch), 0)
    return status == 0


def _report(done: int, survivors: list[Mutant], reasons: dict[str, str]) -> int:
    if not done:
        print("no mutant was tried in this time", file=sys.stderr)
        return 2
    killed = done - len(survivors)
    print(f"\n{killed} of {done} killed: {killed / done:.1%} (at least {LEAST:.0%})")
    unknown = 0
    for mutant in sorted(survivors, key=lambda each: each.name):
        why = reasons.get(f"{mutant.path.relative_to(ROOT)}  {mutant.change}")
        unknown += why is None
        print(f"  {mutant.name}\n      {why or 'NO REASON in docs/mutants.md'}")
    return 1 if killed < LEAST * done or unknown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
