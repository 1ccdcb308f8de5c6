"""What people may order, and when: each returns the event to record, or refuses."""

from __future__ import annotations

from phase4.errors import PlanStateError
from phase4.rollout.decide import enter
from phase4.rollout.events import (
    ApprovalGiven,
    Cancelled,
    EntryCause,
    Event,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
)
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import Phase, RolloutState

_RUNNING = frozenset({Phase.PROGRESSING, Phase.AWAITING_APPROVAL})


def start(plan: RolloutPlan, state: RolloutState, now_ms: int) -> Event:
    """Return the entry into the first stage; only a pending plan starts."""
    _require(state, {Phase.PENDING}, "start")
    return enter(plan, state, 0, EntryCause.START, now_ms)


def approve(state: RolloutState, approver: str, now_ms: int) -> Event | None:
    """Return the approval of the pending request, None if this person has given it already."""
    _require(state, {Phase.AWAITING_APPROVAL}, "approve")
    return None if approver in state.approvals else ApprovalGiven(at_ms=now_ms, approver=approver)


def reject(state: RolloutState, approver: str, now_ms: int) -> Event:
    """Return the pause that an approver's no leads to."""
    _require(state, {Phase.AWAITING_APPROVAL}, "reject")
    return Paused(at_ms=now_ms, reason=PauseReason.OPERATOR, note=f"rejected by {approver}")


def pause(state: RolloutState, note: str, now_ms: int) -> Event:
    """Return a pause by an operator."""
    _require(state, _RUNNING, "pause")
    return Paused(at_ms=now_ms, reason=PauseReason.OPERATOR, note=note)


def resume(plan: RolloutPlan, state: RolloutState, now_ms: int) -> Event:
    """Return the end of a pause; after max_duration one more of it is granted."""
    _require(state, {Phase.PAUSED}, "resume")
    granted = plan.stages[state.stage].max_duration if state.pause_reason is PauseReason.MAX_DURATION else 0
    return Resumed(at_ms=now_ms, granted_ms=granted)


def cancel(state: RolloutState, reason: str, now_ms: int) -> Event:
    """Return the end of the plan; the flag keeps its percentage."""
    _require(state, {Phase.PENDING, *_RUNNING, Phase.PAUSED}, "cancel")
    return Cancelled(at_ms=now_ms, reason=reason)


def roll_back(state: RolloutState, reason: str, now_ms: int) -> Event | None:
    """Return a person's rollback, None if the plan is rolled back already."""
    if state.phase is Phase.ROLLED_BACK:
        return None
    return RolledBack(at_ms=now_ms, guardrail=None, reason=reason, is_emergency=False, tick=None)


def _require(state: RolloutState, phases: set[Phase] | frozenset[Phase], command: str) -> None:
    if state.phase not in phases:
        allowed = ", ".join(sorted(phases))
        raise PlanStateError(f"{command} is for a plan that is {allowed}; this one is {state.phase}")
