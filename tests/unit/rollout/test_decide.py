from dataclasses import replace

import pytest

from phase4.analysis.verdict import Verdict
from phase4.durations import HOUR_MS
from phase4.rollout.decide import APPROVAL_LIFE_MS, decide
from phase4.rollout.events import (
    ApprovalDropped,
    ApprovalGiven,
    ApprovalRequested,
    Cancelled,
    Completed,
    EntryCause,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
    StageEntered,
)
from phase4.rollout.state import Phase, evolve, replay
from tests.unit.rollout.steps import (
    ACTIVE,
    APPROVER,
    BAKE,
    LONGEST,
    PENDING,
    at,
    awaiting,
    entered,
    plan,
    progressing,
    seen,
)

PASS, FAIL, INCONCLUSIVE, NO_DATA = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NO_DATA
NOT_GREEN = pytest.mark.parametrize("verdict", [INCONCLUSIVE, NO_DATA])
BAKED, LATE = BAKE / HOUR_MS, LONGEST / HOUR_MS


def paused(state=None, hours=10.0, reason=PauseReason.OPERATOR):
    return evolve(state or progressing(), Paused(at_ms=at(hours), reason=reason, note=""))


# ---------------------------------------------------------------------------------------------------- PROGRESSING


def test_a_green_stage_that_has_had_its_time_is_left_for_the_next():
    assert decide(plan(), progressing(), seen(PASS), at(BAKED)) == StageEntered(
        at_ms=at(BAKED), stage=1, entry=2, percentage=10.0, cause=EntryCause.PROMOTED
    )


def test_a_green_stage_is_not_left_a_millisecond_before_its_bake_time():
    assert decide(plan(), progressing(), seen(PASS), at(BAKED) - 1) is None


def test_a_green_stage_is_not_left_a_millisecond_before_its_active_time():
    assert decide(plan(), progressing(), seen(PASS, active=ACTIVE - 1), at(BAKED)) is None


def test_a_green_stage_that_lacks_active_time_is_not_paused_however_long_it_takes():
    assert decide(plan(), progressing(), seen(PASS, active=0), at(10 * LATE)) is None


def test_a_breached_guardrail_rolls_back_at_once():
    assert decide(plan(), progressing(), seen(FAIL, active=0, tick=0), at(0)) == RolledBack(
        at_ms=at(0), guardrail="error_rate", reason="error_rate failed", is_emergency=False, tick=0
    )


def test_a_breach_of_the_emergency_limit_is_an_emergency():
    event = decide(plan(), progressing(), seen(FAIL, guardrail="emergency", is_emergency=True), at(1))
    assert (event.guardrail, event.is_emergency) == ("emergency", True)


def test_a_breach_rolls_back_also_after_the_longest_duration():
    assert isinstance(decide(plan(), progressing(), seen(FAIL), at(LATE)), RolledBack)


@NOT_GREEN
def test_a_stage_that_is_not_green_holds(verdict):
    assert decide(plan(), progressing(), seen(verdict), at(BAKED)) is None


@NOT_GREEN
def test_a_stage_that_is_not_green_holds_until_its_longest_duration(verdict):
    assert decide(plan(), progressing(), seen(verdict), at(LATE) - 1) is None


@NOT_GREEN
def test_a_stage_that_is_not_green_at_its_longest_duration_pauses_and_says_why(verdict):
    event = decide(plan(), progressing(), seen(verdict), at(LATE))
    assert (event.at_ms, event.reason) == (at(LATE), PauseReason.MAX_DURATION)
    assert "error_rate" in event.note
    assert verdict in event.note


def test_a_stage_that_nobody_observed_pauses_at_its_longest_duration():
    event = decide(plan(), progressing(), None, at(LATE))
    assert (event.reason, event.note) == (PauseReason.MAX_DURATION, "no observation of this stage")


def test_a_green_stage_at_its_longest_duration_is_left_and_not_paused():
    assert isinstance(decide(plan(), progressing(), seen(PASS), at(LATE)), StageEntered)


def test_no_data_is_not_good_data():
    assert decide(plan(), progressing(), seen(NO_DATA), at(BAKED + 1)) is None
    assert decide(plan(), progressing(), None, at(BAKED + 1)) is None


def test_the_last_stage_left_green_completes_the_plan():
    assert decide(plan(), progressing(2), seen(PASS, entry=3), at(BAKED)) == Completed(at_ms=at(BAKED))


