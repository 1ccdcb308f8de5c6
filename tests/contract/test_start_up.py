"""A command that switches is a whole process: it loads nothing heavy, whatever state the home is in."""

import json
import shlex
import subprocess
import sys

import pytest

from tests.contract.program import CREATED, FLAG, PLAN, STARTED, environment

HEAVY = {"duckdb", "polars", "numpy", "pyarrow", "plotly", "panel", "pandas"}
REPORT = """
import json, sys
from phase4.cli.main import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""
LINES = {
    f"flags enable {FLAG}": CREATED,
    f"flags disable {FLAG}": STARTED,
    f"flags rollout {FLAG} 3": STARTED,
    "flags list": STARTED,
    f"flags check {FLAG} --user user-123": STARTED,
    "rollout status": STARTED,
    "rollout create hook-interception": CREATED,
    "rollout plan-check default --users 2000 --traffic 20000/day": CREATED,
    f"rollout plan-check {PLAN} --from-events": STARTED,
    f"rollout start {PLAN}": CREATED,
    f"rollout rollback {PLAN}": STARTED,
    'emergency disable "orders fail"': STARTED,
    f'emergency rollback {FLAG} "orders fail"': STARTED,
    "status": STARTED,
    "alerts list": STARTED,
    "monitor alerts": STARTED,
    "store check": STARTED,
}


@pytest.mark.parametrize("line", LINES)
def test_a_command_that_switches_or_looks_loads_nothing_heavy(homes, line):
    env = environment(homes.after(*LINES[line]))
    words = [sys.executable, "-c", REPORT, *shlex.split(line)]
    done = subprocess.run(words, check=True, capture_output=True, encoding="utf-8", env=env)
    status, loaded = json.loads(done.stderr.splitlines()[-1])
    assert status == 0
    assert "phase4" in loaded
    assert HEAVY.isdisjoint(loaded)
    assert "phase4.cli.tocome" not in loaded, "words to come are nobody's business here"
