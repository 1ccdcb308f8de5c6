"""The work of `phase4 simulate run | sweep | validate | explain`."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from phase4 import clock, config, durations
from phase4.cli import explanation, meaning, report, story, table
from phase4.cli.console import Console, with_twins
from phase4.cli.progress import Progress
from phase4.errors import Phase4Error, UsageError, WriteFailed
from phase4.rollout import events
from phase4.sim import archive, identity
from phase4.sim import scenario as scenarios
from phase4.sim import sweep as sweeps
from phase4.sim.expect import check_cells, check_run
from phase4.sim.outcome import OperatingCharacteristics, digest
from phase4.sim.scenario import Scenario
from phase4.sim.world import RunRecord
from phase4.store import runs

_T = TypeVar("_T")
UNMET = 1
INTERRUPTED = 130


def validate(args: argparse.Namespace, console: Console) -> int:
    """Check a scenario and run nothing."""
    _take_paths(args)
    scenario = scenarios.load(args.scenario)
    worlds = [world.name for world in scenario.worlds]
    policies = [policy.name for policy in scenario.policies]
    data = {
        "name": scenario.name,
        "hash": scenario.hash,
        "mode": scenario.mode,
        "ticks": scenario.ticks,
        "worlds": worlds,
        "policies": policies,
    }
    console.line(f"{args.scenario}: valid")
    console.line(f"  {len(scenario.worlds)} worlds: {', '.join(worlds)}")
    console.line(f"  {len(scenario.policies)} policies: {', '.join(policies)}")
    console.line(f"  scenario sha256:{scenario.hash[:12]}")
    console.result("simulate validate", data)
    return 0


def run(args: argparse.Namespace, console: Console) -> int:
    """Run once, save, and tell the story."""
    _take_paths(args)
    _check_out(args)
    scenario = scenarios.load(args.scenario)
    world, policy = scenario.world(args.world), scenario.policy(args.policy)
    seed = scenario.seed if args.seed is None else args.seed
    again = identity.run_again(scenario, world.name, policy.name, seed=seed, replicate=args.replicate)
    started = clock.SystemClock().now()
    record = _guarded(
        lambda: sweeps.run_one(scenario, world, policy, seed=seed, replicate=args.replicate),
        console,
    )
    folder = config.home(args.home) / "runs"
    path = archive.save_run(folder, scenario, record, seed=seed, started_wall_ms=started)
    data = _run_data(scenario, record, seed, path)
    # the file speaks of its first world and policy; others are what-ifs that it expects nothing of
    is_meant = (world, policy) == (scenario.worlds[0], scenario.policies[0])
    unmet = check_run(scenario.expect_run, record) if is_meant else []
    data["unmet"] = unmet
    written = _write_out(args, data, path)
    for text in story.tell(scenario, record, seed):
        console.line(text)
    console.line()
    console.line(f"Saved: {path}")
    if written:
        console.line(f"Written: {written}")
    console.line(f"Digest: {record.outcome.digest[:16]}  ({again})")
    console.result("simulate run", data)
    return _unmet(console, unmet, again)


def sweep(args: argparse.Namespace, console: Console) -> int:
    """Run many times, save, and print the table."""
    _take_paths(args)
    _check_out(args)
    scenario = scenarios.load(args.scenario)
    seed = scenario.seed if args.seed is None else args.seed
    replicates = args.replicates or scenario.replicates
    workers = args.workers or os.cpu_count() or 1
    started = clock.SystemClock().now()
    progress = Progress(is_json=console.is_json, simulated_days=scenario.duration_ms / durations.DAY_MS)
    result = _guarded(
        lambda: sweeps.sweep(scenario, seed=seed, replicates=replicates, workers=workers, progress=progress),
        console,
    )
    seconds = progress.end()
    if not result.outcomes:
        console.warn("interrupted before the first run was done; nothing was written")
        return INTERRUPTED
    home = config.home(args.home)
    path = archive.save_sweep(
        home / "runs", scenario, result, seed=seed, replicates=replicates, started_wall_ms=started
    )
    cells = archive.cells(scenario, result.outcomes)
    unmet = check_cells(scenario.expect_cells, cells) if result.is_complete else []
    data = _sweep_data(scenario, result, cells, seed, replicates, path)
    data["unmet"] = unmet
    page = _page(home / "reports" / f"{path.stem}.html", path, console)
    written = _write_out(args, data, path)
    if args.open and page and not written:
        webbrowser.open(page.resolve().as_uri())
    _tell(console, scenario, cells, result, seconds)
    console.line()
    console.line(f"Results: {path}")
    if page:
        console.line(f"Report:  {page}  (open it in a browser; it needs no network)")
    if written:
        console.line(f"Written: {written}")
    console.line(
        f"Digest:  {data['digest'][:16]}  (seed {seed}, scenario sha256:{scenario.hash[:12]}, {identity.versions()})"
    )
    if page and result.is_complete:
        console.line()
        for text in _next(args.scenario, scenario):
            console.line(text)
    console.result("simulate sweep", data)
    if not result.is_complete:
        console.warn(
            f"interrupted: {len(result.outcomes):,} of {result.planned:,} runs are done and saved; figures are partial"
        )
        return INTERRUPTED
    return _unmet(console, unmet, identity.sweep_again(scenario, seed=seed, replicates=replicates))


def explain(args: argparse.Namespace, console: Console) -> int:
    """Say what a scenario would do and cost."""
    _take_paths(args)
    scenario = scenarios.load(args.scenario)
    begin = clock.monotonic()
    sweeps.sweep(scenario, seed=scenario.seed, replicates=1, workers=1, progress=lambda _done, _planned: None)
    first = clock.monotonic() - begin
    begin = clock.monotonic()
    sweeps.sweep(scenario, seed=scenario.seed, replicates=1, workers=1, progress=lambda _done, _planned: None)
    each = clock.monotonic() - begin
    workers = os.cpu_count() or 1
    seconds = first + each * scenario.replicates / workers
    count = scenario.replicates * len(scenario.worlds) * len(scenario.policies)
    plans = {policy.name: explanation.alpha_table(policy.plan, scenario.tick_ms) for policy in scenario.policies}
    for text in explanation.explanation(scenario):
        console.line(text)
    console.line()
    console.line(
        f"A sweep is {count:,} runs ({scenario.replicates} of each policy in each world):"
        f" about {seconds:.0f} s on {workers} cores."
    )
    data = {
        "name": scenario.name,
        "hash": scenario.hash,
        "runs": count,
        "expected_seconds": round(seconds, 1),
        "alpha": plans,
    }
    console.result("simulate explain", data)
    return 0


def _take_paths(args: argparse.Namespace) -> None:
    """Turn the texts that are paths into paths."""
    args.scenario = Path(args.scenario)
    if getattr(args, "out", None) is not None:
        args.out = Path(args.out)


def _guarded(work: Callable[[], _T], console: Console) -> _T:
    """Do the work; where a run broke down say how to see it again."""
    try:
        return work()
    except Phase4Error as error:
        if error.hint:
            console.warn(f"reproduce: {error.hint}")
        raise type(error)(error.message) from error


def _unmet(console: Console, unmet: list[str], reproduce: str) -> int:
    for text in unmet:
        console.warn(f"expectation not met: {text}")
    if unmet:
        console.warn(f"reproduce: {reproduce}")
    return UNMET if unmet else 0


def _check_out(args: argparse.Namespace) -> None:
    """Refuse an output that could not be written before anything runs."""
    if args.out is None:
        if args.open and args.action == "run":
            raise UsageError("--open shows the page that --out FILE.html writes")
        return
    if args.out.suffix not in {".json", ".html"}:
        raise UsageError(f"--out writes .json or .html, by the file's name: {args.out}")
    if not args.out.resolve().parent.is_dir():
        raise UsageError(f"--out: no such folder: {args.out.parent}")


def _write_out(args: argparse.Namespace, data: dict[str, Any], path: Path) -> Path | None:
    if args.out is None:
        return None
    if args.out.suffix == ".json":
        _write(
            args.out,
            json.dumps({"schema": "phase4/simulate/1", **with_twins(data)}, indent=2, allow_nan=False, default=str)
            + "\n",
        )
    else:
        _write(args.out, report.page(runs.read(path)))
    if args.open and args.out.suffix == ".html":
        webbrowser.open(args.out.resolve().as_uri())
    return Path(args.out)


def _page(target: Path, path: Path, console: Console) -> Path | None:
    """Write the report of a sweep beside its results; without the extra say so and go on."""
    try:
        text = report.page(runs.read(path))
    except report.ExtraMissing as missing:
        console.warn(missing.message)
        return None
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise WriteFailed(f"cannot write {target}: {error.strerror}") from error
    _write(target, text)
    return target


def _write(target: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WriteFailed(f"cannot write {target}: {error.strerror}") from error


def _run_data(scenario: Scenario, record: RunRecord, seed: int, path: Path) -> dict[str, Any]:
    outcome = {name: getattr(record.outcome, name) for name in record.outcome.__dataclass_fields__}
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in outcome.items()}
    return {
        "scenario": scenario.name,
        "scenario_hash": scenario.hash,
        "seed": seed,
        "outcome": finite,
        "journal": [events.to_json(event) for event in record.journal],
        "refused": list(record.refused),
        "file": str(path),
        "versions": identity.versions(),
    }


def _sweep_data(
    scenario: Scenario,
    result: sweeps.SweepResult,
    cells: tuple[OperatingCharacteristics, ...],
    seed: int,
    replicates: int,
    path: Path,
) -> dict[str, Any]:
    return {
        "scenario": scenario.name,
        "scenario_hash": scenario.hash,
        "seed": seed,
        "replicates": replicates,
        "planned": result.planned,
        "done": len(result.outcomes),
        "complete": result.is_complete,
        "digest": digest(result.outcomes),
        "cells": [cell.to_json() for cell in cells],
        "meaning": meaning.sentences(cells),
        "file": str(path),
        "versions": identity.versions(),
    }


def _tell(
    console: Console,
    scenario: Scenario,
    cells: tuple[OperatingCharacteristics, ...],
    result: sweeps.SweepResult,
    seconds: float,
) -> None:
    console.line(f"{scenario.name}: {scenario.covers}")
    console.line(
        f"{len(result.outcomes):,} rehearsals of {durations.show(scenario.duration_ms)} in {seconds:.0f} s;"
        " below each figure its 95 % interval"
    )
    console.line()
    for text in table.render(scenario, cells, console.width):
        console.line(text)
    console.line()
    for text in meaning.sentences(cells):
        console.paragraph(text)


def _next(path: Path, scenario: Scenario) -> list[str]:
    world, policy = scenario.worlds[-1].name, scenario.policies[-1].name
    # after `make run` the program is not on the PATH: show what can be typed
    program = "phase4" if shutil.which("phase4") else os.path.relpath(sys.argv[0])
    return [
        "Next:",
        f'  {program} simulate run {path} --world "{world}" --policy "{policy}"   one run, step by step',
        f"  {program} simulate explain {path}   what is rehearsed, and what the limits mean",
        f"  edit {path} (limits, stages, faults) and run it again; make dashboard shows the saved runs",
    ]
