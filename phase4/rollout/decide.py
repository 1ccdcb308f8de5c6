"""What must happen now: one pure function of plan, state, observation and time. At most one step a tick."""

from __future__ import annotations

from typing import NamedTuple

from phase4.analysis.verdict import Reason, Verdict
from phase4.rollout.events import (
    ApprovalDropped,
    ApprovalRequested,
    Completed,
    EntryCause,
    Event,
    Paused,
    PauseReason,
    RolledBack,
    StageEntered,
)
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import Phase, RolloutState

APPROVAL_LIFE_MS = 24 * 3_600_000
"""An approval request that is not met within a day is dropped, and asked again while the stage is green."""


class StageObservation(NamedTuple):
    """What the judge has seen of one stage entry, up to one closed tick.

    A named tuple: one is made at every tick of every rehearsal, and a frozen dataclass takes four times as long.
    """

    entry: int
    tick: int
    verdict: Verdict
    guardrail: str | None
    """The guardrail that decided the verdict; None for PASS."""
    reason: Reason | None
    active_ms: int
    """Watched time with data since the entry, in ms."""
    is_emergency: bool = False


def decide(plan: RolloutPlan, state: RolloutState, observation: StageObservation | None, now_ms: int) -> Event | None:
    """Return the one event that is due, or None.

    Args:
        plan: What is wanted.
        state: Where the rollout is.
        observation: What the judge has seen of the present entry; None if nothing, and then only time passes.
        now_ms: The time.

    An observation of an earlier entry is no evidence about this one and is ignored.
    """
    if state.phase is Phase.PENDING or state.ended_ms is not None:
        return None
    if observation is not None and observation.entry != state.entry:
        observation = None
    if observation is not None and observation.verdict is Verdict.FAIL:
        return _roll_back(observation, now_ms)
    if state.phase is Phase.PAUSED:
        return None
    is_green = observation is not None and observation.verdict is Verdict.PASS
    if state.phase is Phase.AWAITING_APPROVAL:
        return _await(plan, state, now_ms, is_green=is_green)
    stage = plan.stages[state.stage]
    elapsed = state.elapsed_ms(now_ms)
    if is_green:
        assert observation is not None
        if observation.active_ms >= stage.active_min and elapsed >= stage.bake:
            return _leave(plan, state, now_ms)
        return None
    if elapsed >= stage.max_duration + state.granted_ms:
        return Paused(at_ms=now_ms, reason=PauseReason.MAX_DURATION, note=_why(observation))
    return None


def _roll_back(observation: StageObservation, now_ms: int) -> RolledBack:
    return RolledBack(
        at_ms=now_ms,
        guardrail=observation.guardrail,
        reason=f"{observation.guardrail} failed",
        is_emergency=observation.is_emergency,
        tick=observation.tick,
    )


def _await(plan: RolloutPlan, state: RolloutState, now_ms: int, *, is_green: bool) -> Event | None:
    if not is_green:
        return ApprovalDropped(at_ms=now_ms, reason="the stage is no longer green")
    assert state.approval_expires_ms is not None
    if now_ms >= state.approval_expires_ms:
        return ApprovalDropped(at_ms=now_ms, reason="the request expired")
    if len(state.approvals) >= plan.approvals_required:
        return enter(plan, state, state.stage + 1, EntryCause.APPROVED, now_ms)
    return None


def _leave(plan: RolloutPlan, state: RolloutState, now_ms: int) -> Event:
    following = state.stage + 1
    if following == len(plan.stages):
        return Completed(at_ms=now_ms)
    if plan.needs_approval(following):
        return ApprovalRequested(at_ms=now_ms, stage=following, expires_ms=now_ms + APPROVAL_LIFE_MS)
    return enter(plan, state, following, EntryCause.PROMOTED, now_ms)


def enter(plan: RolloutPlan, state: RolloutState, stage: int, cause: EntryCause, now_ms: int) -> StageEntered:
    """Return the event that enters a stage, under the next entry number."""
    entry = max(state.entry + 1, plan.first_entry)
    return StageEntered(at_ms=now_ms, stage=stage, entry=entry, percentage=plan.stages[stage].percentage, cause=cause)


def _why(observation: StageObservation | None) -> str:
    if observation is None:
        return "no observation of this stage"
    return f"{observation.guardrail} is {observation.verdict} ({observation.reason})"
