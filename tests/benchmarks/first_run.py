"""How long the first run takes: the whole program, from its start to the report on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.timing import Figure

ROOT = Path(__file__).parents[2]
BOUND_S = 60.0


def figures() -> list[Figure]:
    """Return the figure of this page."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-c", "from phase4.cli.main import entry; entry()"]
        begin = time.monotonic()
        subprocess.run(
            [*command, "simulate", "sweep", "sims/first_run.toml"],
            cwd=ROOT,
            env={**os.environ, "PHASE4_HOME": home},
            check=True,
            capture_output=True,
        )
        seconds = time.monotonic() - begin
    return [
        Figure(
            name=f"make run after set-up, 4,000 rehearsals, {os.cpu_count()} cores, wall time",
            seen=f"{seconds:.1f} s",
            bound=f"<= {BOUND_S:.0f} s",
            is_met=seconds <= BOUND_S,
        )
    ]
