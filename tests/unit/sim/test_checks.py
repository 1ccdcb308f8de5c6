"""Each check has a planted bug that it catches, and lets pass what is right."""

from dataclasses import fields, replace

import numpy as np
import pytest

from phase4.analysis.columns import ArmColumns
from phase4.analysis.verdict import Reason, Verdict
from phase4.durations import HOUR_MS
from phase4.errors import InvariantViolation
from phase4.rollout.decide import StageObservation
from phase4.rollout.events import (
    ApprovalRequested,
    Cancelled,
    EntryCause,
    Paused,
    PauseReason,
    RolledBack,
    StageEntered,
)
from phase4.rollout.journal import MemoryJournal
from phase4.rollout.state import evolve, replay
from phase4.sim import checks
from tests.unit.sim.worlds import START, plan

PLAN = plan()
STARTED = StageEntered(at_ms=START, stage=0, entry=1, percentage=5.0, cause=EntryCause.START)
STATE = replay([STARTED])
BAKED = START + 2 * HOUR_MS
ASKED = evolve(STATE, ApprovalRequested(at_ms=BAKED, stage=1, expires_ms=BAKED + 1))
BACK = RolledBack(at_ms=START, guardrail="error_rate", reason="", is_emergency=False, tick=0)
BY_HAND = replace(BACK, guardrail=None, tick=None)


def violates(message, check, *arguments):
    with pytest.raises(InvariantViolation) as violation:
        check(*arguments)
    assert message in str(violation.value)
    return True


# ------------------------------------------------------------------------------------------------ counts_are_possible


def arm(**changes):
    """Return two ticks: 10 requests of 4 new users, then 10 more of the same users."""
    values = {
        "ok": [8, 9], "error": [1, 1], "timeout": [1, 0], "invalid": [0, 0], "late": [0, 0],
        "units": [4, 0], "crossed": [0, 0],
    }  # fmt: skip
    for name in ("error", "bad"):
        values |= {f"{name}_risk_n": [9, 2], f"{name}_risk_x": [2, 1]}
        values |= {f"{name}_first_n": [4, 0], f"{name}_first_x": [1, 0]}
    values |= changes
    return ArmColumns(**{name: None if v is None else np.array(v, np.int64) for name, v in values.items()})


def test_possible_counts_pass():
    checks.counts_are_possible(arm(), arm())


def test_a_source_without_users_passes():
    without = {f.name: None for f in fields(ArmColumns) if f.name not in {"ok", "error", "timeout", "invalid", "late"}}
    checks.counts_are_possible(arm(**without), arm(**without))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ok": [8, -1]}, "ok is negative"),
        ({"error": [-1, 1]}, "error is negative"),
        ({"timeout": [-1, 0]}, "timeout is negative"),
        ({"invalid": [0, -1]}, "invalid is negative"),
        ({"late": [-1, 0]}, "late is negative"),
        ({"units": [11, 0]}, "more users than requests"),
        ({"error_risk_x": [3, 1]}, "more error_risk_x than events"),
        ({"error_first_n": [-1, 0], "error_first_x": [-2, 0]}, "error counts users below 0"),
        ({"error_risk_x": [10, 1]}, "error_risk_x is above error_risk_n"),
        ({"error_risk_n": [11, 2]}, "error_risk_n is above the requests"),
        ({"bad_first_x": [5, 0]}, "bad_first_x is above bad_first_n"),
        ({"bad_first_n": [4, 1]}, "more first outcomes in bad_first_n than users"),
        ({"error_first_n": [5, 0]}, "more first outcomes in error_first_n than users"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value.split()[-1],
)
@pytest.mark.parametrize("place", ["treatment", "control"])
def test_a_source_that_counts_wrongly_is_caught(place, changes, message):
    arms = (arm(**changes), arm()) if place == "treatment" else (arm(), arm(**changes))
    assert violates(f"{place}: {message}", checks.counts_are_possible, *arms)


def test_a_first_outcome_after_the_user_was_first_seen_is_possible():
    checks.counts_are_possible(arm(error_first_n=[3, 1]), arm())


LATE = {"units": [0, 0], "bad_first_n": [0, 0], "bad_first_x": [0, 0], "error_first_n": [0, 1], "error_first_x": [0, 0]}


def test_a_first_outcome_of_a_user_of_an_earlier_stretch_is_possible():
    ahead = {}
    checks.counts_are_possible(arm(error_first_n=[3, 0]), arm(), ahead)
    checks.counts_are_possible(arm(**LATE), arm(), ahead)


def test_more_first_outcomes_than_the_users_of_all_stretches_are_caught():
    ahead = {}
    checks.counts_are_possible(arm(error_first_n=[4, 0]), arm(), ahead)
    message = "treatment: more first outcomes in error_first_n than users"
    assert violates(message, checks.counts_are_possible, arm(**LATE), arm(), ahead)


# ----------------------------------------------------------------------------------------------------- step_is_legal


def entry(**changes):
    values = {"at_ms": BAKED, "stage": 1, "entry": 2, "percentage": 50.0, "cause": EntryCause.APPROVED}
    return StageEntered(**{**values, **changes})


def green(**changes):
    return StageObservation(1, 11, Verdict.PASS, None, None, HOUR_MS)._replace(**changes)


