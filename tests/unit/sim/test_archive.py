import json
import math
from dataclasses import fields

import numpy as np
import pytest

from phase4.flags.bucketing import Arm
from phase4.rollout.events import from_json
from phase4.rollout.state import replay
from phase4.sim import archive, identity
from phase4.sim.outcome import Figure, characteristics, digest
from phase4.sim.scenario import load
from phase4.sim.sweep import SweepResult, run_one, sweep
from phase4.store import runs
from tests.unit.sim.documents import SCENARIOS
from tests.unit.sim.worlds import START, TICK, counts_world, fault, plan, policy, scenario

WALL = 1_795_000_000_000
WHOLE = scenario(
    counts_world(name="fine"),
    counts_world(fault(add=0.05, at=3 * TICK), name="broken"),
    policies=(policy(name="one"), policy(plan(beta=0.1), name="two")),
    ticks=40,
)


def quiet(_done, _planned):
    pass


def save(folder, result, *, seed=7, replicates=3, whole=WHOLE):
    return runs.read(archive.save_sweep(folder, whole, result, seed=seed, replicates=replicates, started_wall_ms=WALL))


@pytest.fixture(scope="module")
def result():
    return sweep(WHOLE, seed=7, replicates=3, workers=1, progress=quiet)


@pytest.fixture(scope="module")
def file(result, tmp_path_factory):
    return save(tmp_path_factory.mktemp("runs"), result)


@pytest.fixture(scope="module")
def record():
    """One run that is rolled back in its first stage, so that it has one stretch."""
    return run_one(WHOLE, WHOLE.worlds[1], WHOLE.policies[0], seed=7, replicate=0)