def test_a_stage_that_needs_approval_is_asked_for_and_not_entered():
    asked = decide(plan(), progressing(1), seen(PASS, entry=2), at(BAKED))
    assert asked == ApprovalRequested(at_ms=at(BAKED), stage=2, expires_ms=at(BAKED + 24))


def test_without_auto_every_stage_is_asked_for():
    assert isinstance(decide(plan(auto=False), progressing(), seen(PASS), at(BAKED)), ApprovalRequested)


def test_a_clock_that_went_backwards_neither_promotes_nor_pauses():
    assert decide(plan(), progressing(), seen(PASS), at(-1)) is None
    assert decide(plan(), progressing(), seen(NO_DATA), at(-1)) is None


def test_time_in_a_pause_is_no_bake_time():
    state = evolve(paused(hours=10), Resumed(at_ms=at(15), granted_ms=0))
    assert decide(plan(), state, seen(PASS), at(BAKED + 5) - 1) is None
    assert isinstance(decide(plan(), state, seen(PASS), at(BAKED + 5)), StageEntered)


def test_time_in_a_pause_does_not_count_towards_the_longest_duration():
    state = evolve(paused(hours=10), Resumed(at_ms=at(15), granted_ms=0))
    assert decide(plan(), state, None, at(LATE + 5) - 1) is None
    assert isinstance(decide(plan(), state, None, at(LATE + 5)), Paused)


def test_after_a_resume_at_the_longest_duration_one_more_of_it_is_granted():
    stood = paused(hours=LATE, reason=PauseReason.MAX_DURATION)
    state = evolve(stood, Resumed(at_ms=at(LATE), granted_ms=LONGEST))
    assert decide(plan(), state, None, at(2 * LATE) - 1) is None
    assert isinstance(decide(plan(), state, None, at(2 * LATE)), Paused)


# ------------------------------------------------------------------------------------------------ AWAITING_APPROVAL


def test_the_approval_gates_the_entry_of_the_25_percent_stage():
    assert decide(plan(), awaiting(), seen(PASS, entry=2), at(51)) is None
    assert decide(plan(), awaiting(approvals=(APPROVER,)), seen(PASS, entry=2), at(51)) == StageEntered(
        at_ms=at(51), stage=2, entry=3, percentage=25.0, cause=EntryCause.APPROVED
    )


def test_one_approval_of_two_is_not_enough():
    two = plan(approvals_required=2)
    assert decide(two, awaiting(approvals=("ana",)), seen(PASS, entry=2), at(51)) is None
    assert isinstance(decide(two, awaiting(approvals=("ana", "ben")), seen(PASS, entry=2), at(51)), StageEntered)


def test_an_approval_does_not_help_a_stage_that_is_no_longer_green():
    event = decide(plan(), awaiting(approvals=(APPROVER,)), seen(INCONCLUSIVE, entry=2), at(51))
    assert event == ApprovalDropped(at_ms=at(51), reason="the stage is no longer green")


@NOT_GREEN
def test_a_request_is_dropped_when_the_stage_is_no_longer_green(verdict):
    assert isinstance(decide(plan(), awaiting(), seen(verdict, entry=2), at(51)), ApprovalDropped)


def test_a_request_is_dropped_when_nothing_is_observed():
    assert isinstance(decide(plan(), awaiting(approvals=(APPROVER,)), None, at(51)), ApprovalDropped)


def test_a_request_lives_for_24_hours():
    assert APPROVAL_LIFE_MS == 24 * HOUR_MS
    assert decide(plan(), awaiting(), seen(PASS, entry=2), at(74) - 1) is None


@pytest.mark.parametrize("approvals", [(), (APPROVER,)], ids=["unanswered", "approved"])
def test_a_request_expires_after_24_hours_also_when_it_was_approved(approvals):
    event = decide(plan(), awaiting(approvals=approvals), seen(PASS, entry=2), at(74))
    assert event == ApprovalDropped(at_ms=at(74), reason="the request expired")


def test_a_request_that_was_dropped_is_made_again_while_the_stage_is_green():
    state = evolve(awaiting(), ApprovalDropped(at_ms=at(74), reason="the request expired"))
    asked = decide(plan(), state, seen(PASS, entry=2), at(74.5))
    assert asked == ApprovalRequested(at_ms=at(74.5), stage=2, expires_ms=at(98.5))


