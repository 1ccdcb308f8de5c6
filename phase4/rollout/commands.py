"""What people may order, and when: each returns the event to record, or refuses."""

from __future__ import annotations

from phase4.errors import ApprovalNotDue, PlanLive, PlanStateError
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
_STARTED = _RUNNING | {Phase.PAUSED}
_RESTARTING = frozenset({PauseReason.FLAG_DISABLED, PauseReason.LOWERED})
COMMANDS = {
    "start": frozenset({Phase.PENDING}),
    "approve": frozenset({Phase.AWAITING_APPROVAL}),
    "approve --override": _STARTED,
    "reject": frozenset({Phase.AWAITING_APPROVAL}),
    "pause": _RUNNING,
    "resume": frozenset({Phase.PAUSED}),
    "cancel": _STARTED | {Phase.PENDING},
    "rollback": frozenset(Phase),
}
"""In which phases each command is for."""


def start(plan: RolloutPlan, state: RolloutState, now_ms: int) -> Event:
    """Return the entry into the first stage; only a pending plan starts."""
    _require(state, "start")
    return enter(plan, state, 0, EntryCause.START, now_ms)


def approve(state: RolloutState, approver: str, now_ms: int) -> Event | None:
    """Return the approval of the pending request, None if this person has given it already.

    Raises:
        ApprovalNotDue: no approval is asked for.
    """
    if state.phase in {Phase.PROGRESSING, Phase.PAUSED}:
        raise ApprovalNotDue(f"{_misplaced('approve', state)}; --override enters the next stage without proof")
    _require(state, "approve")
    return None if approver in state.approvals else ApprovalGiven(at_ms=now_ms, approver=approver)


def approve_override(plan: RolloutPlan, state: RolloutState, approver: str, now_ms: int) -> Event | None:
    """Return one more vote to enter the next stage without PASS, or the entry once there are enough.

    A FAIL is never overridden: it has rolled back. None if this person has voted already.

    Raises:
        PlanStateError: there is no next stage, the flag is off or lowered, or the phase is another.
    """
    _require(state, "approve --override")
    if state.phase is Phase.PAUSED and state.pause_reason is not PauseReason.MAX_DURATION:
        raise PlanStateError(f"a plan that is paused ({state.pause_reason}) goes on by resume")
    if state.stage + 1 == len(plan.stages):
        raise PlanStateError("there is no stage after the last one")
    voters = tuple(dict.fromkeys((*state.approvals, *state.overrides)))
    if approver in voters and len(voters) < plan.approvals_required:
        return None
    if len({*voters, approver}) < plan.approvals_required:
        return ApprovalGiven(at_ms=now_ms, approver=approver, is_override=True)
    return enter(plan, state, state.stage + 1, EntryCause.OVERRIDDEN, now_ms)


def reject(state: RolloutState, approver: str, now_ms: int) -> Event:
    """Return the pause that an approver's no leads to."""
    _require(state, "reject")
    return Paused(at_ms=now_ms, reason=PauseReason.OPERATOR, note=f"rejected by {approver}")


def pause(state: RolloutState, note: str, now_ms: int) -> Event:
    """Return a pause by an operator."""
    _require(state, "pause")
    return Paused(at_ms=now_ms, reason=PauseReason.OPERATOR, note=note)


def flag_disabled(state: RolloutState, note: str, now_ms: int) -> Event | None:
    """Return the pause that switching the flag off leads to; None where the plan has not started or ended."""
    return _interrupt(state, Paused(at_ms=now_ms, reason=PauseReason.FLAG_DISABLED, note=note))


def lowered(state: RolloutState, percentage: float, note: str, now_ms: int) -> Event | None:
    """Return the pause that lowering the flag's percentage leads to, likewise."""
    event = Paused(at_ms=now_ms, reason=PauseReason.LOWERED, note=note, percentage=percentage)
    return _interrupt(state, event)


def resume(plan: RolloutPlan, state: RolloutState, now_ms: int) -> Event:
    """Return the end of a pause.

    After max_duration one more of it is granted. Where the flag was off or lowered the stage is entered again: clocks
    and proof begin anew, since other users may have come and gone.
    """
    _require(state, "resume")
    if state.pause_reason in _RESTARTING:
        return enter(plan, state, state.stage, EntryCause.RESTARTED, now_ms)
    granted = plan.stages[state.stage].max_duration if state.pause_reason is PauseReason.MAX_DURATION else 0
    return Resumed(at_ms=now_ms, granted_ms=granted)


def flag_enabled(plan: RolloutPlan, state: RolloutState, now_ms: int) -> tuple[Event, ...]:
    """Return what switching the flag on again leads to; empty where the plan does not stand because it was off.

    The stage is entered again. An operator's pause that was there before stands: only `resume` lifts it.
    """
    if state.pause_reason not in _RESTARTING:
        return ()
    again = enter(plan, state, state.stage, EntryCause.RESTARTED, now_ms)
    if state.operator_note is None:
        return (again,)
    return again, Paused(at_ms=now_ms, reason=PauseReason.OPERATOR, note=state.operator_note)


def cancel(state: RolloutState, reason: str, now_ms: int) -> Event:
    """Return the end of the plan; the flag keeps its percentage."""
    _require(state, "cancel")
    return Cancelled(at_ms=now_ms, reason=reason)


def roll_back(state: RolloutState, reason: str, now_ms: int, *, newer_live: str | None = None) -> Event | None:
    """Return a person's rollback, None if the plan is rolled back already.

    Args:
        state: Where the plan is; every phase is legal.
        reason: Why.
        now_ms: The time.
        newer_live: Id of a newer live plan of the flag: an ended plan under one is left alone.

    Raises:
        PlanLive: the plan ended and a newer one is live.
    """
    if state.phase is Phase.ROLLED_BACK:
        return None
    if state.phase in {Phase.COMPLETED, Phase.CANCELLED} and newer_live is not None:
        raise PlanLive(f"the plan ended and {newer_live} is live", hint=f"rollout rollback {newer_live}")
    return RolledBack(at_ms=now_ms, guardrail=None, reason=reason, is_emergency=False, tick=None)


def allowed(state: RolloutState) -> tuple[str, ...]:
    """Return the commands that are for a plan in this phase."""
    return tuple(name for name, phases in COMMANDS.items() if state.phase in phases)


def _interrupt(state: RolloutState, event: Paused) -> Paused | None:
    return event if state.phase in _STARTED else None


def _require(state: RolloutState, command: str) -> None:
    if state.phase not in COMMANDS[command]:
        raise PlanStateError(_misplaced(command, state), hint=f"possible now: {', '.join(allowed(state))}")


def _misplaced(command: str, state: RolloutState) -> str:
    return f"{command} is for a plan that is {', '.join(sorted(COMMANDS[command]))}; this one is {state.phase}"
