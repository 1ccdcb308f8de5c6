"""Every scenario that ships loads, runs and gives what it says it expects; here with few replicates."""

from pathlib import Path

import pytest

from phase4.sim import archive, scenario, sweep
from phase4.sim.expect import check_cells, check_run

SIMS = sorted((Path(__file__).parents[2] / "sims").glob("*.toml"))
REPLICATES = {
    "few-users": 10,
    "first-run": 20,
    "flights-year": 3,
    "healthy-users": 10,
    "slow-feature": 2,
    "stubborn-few": 4,
    "synthetic": 4,
}
ROLLED_BACK_BY = {
    ("slow-feature", "slow from the start"): {"latency_p95"},
    ("slow-feature", "fails later"): {"error_rate", "error_ratio", "emergency"},
    ("stubborn-few", "by the feature"): {"error_ratio"},
}
"""Which guardrails find the defect of a world, where one of them does."""


@pytest.mark.parametrize("path", SIMS, ids=lambda path: path.stem)
def test_a_shipped_scenario_meets_its_expectations(path):
    rehearsed = scenario.load(path)
    assert rehearsed.name == path.stem.replace("_", "-")
    assert rehearsed.covers
    assert rehearsed.expect_cells, "a shipped scenario says what it expects"
    result = sweep.sweep(
        rehearsed,
        seed=rehearsed.seed,
        replicates=REPLICATES[rehearsed.name],
        workers=2,
        progress=lambda _done, _planned: None,
    )
    assert check_cells(rehearsed.expect_cells, archive.cells(rehearsed, result.outcomes)) == []
    first = rehearsed.worlds[0], rehearsed.policies[0]
    record = sweep.run_one(rehearsed, *first, seed=rehearsed.seed, replicate=0)
    assert check_run(rehearsed.expect_run, record) == []
    for outcome in result.outcomes:
        found_by = ROLLED_BACK_BY.get((rehearsed.name, outcome.world))
        assert found_by is None or outcome.guardrail is None or outcome.guardrail in found_by, outcome