def test_an_approval_of_a_request_that_was_dropped_does_not_count_for_the_next():
    dropped = evolve(awaiting(approvals=(APPROVER,)), ApprovalDropped(at_ms=at(74), reason="the request expired"))
    again = evolve(dropped, ApprovalRequested(at_ms=at(75), stage=2, expires_ms=at(99)))
    assert decide(plan(), again, seen(PASS, entry=2), at(75.5)) is None


def test_a_breach_while_waiting_for_approval_rolls_back():
    event = decide(plan(), awaiting(approvals=(APPROVER,)), seen(FAIL, entry=2), at(51))
    assert isinstance(event, RolledBack)


def test_waiting_for_approval_is_not_paused_for_its_length():
    assert decide(plan(), awaiting(hours=LATE + 1), seen(PASS, entry=2), at(LATE + 2)) is None


# ----------------------------------------------------------------------------------------------------------- PAUSED


@pytest.mark.parametrize("verdict", [PASS, INCONCLUSIVE, NO_DATA])
@pytest.mark.parametrize("reason", list(PauseReason))
def test_a_paused_rollout_stands_whatever_passes(verdict, reason):
    assert decide(plan(), paused(reason=reason), seen(verdict), at(10 * LATE)) is None


def test_a_breach_while_paused_rolls_back_since_users_are_still_exposed():
    assert isinstance(decide(plan(), paused(), seen(FAIL), at(11)), RolledBack)


# ------------------------------------------------------------------------------------- before the start, and after


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_plan_that_has_not_started_does_nothing_by_itself(verdict):
    assert decide(plan(), PENDING, seen(verdict, entry=0), at(10 * LATE)) is None


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize(
    "end",
    [
        Completed(at_ms=at(1)),
        Cancelled(at_ms=at(1), reason=""),
        RolledBack(at_ms=at(1), guardrail=None, reason="", is_emergency=False, tick=None),
    ],
    ids=lambda event: event.kind,
)
def test_a_plan_that_has_ended_does_nothing_more(end, verdict):
    assert decide(plan(), evolve(progressing(), end), seen(verdict), at(10 * LATE)) is None


# --------------------------------------------------------------------------------------- observations of other entries


@pytest.mark.parametrize("entry", [0, 1, 3])
def test_an_observation_of_another_entry_is_ignored(entry):
    state = progressing(1)
    for verdict in (FAIL, PASS):
        assert decide(plan(), state, seen(verdict, entry=entry), at(BAKED)) is None


def test_green_seen_in_the_stage_before_does_not_keep_a_request_alive():
    assert isinstance(decide(plan(), awaiting(), seen(PASS, entry=1), at(51)), ApprovalDropped)


# --------------------------------------------------------------------------------------------- at most one step a tick


def test_a_long_outage_skips_no_stage():
    state = progressing()
    event = decide(plan(), state, seen(PASS, active=100 * ACTIVE), at(1_000 * LATE))
    assert event.stage == 1
    following = evolve(state, event)
    assert decide(plan(), following, seen(PASS, entry=2, active=100 * ACTIVE), at(1_000 * LATE)) is None


def test_what_is_decided_depends_on_nothing_but_its_arguments():
    arguments = plan(), progressing(), seen(PASS), at(BAKED)
    assert decide(*arguments) == decide(*arguments)


@pytest.mark.parametrize(
    ("events", "verdict", "hours", "phase"),
    [
        ([entered(0)], FAIL, 1, Phase.ROLLED_BACK),
        ([entered(0)], PASS, BAKED, Phase.PROGRESSING),
        ([entered(1)], PASS, BAKED, Phase.AWAITING_APPROVAL),
        ([entered(2)], PASS, BAKED, Phase.COMPLETED),
        ([entered(0)], NO_DATA, LATE, Phase.PAUSED),
    ],
    ids=["fail", "promoted", "asked", "completed", "max-duration"],
)
def test_the_phase_after_a_step_is_the_table_s(events, verdict, hours, phase):
    state = replay(events)
    event = decide(plan(), state, seen(verdict, entry=state.entry), at(hours))
    assert evolve(state, event).phase is phase


def test_a_stage_without_a_least_time_may_be_left_at_its_first_green_tick():
    quick = plan(stages=tuple(replace(s, active_min=0, bake=0) for s in plan().stages))
    state = replay([entered(0), ApprovalGiven(at_ms=at(0), approver=APPROVER)])
    assert isinstance(decide(quick, state, seen(PASS, active=0), at(0)), StageEntered)
