"""The scenario that is timed: three weeks of synthetic counts, one flag, the real controller and guardrails."""

from __future__ import annotations

from pathlib import Path

from phase4.sim.scenario import Scenario, load

PLAN = """
schema = 1
stages = [
  { name = "5 %", percentage = 5, bake = "2d", max_duration = "4d" },
  { name = "10 %", percentage = 10, bake = "7d", max_duration = "14d" },
  { name = "25 %", percentage = 25, bake = "21d", max_duration = "28d", approval = true },
]
[guardrails.error_rate]
limit = 0.01
unit = "request"
"""
SCENARIO = """
schema = 1
name = "three-weeks"
[run]
start = "2026-11-23T00:00:00Z"
duration = "21d"
tick = "30s"
seed = 1
[flag]
key = "bench"
[traffic]
shape = {{ kind = "diurnal", rate = {rate}, swing = 0.5 }}
[baseline]
error_rate = 0.003
[[policy]]
name = "plan"
plan = "plan.toml"
"""


def three_weeks(folder: Path, rate: float) -> Scenario:
    """Return the scenario at a mean of `rate` requests a second; its files are written to `folder`."""
    (folder / "plan.toml").write_text(PLAN, encoding="utf-8")
    path = folder / f"rate-{rate:g}.toml"
    path.write_text(SCENARIO.format(rate=float(rate)), encoding="utf-8")
    return load(path)
