"""For every hold a cause and a command."""

import pytest

from phase4.analysis.observation import Observation
from phase4.analysis.verdict import Reason
from phase4.rollout import holds
from phase4.rollout.judge import Judge
from phase4.rollout.state import Phase
from tests.unit.rollout.steps import plan
from tests.unit.rollout.test_judge import STATE


def said(*rows, now_state=STATE):
    judge = Judge(plan(), interval_ms=30_000)
    for tick, (users, errors) in enumerate(rows):
        judge.see(now_state, tick, row(2, tick, users, errors), row(1, tick, users, 0))
    return judge.explained()


def row(arm, tick, users, errors):
    if not users:
        return None
    sets = {
        f"{name}_{kind}_{of}": {"n": users, "x": errors}[of]
        for name in ("error", "bad")
        for kind in ("risk", "first")
        for of in "nx"
    }
    return Observation(
        tick=tick, flag_id=1, entry=STATE.entry, arm=arm, ok=users - errors, error=errors, units=users, error_third_x=0,
        **sets,
    )  # fmt: skip


def test_a_stage_that_passes_is_not_held():
    assert holds.of(plan(), 0, said((20_000, 2))) == []


def test_a_stage_that_failed_is_rolled_back_and_not_held():
    assert holds.of(plan(), 0, said((2_000, 1_000))) == []


def test_too_few_users_are_a_hold_with_the_number_that_is_missing():
    found = {hold.guardrail: hold for hold in holds.of(plan(), 0, said((100, 0)))}
    assert "498 more users" in found["error_rate"].cause
    assert "override" in found["error_rate"].ends_with


def test_the_last_stage_is_left_without_proof_by_a_cancel_that_keeps_the_percentage():
    whole = plan()
    held = holds.of(whole, len(whole.stages) - 1, said((100, 0)))
    assert {hold.ends_with for hold in held} == {f"phase4 rollout cancel {whole.plan_id}"}


def test_silence_points_at_the_sources_of_events():
    held = holds.of(plan(), 0, said((5, 0), (0, 0), (0, 0), (0, 0)))
    assert {hold.ends_with for hold in held} == {"phase4 events list"}
    assert all("stopped coming" in hold.cause for hold in held)


@pytest.mark.parametrize("phase", [Phase.PROGRESSING])
def test_before_any_tick_nothing_is_said(phase):
    assert STATE.phase is phase
    assert holds.of(plan(), 0, said()) == []


def test_every_reason_that_can_hold_has_a_cause():
    assert {reason for reason in Reason if reason is not Reason.NO_ALARM} == set(holds._CAUSES)
