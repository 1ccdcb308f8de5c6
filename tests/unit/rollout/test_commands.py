import pytest

from phase4.errors import ApprovalNotDue, PlanLive, PlanStateError
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
    StageEntered,
)
from phase4.rollout.state import Phase, evolve, replay
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
    assert f"this one is {phase}" in message


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


# ------------------------------------------------------------------------------------------ what is possible instead


@pytest.mark.parametrize("phase", list(Phase), ids=str)
def test_what_is_allowed_is_what_is_not_refused(phase):
    names = {"rollback": "roll_back", "approve --override": "override"}
    possible = {names.get(name, name) for name in commands.allowed(STATES[phase])} - {"override"}
    assert possible == {name for name in ORDERS if phase in ALLOWED[name]}


def test_a_refusal_says_what_is_possible_now():
    with pytest.raises(PlanStateError) as refusal:
        commands.pause(PENDING, "lunch", NOW)
    assert refusal.value.hint == "possible now: start, cancel, rollback"


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.PAUSED], ids=str)
def test_an_approval_that_is_not_due_points_to_the_override(phase):
    with pytest.raises(ApprovalNotDue) as refusal:
        commands.approve(STATES[phase], "ana", NOW)
    assert "--override" in refusal.value.message


# ----------------------------------------------------------------------------------------------------------- override


def stood(reason):
    return evolve(progressing(1), Paused(at_ms=at(55), reason=reason, note=""))


def override(state, person="ana", **changes):
    return commands.approve_override(plan(**changes), state, person, NOW)


@pytest.mark.parametrize(
    "state",
    [progressing(1), awaiting(), stood(PauseReason.MAX_DURATION)],
    ids=["progressing", "awaiting", "max-duration"],
)
def test_enough_people_may_enter_the_next_stage_without_pass(state):
    event = override(state)
    assert (event.stage, event.percentage, event.cause) == (2, 25.0, EntryCause.OVERRIDDEN)
    assert event.entry == state.entry + 1


def test_one_of_two_overrides_is_a_vote_and_no_entry():
    event = override(progressing(1), approvals_required=2)
    assert event == ApprovalGiven(at_ms=NOW, approver="ana", is_override=True)


def test_a_second_person_s_override_enters():
    state = evolve(progressing(1), override(progressing(1), approvals_required=2))
    assert isinstance(override(state, "ben", approvals_required=2), StageEntered)


def test_the_same_person_votes_once():
    state = evolve(progressing(1), override(progressing(1), approvals_required=2))
    assert override(state, "ana", approvals_required=2) is None


def test_an_approval_of_the_same_stage_counts_as_a_vote():
    assert isinstance(override(awaiting(approvals=("ben",)), "ana", approvals_required=2), StageEntered)


def test_a_vote_to_override_is_no_approval():
    state = evolve(awaiting(), ApprovalGiven(at_ms=NOW, approver="ana", is_override=True))
    assert (state.approvals, state.overrides) == ((), ("ana",))


def test_votes_do_not_outlive_the_stage():
    state = evolve(progressing(1), override(progressing(1), approvals_required=2))
    assert evolve(state, entered(2)).overrides == ()


@pytest.mark.parametrize("reason", [PauseReason.OPERATOR, PauseReason.FLAG_DISABLED, PauseReason.LOWERED], ids=str)
def test_a_plan_that_stands_for_another_reason_is_resumed_and_not_overridden(reason):
    with pytest.raises(PlanStateError, match="resume"):
        override(stood(reason))


def test_after_the_last_stage_there_is_nothing_to_enter():
    with pytest.raises(PlanStateError, match="no stage after the last"):
        override(progressing(2))


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.COMPLETED, Phase.ROLLED_BACK, Phase.CANCELLED], ids=str)
def test_a_plan_that_is_not_running_is_not_overridden(phase):
    with pytest.raises(PlanStateError, match="approve --override is for"):
        override(STATES[phase])


# ------------------------------------------------------------------------- the flag is switched off or lowered by hand

RUNNING = {Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.PAUSED}


@pytest.mark.parametrize("phase", list(Phase), ids=str)
def test_switching_the_flag_off_pauses_a_plan_that_runs_and_no_other(phase):
    event = commands.flag_disabled(STATES[phase], "by hand", NOW)
    expected = Paused(at_ms=NOW, reason=PauseReason.FLAG_DISABLED, note="by hand")
    assert event == (expected if phase in RUNNING else None)


