"""Every scenario that ships loads, runs and gives what it says it expects; here with few replicates."""

from pathlib import Path

import pytest

from phase4.sim import archive, scenario, sweep
from phase4.sim.expect import check_cells, check_run

SIMS = sorted((Path(__file__).parents[2] / "sims").glob("*.toml"))
REPLICATES = {"first-run": 20, "healthy-users": 10, "synthetic": 4}


@pytest.mark.parametrize("path", SIMS, ids=lambda path: path.stem)
def test_a_shipped_scenario_meets_its_expectations(path):
    rehearsed = scenario.load(path)
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
