from dataclasses import replace

import pytest

from phase4.durations import HOUR_MS
from phase4.rollout import corrections
from phase4.rollout.events import (
    ApprovalDropped,
    ApprovalGiven,
    ApprovalRequested,
    Cancelled,
    Completed,
    DataCorrected,
    EntryCause,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
)
from phase4.rollout.state import ENDED, Phase, RolloutState, evolve, replay
from tests.unit.rollout.steps import PENDING, at, awaiting, entered, progressing

BACK = RolledBack(at_ms=at(9), guardrail="error_rate", reason="error_rate failed", is_emergency=False, tick=3)


def test_an_empty_journal_is_a_plan_that_has_not_started():
    assert replay([]) == RolloutState() == PENDING
    assert (PENDING.phase, PENDING.stage, PENDING.entry, PENDING.percentage) == (Phase.PENDING, -1, 0, 0.0)


def test_entering_a_stage_sets_its_percentage():
    assert progressing(1).percentage == 10.0


def test_entering_a_stage_starts_its_clocks_anew():
    stood = [entered(0), Paused(at_ms=at(1), reason=PauseReason.MAX_DURATION, note="")]
    state = replay([*stood, Resumed(at_ms=at(2), granted_ms=5), entered(1, 3, EntryCause.PROMOTED)])
    assert (state.entered_ms, state.paused_ms, state.granted_ms, state.elapsed_ms(at(4))) == (at(3), 0, 0, HOUR_MS)


def test_the_number_of_events_is_counted():
    assert replay([entered(0), entered(1)]).seq == 2


def test_time_stands_while_a_rollout_is_paused():
    state = evolve(progressing(), Paused(at_ms=at(3), reason=PauseReason.OPERATOR, note=""))
    assert state.elapsed_ms(at(3)) == state.elapsed_ms(at(99)) == 3 * HOUR_MS


def test_time_goes_on_where_it_stood():
    stood = evolve(progressing(), Paused(at_ms=at(3), reason=PauseReason.OPERATOR, note=""))
    state = evolve(stood, Resumed(at_ms=at(10), granted_ms=0))
    assert state.elapsed_ms(at(11)) == 4 * HOUR_MS


def test_pauses_add_up():
    state = progressing()
    for hour in (1, 3):
        state = evolve(state, Paused(at_ms=at(hour), reason=PauseReason.OPERATOR, note=""))
        state = evolve(state, Resumed(at_ms=at(hour + 1), granted_ms=0))
    assert state.paused_ms == 2 * HOUR_MS


def test_granted_time_adds_up():
    state = progressing()
    for hour in (1, 3):
        state = evolve(state, Paused(at_ms=at(hour), reason=PauseReason.MAX_DURATION, note=""))
        state = evolve(state, Resumed(at_ms=at(hour), granted_ms=7))
    assert state.granted_ms == 14


def test_a_pause_keeps_percentage_entry_and_reason():
    state = evolve(progressing(1), Paused(at_ms=at(3), reason=PauseReason.MAX_DURATION, note=""))
    assert (state.phase, state.percentage, state.entry) == (Phase.PAUSED, 10.0, 2)
    assert state.pause_reason is PauseReason.MAX_DURATION


def test_a_resume_leaves_no_pause_behind():
    stood = evolve(progressing(), Paused(at_ms=at(3), reason=PauseReason.OPERATOR, note=""))
    state = evolve(stood, Resumed(at_ms=at(4), granted_ms=0))
    assert (state.phase, state.paused_at_ms, state.pause_reason) == (Phase.PROGRESSING, None, None)


def test_a_request_waits_without_approvals_until_it_expires():
    state = evolve(progressing(1), ApprovalRequested(at_ms=at(50), stage=2, expires_ms=at(74)))
    assert (state.phase, state.approvals, state.approval_expires_ms) == (Phase.AWAITING_APPROVAL, (), at(74))


def test_waiting_for_approval_keeps_stage_and_percentage():
    assert (awaiting().stage, awaiting().percentage) == (1, 10.0)


def test_approvals_are_kept_in_their_order():
    state = awaiting()
    for name in ("ben", "ana"):
        state = evolve(state, ApprovalGiven(at_ms=at(51), approver=name))
    assert state.approvals == ("ben", "ana")


@pytest.mark.parametrize(
    "event",
    [
        ApprovalDropped(at_ms=at(52), reason=""),
        Paused(at_ms=at(52), reason=PauseReason.OPERATOR, note=""),
        entered(2, 52, EntryCause.APPROVED),
        ApprovalRequested(at_ms=at(52), stage=2, expires_ms=at(76)),
    ],
    ids=lambda event: event.kind,
)
def test_approvals_do_not_outlive_their_request(event):
    assert evolve(awaiting(approvals=("ana",)), event).approvals == ()


def test_a_dropped_request_goes_on_in_the_same_stage():
    state = evolve(awaiting(), ApprovalDropped(at_ms=at(52), reason=""))
    assert (state.phase, state.stage, state.entry) == (Phase.PROGRESSING, 1, 2)


def test_a_rollback_takes_the_exposure_to_0():
    state = evolve(progressing(1), BACK)
    assert (state.phase, state.percentage, state.ended_ms) == (Phase.ROLLED_BACK, 0.0, at(9))


@pytest.mark.parametrize(
    ("event", "phase"),
    [(Completed(at_ms=at(9)), Phase.COMPLETED), (Cancelled(at_ms=at(9), reason=""), Phase.CANCELLED)],
    ids=["completed", "cancelled"],
)
def test_a_plan_that_ends_otherwise_keeps_its_percentage(event, phase):
    state = evolve(progressing(2), event)
    assert (state.phase, state.percentage, state.ended_ms) == (phase, 25.0, at(9))


@pytest.mark.parametrize("state", [progressing(1), awaiting(), evolve(progressing(1), BACK)], ids=lambda s: s.phase)
def test_a_correction_is_told_and_changes_nothing(state):
    late = dict.fromkeys(corrections.COUNTS, 1)
    after = evolve(state, DataCorrected(at_ms=at(99), entry=state.entry, from_ms=0, until_ms=0, **late))
    assert after == replace(state, seq=state.seq + 1)


def test_three_phases_are_ends():
    assert {phase.value for phase in ENDED} == {"COMPLETED", "ROLLED_BACK", "CANCELLED"}


def test_evolving_leaves_the_state_before_as_it_was():
    before = progressing()
    copy = replace(before)
    evolve(before, BACK)
    assert before == copy


def test_a_journal_may_be_replayed_in_two_goes():
    journal = [entered(0), entered(1, 50, EntryCause.PROMOTED), BACK]
    assert evolve(evolve(replay(journal[:1]), journal[1]), journal[2]) == replay(journal)