@pytest.mark.parametrize("phase", list(Phase), ids=str)
def test_lowering_the_percentage_pauses_a_plan_that_runs_and_no_other(phase):
    event = commands.lowered(STATES[phase], 3.0, "by hand", NOW)
    expected = Paused(at_ms=NOW, reason=PauseReason.LOWERED, note="by hand", percentage=3.0)
    assert event == (expected if phase in RUNNING else None)


def test_while_the_flag_is_off_nobody_is_exposed():
    assert evolve(progressing(1), commands.flag_disabled(progressing(1), "", NOW)).percentage == 0.0


def test_while_the_percentage_is_lowered_the_exposure_is_what_was_said():
    assert evolve(progressing(1), commands.lowered(progressing(1), 3.0, "", NOW)).percentage == 3.0


@pytest.mark.parametrize("reason", [PauseReason.FLAG_DISABLED, PauseReason.LOWERED], ids=str)
def test_after_the_flag_was_off_or_lowered_the_same_stage_is_entered_anew(reason):
    state = stood(reason)
    event = commands.resume(plan(), state, NOW)
    after = evolve(state, event)
    assert (event.stage, event.cause, event.entry) == (1, EntryCause.RESTARTED, state.entry + 1)
    assert (after.percentage, after.elapsed_ms(NOW)) == (10.0, 0)


def test_a_pause_on_top_of_a_pause_keeps_the_clock_where_it_stood():
    paused = evolve(progressing(1), Paused(at_ms=at(5), reason=PauseReason.OPERATOR, note=""))
    off = evolve(paused, commands.flag_disabled(paused, "", at(9)))
    assert (off.paused_at_ms, off.pause_reason) == (at(5), PauseReason.FLAG_DISABLED)


# ------------------------------------------------------------------------------------------- plans that came later


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.CANCELLED], ids=str)
def test_an_ended_plan_under_a_newer_live_one_is_not_rolled_back(phase):
    with pytest.raises(PlanLive) as refusal:
        commands.roll_back(STATES[phase], "", NOW, newer_live="checkout.2")
    assert "checkout.2" in refusal.value.message
    assert "checkout.2" in refusal.value.hint


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.CANCELLED], ids=str)
def test_an_ended_plan_without_a_newer_one_is_rolled_back(phase):
    assert isinstance(commands.roll_back(STATES[phase], "", NOW), RolledBack)


def test_entries_of_a_flag_are_numbered_on_from_plan_to_plan():
    assert commands.start(plan(first_entry=8), PENDING, NOW).entry == 8


# --------------------------------------------------------------------------------------------- a pause under a pause
def _after(*happened):
    return replay([StageEntered(at_ms=0, stage=0, entry=1, percentage=5.0, cause=EntryCause.START), *happened])


def _off(at_ms):
    return Paused(at_ms=at_ms, reason=PauseReason.FLAG_DISABLED, note="flag disabled")


def test_a_flag_that_is_switched_on_again_lets_its_plan_go_on():
    following = commands.flag_enabled(plan(), _after(_off(10)), 20)
    assert [event.kind for event in following] == ["stage_entered"]


def test_a_pause_of_an_operator_stands_when_the_flag_was_off_and_is_on_again():
    waiting = Paused(at_ms=5, reason=PauseReason.OPERATOR, note="lunch")
    state = _after(waiting, _off(10))
    for event in commands.flag_enabled(plan(), state, 20):
        state = evolve(state, event)
    assert (state.phase, state.pause_reason, state.percentage, state.entry) == (Phase.PAUSED, "operator", 5.0, 2)
    assert state.operator_note == "lunch"
    assert evolve(state, commands.resume(plan(), state, 30)).phase is Phase.PROGRESSING


def test_a_resume_by_hand_lifts_both_pauses():
    state = _after(Paused(at_ms=5, reason=PauseReason.OPERATOR, note="lunch"), _off(10))
    state = evolve(state, commands.resume(plan(), state, 20))
    assert (state.phase, state.operator_note, state.percentage) == (Phase.PROGRESSING, None, 5.0)


def test_switching_a_flag_on_is_nothing_to_a_plan_that_stands_for_another_reason():
    assert commands.flag_enabled(plan(), _after(Paused(at_ms=5, reason=PauseReason.OPERATOR, note="x")), 20) == ()
