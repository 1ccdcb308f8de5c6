import pytest

from phase4.errors import PlanStateError
from phase4.rollout import commands
from phase4.rollout.events import (
    ApprovalGiven,
    Cancelled,
    Completed,
    EntryCause,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
)
from phase4.rollout.state import Phase, evolve
from tests.unit.rollout.steps import LONGEST, PENDING, at, awaiting, entered, plan, progressing

NOW = at(60)
PAUSE = Paused(at_ms=at(55), reason=PauseReason.OPERATOR, note="")
BACK = RolledBack(at_ms=at(55), guardrail=None, reason="", is_emergency=False, tick=None)
STATES = {
    Phase.PENDING: PENDING,
    Phase.PROGRESSING: progressing(1),
    Phase.AWAITING_APPROVAL: awaiting(),
    Phase.PAUSED: evolve(progressing(1), PAUSE),
    Phase.COMPLETED: evolve(progressing(2), Completed(at_ms=at(55))),
    Phase.ROLLED_BACK: evolve(progressing(1), BACK),
    Phase.CANCELLED: evolve(progressing(1), Cancelled(at_ms=at(55), reason="")),
}
ORDERS = {
    "start": lambda state: commands.start(plan(), state, NOW),
    "approve": lambda state: commands.approve(state, "ana", NOW),
    "reject": lambda state: commands.reject(state, "ana", NOW),
    "pause": lambda state: commands.pause(state, "lunch", NOW),
    "resume": lambda state: commands.resume(plan(), state, NOW),
    "cancel": lambda state: commands.cancel(state, "no longer wanted", NOW),
    "roll_back": lambda state: commands.roll_back(state, "it smells", NOW),
}
ALLOWED = {
    "start": {Phase.PENDING},
    "approve": {Phase.AWAITING_APPROVAL},
    "reject": {Phase.AWAITING_APPROVAL},
    "pause": {Phase.PROGRESSING, Phase.AWAITING_APPROVAL},
    "resume": {Phase.PAUSED},
    "cancel": {Phase.PENDING, Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.PAUSED},
    "roll_back": set(Phase),
}
PAIRS = [(name, phase) for name in ORDERS for phase in Phase]
GIVEN = [pair for pair in PAIRS if pair[1] in ALLOWED[pair[0]]]
REFUSED = [pair for pair in PAIRS if pair[1] not in ALLOWED[pair[0]]]


def test_the_states_below_are_in_the_phases_they_stand_for():
    assert {phase: state.phase for phase, state in STATES.items()} == {phase: phase for phase in Phase}


@pytest.mark.parametrize(("name", "phase"), REFUSED, ids="-".join)
def test_a_command_is_refused_in_every_other_phase_and_told_which_are_right(name, phase):
    with pytest.raises(PlanStateError) as refusal:
        ORDERS[name](STATES[phase])
    message = refusal.value.message
    assert message.startswith(f"{name} is for a plan that is ")
    assert all(right in message for right in ALLOWED[name])
    assert message.endswith(f"this one is {phase}")


@pytest.mark.parametrize(("name", "phase"), GIVEN, ids="-".join)
def test_a_command_is_carried_out_now_in_its_own_phases(name, phase):
    event = ORDERS[name](STATES[phase])
    if (name, phase) == ("roll_back", Phase.ROLLED_BACK):
        assert event is None
    else:
        assert event.at_ms == NOW


def test_a_start_enters_the_first_stage():
    event = commands.start(plan(), PENDING, at(0))
    assert event == entered(0)


def test_an_approval_is_one_person_s():
    assert commands.approve(awaiting(), "ana", NOW) == ApprovalGiven(at_ms=NOW, approver="ana")


def test_the_same_person_approves_once():
    assert commands.approve(awaiting(approvals=("ana",)), "ana", NOW) is None


def test_another_person_may_approve_too():
    assert commands.approve(awaiting(approvals=("ana",)), "ben", NOW) == ApprovalGiven(at_ms=NOW, approver="ben")


def test_a_no_pauses_and_names_who_said_it():
    event = commands.reject(awaiting(), "ana", NOW)
    assert event == Paused(at_ms=NOW, reason=PauseReason.OPERATOR, note="rejected by ana")


def test_a_pause_keeps_its_note():
    assert commands.pause(progressing(), "lunch", NOW) == Paused(at_ms=NOW, reason=PauseReason.OPERATOR, note="lunch")


def test_an_operator_s_pause_is_resumed_without_more_time():
    assert commands.resume(plan(), STATES[Phase.PAUSED], NOW) == Resumed(at_ms=NOW, granted_ms=0)


def test_a_pause_at_the_longest_duration_is_resumed_with_one_more_of_it():
    stood = evolve(progressing(1), Paused(at_ms=at(55), reason=PauseReason.MAX_DURATION, note=""))
    assert commands.resume(plan(), stood, NOW) == Resumed(at_ms=NOW, granted_ms=LONGEST)


def test_a_person_s_rollback_names_no_guardrail_and_no_tick():
    assert commands.roll_back(progressing(), "it smells", NOW) == RolledBack(
        at_ms=NOW, guardrail=None, reason="it smells", is_emergency=False, tick=None
    )


def test_a_second_rollback_changes_nothing():
    assert commands.roll_back(STATES[Phase.ROLLED_BACK], "again", NOW) is None


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.PAUSED])
def test_a_cancelled_plan_leaves_the_exposure_as_it_is(phase):
    before = STATES[phase]
    after = evolve(before, commands.cancel(before, "", NOW))
    assert (after.phase, after.percentage) == (Phase.CANCELLED, before.percentage)


def test_a_started_plan_is_started_by_entry_1_and_for_no_other_cause():
    event = commands.start(plan(), PENDING, NOW)
    assert (event.entry, event.cause) == (1, EntryCause.START)
