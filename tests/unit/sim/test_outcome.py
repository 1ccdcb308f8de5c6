import json
import math
from dataclasses import fields, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis import interval
from phase4.durations import HOUR_MS
from phase4.sim.outcome import Figure, OperatingCharacteristics, Outcome, characteristics, digest
from tests.unit.sim.worlds import caught, missed, outcome

NEVER = math.inf


def false_alarm(replicate=0):
    return outcome(replicate, phase="ROLLED_BACK", guardrail="error_rate", rolled_back=True, false_rollback=True,
                   full_ms=NEVER)  # fmt: skip


def held(replicate=0, phase="PAUSED"):
    return outcome(replicate, phase=phase, full_ms=NEVER)


# --------------------------------------------------------------------------------------------------------- the shares


def test_false_rollbacks_are_a_share_of_all_runs():
    cell = characteristics([false_alarm(0), outcome(1), caught(2, hours=1), missed(3)])
    assert (cell.false_rollback.estimate, cell.false_rollback.runs) == (0.25, 4)


def test_caught_defects_are_a_share_of_the_runs_that_reached_one():
    cell = characteristics([false_alarm(0), outcome(1), caught(2, hours=1), missed(3)])
    assert (cell.caught.estimate, cell.caught.runs) == (0.5, 2)


def test_a_run_that_ends_without_an_answer_is_held():
    runs = [held(0, "PAUSED"), held(1, "PROGRESSING"), held(2, "AWAITING_APPROVAL"), outcome(3), false_alarm(4)]
    assert characteristics(runs).held.estimate == 0.6


def test_a_cancelled_run_is_neither_held_nor_completed():
    cell = characteristics([held(0, "CANCELLED")])
    assert (cell.held.estimate, cell.completed.estimate) == (0.0, 0.0)


def test_completed_runs_are_those_that_reached_the_end_of_the_plan():
    assert characteristics([outcome(0), held(1)]).completed.estimate == 0.5


def test_the_interval_of_a_share_is_wilson_s():
    cell = characteristics([false_alarm(0), *map(outcome, range(1, 10))])
    assert (cell.false_rollback.lower, cell.false_rollback.upper) == interval.wilson(1, 10)


def test_without_a_defect_there_is_nothing_to_estimate_about_catching_it():
    cell = characteristics([outcome(0), outcome(1)])
    assert (cell.caught.runs, cell.delay_hours_median.runs) == (0, 0)
    assert math.isnan(cell.caught.estimate)
    assert math.isnan(cell.delay_hours_median.estimate)


# --------------------------------------------------------------------------------------------------------- the delays


def test_the_median_delay_is_over_the_runs_that_reached_a_defect():
    cell = characteristics([caught(0, hours=1), caught(1, hours=2), caught(2, hours=30), outcome(3)])
    assert (cell.delay_hours_median.estimate, cell.delay_hours_median.runs) == (2.0, 3)


def test_a_defect_that_is_not_caught_has_an_infinite_delay():
    cell = characteristics([caught(0, hours=1), caught(1, hours=2), missed(2)])
    assert (cell.delay_hours_median.estimate, cell.delay_hours_95.estimate) == (2.0, NEVER)


def test_a_median_may_be_never():
    cell = characteristics([caught(0, hours=1), missed(1), missed(2)])
    assert cell.delay_hours_median.estimate == NEVER
    assert cell.delay_users_median.estimate == NEVER
    assert cell.delay_requests_median.estimate == NEVER


def test_users_until_a_defect_is_caught_are_counted_likewise():
    cell = characteristics([caught(r, hours=1, users_=users) for r, users in enumerate((10, 20, 90))])
    assert (cell.delay_users_median.estimate, cell.delay_users_95.estimate) == (20.0, 90.0)


def test_a_source_without_users_has_no_figures_about_users():
    nobody = {"delay_users": math.nan, "users_exposed": None, "users_harmed": None}
    cell = characteristics([caught(0, hours=1, **nobody), missed(1, **nobody)])
    assert (cell.delay_users_median.runs, cell.exposed_users.runs, cell.harmed_users.runs) == (0, 0, 0)
    assert cell.delay_hours_median.runs == 2