def step(state=ASKED, event=None, seen=None, now=BAKED, of=PLAN):
    return (of, replace(state, approvals=state.approvals or ("ana",)), event or entry(), seen or green(), now)


def test_a_stage_entered_green_in_time_and_approved_is_legal():
    checks.step_is_legal(*step())


def test_the_start_of_a_plan_is_legal_without_an_observation():
    checks.step_is_legal(PLAN, replay([]), STARTED, None, START)


def test_a_skipped_stage_is_caught():
    three = plan(stages=(*PLAN.stages, replace(PLAN.stages[1], percentage=80.0)))
    assert violates("stage 2 does not follow stage 0", checks.step_is_legal, *step(event=entry(stage=2), of=three))


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.NO_DATA, Verdict.FAIL])
def test_a_promotion_without_pass_is_caught(verdict):
    assert violates("without PASS", checks.step_is_legal, *step(seen=green(verdict=verdict)))


def test_a_promotion_that_nobody_saw_is_caught():
    state = replace(ASKED, approvals=("ana",))
    assert violates("without PASS", checks.step_is_legal, PLAN, state, entry(), None, BAKED)


def test_a_promotion_a_millisecond_before_the_bake_time_is_caught():
    assert violates("before its bake time", checks.step_is_legal, *step(now=BAKED - 1))


def test_a_promotion_a_millisecond_before_the_active_time_is_caught():
    assert violates("before its active time", checks.step_is_legal, *step(seen=green(active_ms=HOUR_MS - 1)))


def test_an_entry_past_the_gate_without_an_approval_is_caught():
    assert violates("without its approvals", checks.step_is_legal, PLAN, ASKED, entry(), green(), BAKED)


def test_an_entry_with_one_approval_of_two_is_caught():
    two = plan(approvals_required=2)
    assert violates("without its approvals", checks.step_is_legal, *step(of=two))


def test_a_stage_that_needs_no_approval_may_be_entered_without():
    free = plan(stages=(PLAN.stages[0], replace(PLAN.stages[1], approval=False)))
    checks.step_is_legal(free, STATE, entry(cause=EntryCause.PROMOTED), green(), BAKED)


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.NO_DATA])
def test_a_rollback_without_fail_is_caught(verdict):
    assert violates("without FAIL", checks.step_is_legal, *step(event=BACK, seen=green(verdict=verdict)))


def test_a_rollback_that_nobody_saw_is_caught():
    assert violates("without FAIL", checks.step_is_legal, PLAN, STATE, BACK, None, START)


def test_a_rollback_on_fail_is_legal():
    seen = green(verdict=Verdict.FAIL, guardrail="error_rate", reason=Reason.EVIDENCE)
    checks.step_is_legal(PLAN, STATE, BACK, seen, START)


def test_a_person_may_roll_back_whatever_was_seen():
    checks.step_is_legal(PLAN, STATE, BY_HAND, None, START)


# ------------------------------------------------------------------------------------------------- exposure_is_legal


def test_entering_a_stage_may_raise_the_exposure():
    checks.exposure_is_legal(STATE, entry(), evolve(STATE, entry()), 50.0)


@pytest.mark.parametrize(
    "event",
    [Paused(at_ms=START, reason=PauseReason.OPERATOR, note=""), Cancelled(at_ms=START, reason="")],
    ids=lambda event: event.kind,
)
def test_an_event_that_raises_the_exposure_without_an_entry_is_caught(event):
    after = replace(evolve(STATE, event), percentage=6.0)
    assert violates(f"{event.kind} raised the exposure", checks.exposure_is_legal, STATE, event, after, 6.0)


def test_an_exposure_left_after_a_rollback_is_caught():
    after = evolve(STATE, BACK)
    assert violates("still exposed at 5.0 %", checks.exposure_is_legal, STATE, BACK, after, 5.0)


@pytest.mark.parametrize("switched", [0.0, 4.9, 50.0])
def test_a_switch_that_is_not_where_the_state_says_is_caught(switched):
    event = Paused(at_ms=START, reason=PauseReason.OPERATOR, note="")
    after = evolve(STATE, event)
    assert violates("the switch is at", checks.exposure_is_legal, STATE, event, after, switched)


def test_a_rollback_that_switched_off_is_legal():
    checks.exposure_is_legal(STATE, BACK, evolve(STATE, BACK), 0.0)


# ------------------------------------------------------------------------------- exposure_repeats, journal_is_state


def test_an_event_that_moves_the_exposure_a_second_time_is_caught():
    assert violates("from 5.0 to 10.0 %", checks.exposure_repeats, 5.0, 10.0)


def test_an_event_carried_out_twice_without_effect_is_legal():
    checks.exposure_repeats(5.0, 5.0)


def journal(*events):
    whole = MemoryJournal()
    for seq, event in enumerate(events, 1):
        whole.append(seq, event)
    return whole


def test_a_state_that_is_the_fold_of_its_journal_is_legal():
    checks.journal_is_state(journal(STARTED), STATE)


@pytest.mark.parametrize(
    "state",
    [replay([]), replace(STATE, percentage=6.0), replace(STATE, seq=2), evolve(STATE, BACK)],
    ids=["behind", "percentage", "seq", "ahead"],
)
def test_a_state_with_a_life_of_its_own_is_caught(state):
    assert violates("replay(journal) is not the state", checks.journal_is_state, journal(STARTED), state)
