import math
from dataclasses import fields

import pytest

from phase4.durations import HOUR_MS
from phase4.sim.expect import check_cells, check_run
from phase4.sim.outcome import Figure, OperatingCharacteristics, characteristics
from phase4.sim.scenario import FIGURES, CellExpectation, RunExpectation
from phase4.sim.world import RunRecord
from tests.unit.sim.worlds import caught, missed, outcome


def record(of):
    return RunRecord(outcome=of, journal=(), exposures=(), stretches=(), refused=())


def unmet_run(of, phase="ROLLED_BACK", guardrail=None, within=None):
    expected = RunExpectation(phase=phase, guardrail=guardrail, within_ms=within)
    return check_run(expected, record(of))


# ------------------------------------------------------------------------------------------------------------ one run


def test_a_scenario_that_expects_nothing_is_content():
    assert check_run(None, record(outcome(0))) == []


def test_a_run_that_ended_as_expected_is_met():
    assert unmet_run(caught(0, hours=1), guardrail="error_ratio", within=HOUR_MS) == []


def test_another_end_is_told_with_what_was_expected():
    assert unmet_run(outcome(0)) == ["phase ROLLED_BACK expected, COMPLETED seen"]


def test_a_rollback_by_another_guardrail_is_told():
    assert unmet_run(caught(0, hours=1), guardrail="emergency") == [
        "rollback by emergency expected, by error_ratio seen"
    ]


def test_a_rollback_that_came_too_late_is_told():
    assert unmet_run(caught(0, hours=3), within=HOUR_MS) == ["rollback within 1 h expected, 3 h seen"]


def test_a_defect_that_nobody_caught_is_too_late():
    assert unmet_run(missed(0), phase="COMPLETED", within=HOUR_MS) == ["rollback within 1 h expected, never seen"]


def test_a_run_without_a_defect_does_not_meet_a_time_to_catch_it():
    assert unmet_run(outcome(0), phase="COMPLETED", within=HOUR_MS) == [
        "rollback within 1 h expected, no defect was reached"
    ]


def test_everything_that_came_out_otherwise_is_told_at_once():
    assert len(unmet_run(outcome(0), guardrail="emergency", within=HOUR_MS)) == 3


# ---------------------------------------------------------------------------------------------------------- one sweep


def bound(figure="caught", at_least=None, at_most=None):
    return CellExpectation(world="healthy", policy="guide", figure=figure, at_least=at_least, at_most=at_most)


HALF = Figure(0.5, 0.4, 0.6, 100)


def cell(figure="caught", value=HALF):
    """Return the figures of a cell with one of them set."""
    base = characteristics([outcome(0)])
    values = {field.name: getattr(base, field.name) for field in fields(OperatingCharacteristics)}
    return OperatingCharacteristics(**{**values, figure: value})


@pytest.mark.parametrize(
    ("at_least", "at_most", "is_met"),
    [
        (0.3, None, True),
        (0.55, None, True),
        (0.6, None, True),
        (0.61, None, False),
        (None, 0.7, True),
        (None, 0.45, True),
        (None, 0.4, True),
        (None, 0.39, False),
        (0.3, 0.7, True),
        (0.7, 0.3, False),
    ],
)
def test_a_bound_is_contradicted_when_the_whole_interval_lies_beyond_it(at_least, at_most, is_met):
    assert (check_cells([bound(at_least=at_least, at_most=at_most)], [cell()]) == []) is is_met


@pytest.mark.parametrize("limits", [{"at_least": 0.0}, {"at_most": 1.0}], ids=["at_least", "at_most"])
def test_a_figure_with_nothing_to_estimate_contradicts_every_bound(limits):
    nothing = Figure(math.nan, math.nan, math.nan, 0)
    assert len(check_cells([bound(**limits)], [cell(value=nothing)])) == 1


def test_never_contradicts_a_longest_delay():
    never = Figure(math.inf, math.inf, math.inf, 9)
    unmet = check_cells([bound("delay_median_hours", at_most=3.0)], [cell("delay_hours_median", never)])
    assert len(unmet) == 1


def test_what_is_unmet_names_the_figure_its_place_the_bound_and_what_was_seen():
    (text,) = check_cells([bound(at_least=0.99)], [cell()])
    assert text == 'caught of "guide" in "healthy" at least 0.99 expected, 0.5 (0.4 to 0.6) seen'


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_that_a_scenario_may_bound_can_be_looked_up(figure):
    assert check_cells([bound(figure, at_least=0.0)], [characteristics([caught(0, hours=1, world="healthy")])]) == []


def test_each_bound_is_held_against_its_own_cell():
    other = CellExpectation(world="broken", policy="guide", figure="caught", at_least=0.9, at_most=None)
    cells = [characteristics([missed(0)]), characteristics([caught(0, hours=1, world="broken")])]
    assert check_cells([other], cells) == []