@pytest.fixture(scope="module")
def single(record, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return runs.read(archive.save_run(folder, WHOLE, record, seed=7, started_wall_ms=WALL))


def none_for_nan(value):
    return None if isinstance(value, float) and math.isnan(value) else value


# --------------------------------------------------------------------------------------------------------------- sweeps


def test_a_sweep_is_described_by_what_decides_it(file):
    info = file.info
    assert (info["kind"], info["source"], info["scenario_hash"], info["seed"]) == ("sweep", "sim", WHOLE.hash, 7)
    assert (info["replicates"], info["planned"], info["done"], info["complete"]) == (3, 12, 12, True)
    assert (info["duration_ms"], info["tick_ms"], info["started_wall_ms"]) == (40 * TICK, TICK, WALL)


def test_a_sweep_has_the_digest_of_its_runs(file, result):
    assert file.info["digest"] == digest(result.outcomes)


def test_every_outcome_is_kept_as_it_was(file, result):
    rows = file.table("outcome").to_dicts()
    expected = [{name: none_for_nan(getattr(o, name)) for name in o.__dataclass_fields__} for o in result.outcomes]
    assert rows == expected


def test_every_figure_is_kept_as_it_was(file, result):
    kept = {(r["world"], r["policy"], r["figure"]): r for r in file.table("figure").iter_rows(named=True)}
    for world in ("fine", "broken"):
        cell = characteristics([o for o in result.outcomes if (o.world, o.policy) == (world, "one")])
        for field in fields(cell):
            figure = getattr(cell, field.name)
            if isinstance(figure, Figure):
                row = kept[world, "one", field.name]
                assert row["runs"] == figure.runs
                assert row["estimate"] == none_for_nan(figure.estimate)


def test_worlds_are_kept_in_order_with_their_faults_and_onsets(file):
    fine, broken = file.table("world").to_dicts()
    assert (fine["name"], fine["onset_ms"], fine["faults"]) == ("fine", None, "[]")
    assert (broken["name"], broken["onset_ms"]) == ("broken", 3 * TICK)
    assert json.loads(broken["faults"])[0]["add"] == 0.05


def test_policies_are_kept_in_order_with_their_stages_and_guardrails(file):
    one, two = file.table("policy").to_dicts()
    assert (one["name"], two["name"]) == ("one", "two")
    assert one["plan_digest"] == WHOLE.policies[0].plan.digest
    assert [stage["percentage"] for stage in json.loads(one["stages"])] == [5.0, 50.0]
    assert [spec["kind"] for spec in json.loads(one["guardrails"])] == ["RateGuardrail", "RatioGuardrail"]


def test_of_each_cell_one_run_is_kept_with_its_journal(file, result):
    kept = file.table("journal")["run_id"].unique(maintain_order=True).to_list()
    assert kept == [sample.outcome.run_id for sample in result.samples]


def test_a_kept_journal_leads_to_the_phase_of_its_run(file):
    phases = dict(file.table("outcome").select("run_id", "phase").iter_rows())
    for (run_id,), rows in file.table("journal").group_by("run_id", maintain_order=True):
        assert rows["seq"].to_list() == list(range(1, rows.height + 1))
        assert replay(from_json(json.loads(body)) for body in rows["body"]).phase == phases[run_id]


def test_a_sweep_is_named_by_what_decides_it_and_not_by_when_it_was_made(result, tmp_path):
    name = save(tmp_path, result).info["id"]
    assert name == identity.sweep_id(WHOLE, seed=7, replicates=3)
    others = {identity.sweep_id(WHOLE, seed=8, replicates=3), identity.sweep_id(WHOLE, seed=7, replicates=4)}
    assert len({name, *others}) == 3


def test_a_part_of_a_sweep_says_so_in_its_name_and_takes_no_whole_one_s_place(result, tmp_path):
    save(tmp_path, result)
    part = SweepResult(outcomes=result.outcomes[:5], samples=result.samples[:1], planned=12, is_complete=False)
    info = save(tmp_path, part).info
    assert (info["complete"], info["done"], info["planned"]) == (False, 5, 12)
    assert info["id"].endswith("-partial")
    assert len(runs.saved(tmp_path)) == 2


def test_cells_without_runs_have_no_figures(result):
    (cell,) = archive.cells(WHOLE, [o for o in result.outcomes if (o.world, o.policy) == ("broken", "two")])
    assert (cell.world, cell.policy) == ("broken", "two")


# ------------------------------------------------------------------------------------------------------------- one run


def test_a_run_is_named_by_its_id(single, record):
    assert (single.info["kind"], single.info["id"]) == ("run", record.outcome.run_id)
    assert single.path.stem == record.outcome.run_id


def test_exposures_are_kept_in_ticks(single, record):
    assert single.table("exposure").drop("run_id").rows() == [
        (exposure.percentage, exposure.first_tick, exposure.end_tick) for exposure in record.exposures
    ]


@pytest.mark.parametrize(("arm", "side"), [(Arm.TREATMENT, "treatment"), (Arm.CONTROL, "control")])
def test_every_count_that_was_seen_is_kept(single, record, arm, side):
    (stretch,) = record.stretches
    rows = single.table("observation").filter(arm=int(arm))
    assert rows["tick"].to_list() == list(range(len(stretch.treatment)))
    for name in ("ok", "error", "timeout", "invalid"):
        assert rows[name].to_list() == getattr(getattr(stretch, side), name).tolist()


def test_an_observation_is_stamped_when_its_tick_closed(single):
    rows = single.table("observation")
    assert (rows["t_ms"] == START + (rows["tick"] + 1) * TICK).all()
    assert set(rows["source"]) == {"sim"}


def test_without_users_the_user_columns_are_null(single):
    assert single.table("observation")["units"].null_count() == single.table("observation").height


def test_every_guardrail_has_its_evidence_at_every_tick(single, record):
    (stretch,) = record.stretches
    rows = single.table("evidence")
    specs = WHOLE.policies[0].plan.guardrails[0]
    terms = WHOLE.policies[0].plan.terms(0, interval_ms=TICK)
    for spec, judged in zip(specs, stretch.judged, strict=True):
        own = rows.filter(guardrail=spec.name)
        assert own["tick"].to_list() == list(range(len(stretch.treatment)))
        assert np.array_equal(own["log_e_fail"].to_numpy(), judged.log_e_fail)
        assert set(own["fail_bound"]) == {terms[spec.name].fail_bound}


def test_the_evidence_of_a_rollback_ends_at_or_above_its_bound(single, record):
    last = single.table("evidence").filter(guardrail=record.outcome.guardrail).tail(1).to_dicts()[0]
    assert last["log_e_fail"] >= last["fail_bound"]
    assert (last["verdict"], last["reason"]) == ("FAIL", "evidence")


def test_ticks_without_requests_have_no_observation(tmp_path):
    whole = load(SCENARIOS / "recorded.toml")
    record = run_one(whole, whole.worlds[0], whole.policies[0], seed=7, replicate=0)
    rows = runs.read(archive.save_run(tmp_path, whole, record, seed=7, started_wall_ms=WALL)).table("observation")
    counted = rows.select(total=rows["ok"] + rows["error"] + rows["timeout"] + rows["invalid"])["total"]
    assert counted.min() > 0
    assert rows["units"].null_count() == 0
    assert rows["error_risk_n"].null_count() == 0
    assert rows["bad_risk_n"].null_count() == rows.height


def test_the_same_run_saved_twice_has_the_same_rows(record, single, tmp_path):
    again = runs.read(archive.save_run(tmp_path, WHOLE, record, seed=7, started_wall_ms=WALL + 1))
    for name in runs.TABLES:
        if name != "info":
            assert again.table(name).to_dicts() == single.table(name).to_dicts(), name
