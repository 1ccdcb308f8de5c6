"""`make bench`: every figure with its spread and its bound, in one run; exit status 1 if a bound is missed."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime

import numpy as np

from tests.benchmarks import (
    bucketing,
    calibration,
    carried,
    clusters,
    collector,
    control,
    dispersion,
    events,
    events_large,
    first_run,
    judge,
    latency,
    many,
    methods,
    recordings,
    simulator,
)
from tests.benchmarks.timing import ROUNDS

PAGES = {
    "simulator": simulator,
    "judge": judge,
    "dispersion": dispersion,
    "many": many,
    "latency": latency,
    "bucketing": bucketing,
    "control": control,
    "collector": collector,
    "events": events,
    "events_large": events_large,
    "first_run": first_run,
    "calibration": calibration,
    "carried": carried,
    "clusters": clusters,
    "methods": methods,
    "recordings": recordings,
}

ON_REQUEST = {"events_large"}
"""Pages that are run where they are named, and not with all."""


def main(chosen: list[str]) -> int:
    """Run the named pages, or all."""
    unknown = set(chosen) - set(PAGES)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PAGES)}", file=sys.stderr)
        return 2
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
    )
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine}; median (lowest to highest) of {ROUNDS} rounds, CPU time\n")
    missed = 0
    for name in chosen or [name for name in PAGES if name not in ON_REQUEST]:
        for figure in PAGES[name].figures():
            verdict = {True: "met", False: "MISSED", None: ""}[figure.is_met]
            missed += figure.is_met is False
            print(f"{figure.name:<84} {figure.seen:<28} {figure.bound:<12} {verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
