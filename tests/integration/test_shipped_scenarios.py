"""The scenarios that ship: each loads, and a seeded run of each world ends as its file says; a sweep of it has many."""

from pathlib import Path

import pytest

from phase4.sim.scenario import load
from phase4.sim.sweep import run_one

SIMS = Path(__file__).parents[2] / "sims"
ENDS = {
    ("few_users", "all alike"): ("COMPLETED", None),
    ("healthy_users", "all alike"): ("COMPLETED", None),
    ("healthy_users", "a few fail often"): ("COMPLETED", None),
    ("stubborn_few", "anyhow"): ("COMPLETED", None),
    ("stubborn_few", "by the feature"): ("ROLLED_BACK", {"error_ratio"}),
    ("slow_feature", "as fast as before"): ("COMPLETED", None),
    ("slow_feature", "slow from the start"): ("ROLLED_BACK", {"latency_p95"}),
    ("slow_feature", "slows down later"): ("PAUSED", None),
    ("slow_feature", "fails later"): ("ROLLED_BACK", {"error_rate", "error_ratio", "emergency"}),
}


@pytest.mark.parametrize("path", sorted(SIMS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_that_ships_is_valid(path):
    assert load(path).name == path.stem.replace("_", "-")


@pytest.mark.parametrize("name", ["few_users", "healthy_users", "slow_feature", "stubborn_few"])
def test_a_seeded_run_of_each_world_ends_as_the_file_says(name):
    scenario = load(SIMS / f"{name}.toml")
    for world in scenario.worlds:
        made = run_one(scenario, world, scenario.policies[0], seed=scenario.seed, replicate=0).outcome
        phase, guardrails = ENDS[name, world.name]
        assert made.phase == phase, world.name
        assert guardrails is None or made.guardrail in guardrails, world.name
