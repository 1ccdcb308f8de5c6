"""Parsers of `phase4 simulate`; the work is in `phase4.cli.rehearsal`."""

from __future__ import annotations

import argparse
from typing import Any

from phase4.cli.parsers import Group, natural, positive


def add_parsers(commands: Any) -> None:
    """Add the `simulate` commands."""
    group = Group(commands, "simulate", "rehearse a rollout before it runs", module="phase4.cli.rehearsal")
    run = group.add(
        "run",
        "one run: what this plan does on this traffic, step by step",
        'simulate run sims/first_run.toml --world storm --policy "ratio to control"',
    )
    many = group.add(
        "sweep",
        "many runs: how often this plan is wrong, and what that costs",
        "simulate sweep sims/first_run.toml --replicates 500",
    )
    check = group.add(
        "validate",
        "check a scenario, its plans and its recording; run nothing",
        "simulate validate sims/first_run.toml",
    )
    explain = group.add(
        "explain", "say what a scenario would do and cost, in words", "simulate explain sims/first_run.toml"
    )
    for parser in (run, many, check, explain):
        parser.add_argument("scenario", metavar="SCENARIO", help="a scenario file (TOML)")
    run.add_argument("--world", metavar="NAME", help="one of the scenario's worlds (default: its first)")
    run.add_argument("--policy", metavar="NAME", help="one of the scenario's policies (default: its first)")
    run.add_argument("--replicate", type=natural, default=0, metavar="R", help="which replicate (default: 0)")
    many.add_argument(
        "--replicates", type=positive, metavar="N", help="runs for each world and policy (default: the scenario's)"
    )
    many.add_argument("--workers", type=positive, metavar="N", help="processes (default: one for each core)")
    for parser in (run, many):
        _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=natural, metavar="N", help="root seed (default: the scenario's)")
    parser.add_argument("--out", metavar="FILE", help="write the result too: .json, or .html with pictures")
    parser.add_argument("--open", action="store_true", help="show the page that was written in the browser")