def test_the_time_to_full_rollout_of_a_run_that_does_not_get_there_is_never():
    cell = characteristics([outcome(0), held(1), held(2)])
    assert cell.full_hours_median.estimate == NEVER


def test_the_time_to_full_rollout_is_in_hours():
    cell = characteristics([outcome(0, full_ms=36.0 * HOUR_MS)])
    assert cell.full_hours_median.estimate == 36.0


# ---------------------------------------------------------------------------------------------------------- the means


def test_harmed_users_are_a_mean_over_all_runs():
    cell = characteristics([missed(0, users_harmed=6), outcome(1, users_harmed=0)])
    assert (cell.harmed_users.estimate, cell.harmed_users.runs) == (3.0, 2)


def test_a_mean_of_one_run_has_no_interval():
    figure = characteristics([missed(0)]).excess
    assert figure.estimate == 9.0
    assert math.isnan(figure.lower)
    assert math.isnan(figure.upper)


@pytest.mark.parametrize(
    "runs",
    [[], [outcome(0), outcome(1, world="other")], [outcome(0), outcome(1, policy="other")]],
    ids=["none", "worlds", "policies"],
)
def test_figures_are_of_one_world_and_one_policy(runs):
    with pytest.raises(ValueError, match="one world and one policy"):
        characteristics(runs)


# --------------------------------------------------------------------------------------------------------------- json


def test_in_json_never_is_said_and_not_a_number():
    assert Figure(NEVER, 1.0, NEVER, 3).to_json() == {
        "estimate": None,
        "lower": 1.0,
        "upper": None,
        "runs": 3,
        "never": True,
    }


def test_in_json_nothing_to_estimate_is_null_and_not_never():
    body = Figure(math.nan, math.nan, math.nan, 0).to_json()
    assert (body["estimate"], body["never"]) == (None, False)


@pytest.mark.parametrize(
    "runs", [[missed(0)], [outcome(0)], [caught(0, hours=1), missed(1)]], ids=["never", "nan", "mixed"]
)
def test_figures_are_json_whatever_they_are(runs):
    body = characteristics(runs).to_json()
    assert set(body) == {field.name for field in fields(OperatingCharacteristics)}
    assert json.loads(json.dumps(body, allow_nan=False)) == body


# ------------------------------------------------------------------------------------------------------------- digest

RUNS = [outcome(r, world=w, policy=p) for w in ("a", "b") for p in ("x", "y") for r in range(3)]


@given(st.integers(0, 2**32))
def test_the_digest_does_not_depend_on_the_order_in_which_runs_were_done(seed):
    shuffled = list(RUNS)
    Random(seed).shuffle(shuffled)
    assert digest(shuffled) == digest(RUNS)


def test_the_digest_of_a_part_is_another():
    assert digest(RUNS[1:]) != digest(RUNS)


OTHER = {
    "run_id": "x", "world": "x", "policy": "x", "replicate": 9, "phase": "PAUSED", "guardrail": "x", "end_ms": 1,
    "stage": 0, "approvals": 0, "onset_ms": 1, "rolled_back": True, "false_rollback": True, "caught": False,
    "delay_ms": 1.0, "delay_users": 1.0, "delay_requests": 1.0, "users_exposed": 1, "users_harmed": None,
    "excess": 0.5, "full_ms": NEVER, "digest": "01",
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(Outcome)])
def test_every_field_of_a_run_is_in_the_digest(name):
    assert digest([replace(outcome(0), **{name: OTHER[name]})]) != digest([outcome(0)])


def test_the_digest_tells_the_last_bit_of_a_number():
    assert digest([outcome(0, excess=0.1 + 0.2)]) != digest([outcome(0, excess=0.3)])


def test_never_and_nothing_have_digests_of_their_own():
    assert len({digest([outcome(0, delay_ms=value)]) for value in (NEVER, math.nan, 0.0)}) == 3
